"""YAML files and `a.b=c` texts that a configuration is made of."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import yaml

from i4d.errors import ConfigError


def read_yaml(path: Path) -> dict:
    """Return the mapping in a YAML file; ConfigError names the file and line otherwise."""
    try:
        tree = yaml.safe_load(path.read_bytes())  # bytes: UTF-8 or -16, whatever the locale
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror})") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        raise ConfigError(f"{path}{f', line {mark.line + 1}' if mark else ''}: not valid YAML") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping, found {type(tree).__name__}")
    return tree or {}


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `a.b=c`; the value is read as YAML, so lists, numbers and booleans work."""
    key, sep, value = text.partition("=")
    if not sep or not key.strip():
        raise ConfigError(f"--set {text}: expected key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value is not valid YAML") from None


def shipped(kind: str) -> Path:
    """Return the folder of shipped configs (`kind` "scenes" or "presets"), installed or in a checkout."""
    checkout = Path(__file__).resolve().parents[2] / "configs"
    for root in (checkout, Path(sysconfig.get_path("data")) / "share" / "i4d" / "configs"):
        if (root / kind).is_dir():
            return root / kind
    raise ConfigError(f"the {kind} shipped with i4d are missing", "reinstall the package")
