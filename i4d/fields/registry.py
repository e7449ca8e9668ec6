"""Kinds of fields by name. An entry point `i4d.fields` names one object that answers `FieldKind`.

`field.kind` chooses by name; a checkpoint's own header decides who opens it.
"""

from __future__ import annotations

import torch

from i4d.config import FieldConfig
from i4d.errors import FitError
from i4d.fields.description import description
from i4d.fields.protocol import FieldKind, FieldScene, Header, RenderableField
from i4d.fields.workers import Workers
from i4d.registry import Registry

KINDS: Registry[FieldKind] = Registry(
    "i4d.fields", "field.kind", {"vector_matrix": "i4d.fields.vector_matrix.kind:KIND"}
)


def field_kind(name: str) -> FieldKind:
    """Return a kind by its name; ConfigError names those there are."""
    return KINDS[name]


def kind_of(data: bytes) -> FieldKind:
    """Return the kind whose format a checkpoint is of; FitError where nobody reads it."""
    wanted = description(data)["format"]
    for _, kind in KINDS.available():
        if kind.format == wanted:
            return kind
    raise FitError(
        f"checkpoint is of format '{wanted}'",
        f"kinds of fields here: {', '.join(KINDS.places())}; install the package that brings it",
    )


def peek(data: bytes) -> Header:
    """Return what a checkpoint says of itself, whatever its kind."""
    return kind_of(data).peek(data)


def open_field(
    data: bytes,
    config: FieldConfig,
    scene: FieldScene,
    device: torch.device | str = "cpu",
    workers: Workers | None = None,
) -> RenderableField:
    """Return the field of a checkpoint to look at; FitError if it is of another scene, or none."""
    return kind_of(data).open(data, config, scene, device, workers)
