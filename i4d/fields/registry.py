"""Kinds of fields by name: those of the package, and those that other packages bring by the entry point
`i4d.fields`.

A kind's entry point names one object that answers `FieldKind`:

    [project.entry-points."i4d.fields"]
    voxels = "my_package.voxels:KIND"

`field.kind` chooses by name; a checkpoint's own header decides who opens it. Kinds are imported when they are
asked for, so that a command which needs no field pays for none.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

import torch

from i4d.config import FieldConfig
from i4d.errors import ConfigError, FitError
from i4d.fields.protocol import FieldKind, FieldScene, Header, RenderableField
from i4d.fields.workers import Workers

GROUP = "i4d.fields"
BUILT_IN = {"vector_matrix": "i4d.fields.vector_matrix.kind:KIND"}
LONGEST_HEADER = 1 << 24  # bytes of a checkpoint's description


def field_kinds() -> dict[str, str]:
    """Return the place of every kind ("module:object") by its name; names of the package cannot be taken."""
    return {found.name: found.value for found in entry_points(group=GROUP)} | BUILT_IN


@lru_cache
def _loaded(place: str) -> FieldKind:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def field_kind(name: str) -> FieldKind:
    """Return a kind by its name; ConfigError names those there are."""
    places = field_kinds()
    if name not in places:
        raise ConfigError(f"field.kind = {name}: no such kind of field", f"there are {', '.join(places)}")
    try:
        return _loaded(places[name])
    except (ImportError, AttributeError) as err:
        raise ConfigError(f"field.kind = {name}: {err}", f"the package that brings {places[name]}") from err


def checkpoint_format(data: bytes) -> str:
    """Return what the header of a checkpoint's safetensors bytes says of its format; FitError if they are no
    checkpoint.
    """
    try:
        (length,) = struct.unpack("<Q", bytes(data[:8]))
        if length > LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        tree = json.loads(json.loads(bytes(data[8 : 8 + length]))["__metadata__"]["i4d"])
        return str(tree["format"])
    except (struct.error, ValueError, KeyError, TypeError) as err:
        raise FitError("not a field checkpoint, or a corrupt one", f"{type(err).__name__}: {err}") from err


def kind_of(data: bytes) -> FieldKind:
    """Return the kind whose format a checkpoint is of; FitError where nobody reads it."""
    wanted = checkpoint_format(data)
    for name in field_kinds():
        if (kind := field_kind(name)).format == wanted:
            return kind
    raise FitError(
        f"checkpoint is of format '{wanted}'",
        f"kinds of fields here: {', '.join(field_kinds())}; install the package that brings it",
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
