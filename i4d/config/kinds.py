"""Which options a block has: those of the kind of field or editor that its `kind` names.

The package's own kinds name a light module of options here, so that reading a configuration loads no network;
kinds of other packages name theirs as `options` of the object behind their entry point.
"""

from __future__ import annotations

from typing import Any

from i4d.config.blocks import EditorConfig, FieldConfig
from i4d.registry import Registry

DEFAULTS = {"field": "vector_matrix", "editor": "instruct_pix2pix"}
_OWN = {
    "field": {"vector_matrix": "i4d.fields.vector_matrix.config:VectorMatrixConfig"},
    "editor": {"instruct_pix2pix": "i4d.editors.instruct_pix2pix.config:InstructPix2PixConfig"},
}
_COMMON: dict[str, type] = {"field": FieldConfig, "editor": EditorConfig}


def block_of(section: str, kind: str) -> type:
    """Return the dataclass of options of a kind of "field" or "editor" ("auto": the default one's).
    ConfigError names the kinds there are.
    """
    kind = DEFAULTS[section] if kind == "auto" else kind
    registry: Registry[Any] = Registry(f"i4d.{section}s", f"{section}.kind", _OWN[section])
    found = registry[kind]
    return found if isinstance(found, type) else getattr(found, "options", _COMMON[section])


def default_field() -> FieldConfig:
    """Return the options of the default kind of field."""
    return block_of("field", "auto")()


def default_editor() -> EditorConfig:
    """Return the options of the default kind of editor."""
    return block_of("editor", "auto")()
