"""The configuration of a run: dataclasses with defaults, YAML files on top, `--set a.b=c` on top of that.

Unknown keys are refused with the nearest known one; values are checked against type, choices and range. The
resolved configuration is stored in the run folder, so a run can be read, resumed and compared without its
command line.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

from i4d.config.blocks import (
    ClusterConfig,
    EditorConfig,
    FieldConfig,
    FlowConfig,
    LocalConfig,
    SceneConfig,
    ScheduleConfig,
)
from i4d.config.files import parse_assignment, read_yaml, shipped
from i4d.config.kinds import block_of, default_editor, default_field
from i4d.config.options import checked, opt
from i4d.errors import ConfigError

__all__ = [
    "ClusterConfig",
    "Config",
    "EditorConfig",
    "FieldConfig",
    "FlowConfig",
    "LocalConfig",
    "SceneConfig",
    "ScheduleConfig",
    "from_dict",
    "known_keys",
    "merge",
    "opt",
    "parse_assignment",
    "read_yaml",
    "set_key",
    "shipped",
    "to_dict",
]


@dataclass
class Config:
    """A whole run."""

    seed: int = opt(0, "everything random follows from this", low=0)
    storage_path: str = opt("", "folder or URI that all nodes reach; empty: the run folder")
    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    field: FieldConfig = dataclasses.field(default_factory=default_field)
    editor: EditorConfig = dataclasses.field(default_factory=default_editor)
    flow: FlowConfig = dataclasses.field(default_factory=FlowConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    local: LocalConfig = dataclasses.field(default_factory=LocalConfig)
    cluster: ClusterConfig = dataclasses.field(default_factory=ClusterConfig)


def known_keys(config: Any = None, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Return every dotted key of a configuration, of its kinds of field and editor, and the dataclass field
    behind it; None: of the default ones.
    """
    config = Config() if config is None else config
    keys: dict[str, dataclasses.Field] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            keys |= known_keys(value, f"{prefix}{f.name}.")
        else:
            keys[prefix + f.name] = f
    return keys


def _section(config: Config, key: str) -> tuple[Any, str]:
    *parents, leaf = key.split(".")
    for name in parents:
        config = getattr(config, name)
    return config, leaf


def set_key(config: Config, key: str, value: Any, where: str) -> None:
    """Set one dotted key in place, or raise a ConfigError that names it, the value and what it may be.

    Another kind of field or editor brings its own options: what all kinds have keeps its value, the former
    kind's options are gone.
    """
    keys = known_keys(config)
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
        raise ConfigError(f"{where}: unknown key '{key}'", f"did you mean '{near[0]}'?")
    section, leaf = _section(config, key)
    value = checked(key, value, keys[key], type(getattr(section, leaf)), where)
    if key in ("field.kind", "editor.kind"):
        _take_kind(config, key.removesuffix(".kind"), value)
    else:
        setattr(section, leaf, value)


def _take_kind(config: Config, name: str, kind: str) -> None:
    before, options = getattr(config, name), block_of(name, kind)
    if type(before) is not options:
        after = options()
        common = FieldConfig if name == "field" else EditorConfig
        for f in dataclasses.fields(common):
            setattr(after, f.name, getattr(before, f.name))
        setattr(config, name, after)
    getattr(config, name).kind = kind


def merge(config: Config, tree: dict, where: str, prefix: str = "") -> None:
    """Set every leaf of a nested mapping in place; a block's kind first, which says what else it has."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected a mapping, found {type(tree).__name__}")
    sections = {name for name, block in vars(config).items() if dataclasses.is_dataclass(block)}
    for name, value in sorted(tree.items(), key=lambda item: item[0] != "kind"):
        key = f"{prefix}{name}"
        if key in sections:
            merge(config, value or {}, where, key + ".")
        else:
            set_key(config, key, value, where)


def to_dict(config: Config) -> dict:
    """Return the configuration as nested plain values, ready for YAML or JSON."""
    return dataclasses.asdict(config)


def from_dict(tree: dict, where: str) -> Config:
    """Return a Config from nested plain values (a stored run's resolved configuration)."""
    config = Config()
    merge(config, tree, where)
    return config
