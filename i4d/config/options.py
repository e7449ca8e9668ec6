"""How an option of the configuration is declared, and how a value for it is checked."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from i4d.errors import ConfigError


def opt(
    default: Any,
    help: str,
    *,
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
    pattern: str = "",
    auto: type | None = None,
) -> Any:
    """Declare an option: default, one line of help, and what it may be (inclusive range, whole pattern of a
    string). `auto`: the type of an option that may also be "auto", which is None here.
    """
    meta = {"help": help, "choices": choices, "low": low, "high": high, "pattern": pattern, "auto": auto}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def checked(key: str, value: Any, option: dataclasses.Field, kind: type, where: str) -> Any:
    """Return a value as an option takes it, of type `kind`; ConfigError says what it may be."""
    meta = option.metadata
    if meta["auto"] is not None:
        if value is None or value == "auto":
            return None
        kind = meta["auto"]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is str and value is None:
        value = ""
    if (
        kind is str and isinstance(value, bool) and "off" in meta["choices"]
    ):  # YAML 1.1 reads on and off as booleans
        value = "on" if value else "off"
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: {key} = {value!r} is not a {kind.__name__}", meta["help"])
    if meta["pattern"] and not re.fullmatch(meta["pattern"], str(value)):
        raise ConfigError(f"{where}: {key} = {value!r}", meta["help"])
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{where}: {key} = {value!r}", f"one of {', '.join(map(str, meta['choices']))}")
    low, high = meta["low"], meta["high"]
    if kind in (int, float) and (
        value != value or (low is not None and value < low) or (high is not None and value > high)
    ):
        raise ConfigError(
            f"{where}: {key} = {value} is out of range", f"{low} to {high if high is not None else 'any'}"
        )
    return value
