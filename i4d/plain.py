"""Values as JSON, and their digests."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from typing import Any

import numpy as np


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def plain(value: Any) -> Any:
    """Return nested plain values of plans, tasks and receipts; numbers that are not finite become null."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if dataclasses.is_dataclass(kind):
        return {name: plain(getattr(value, name)) for name in _fields(kind)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def inputs_digest(*parts: Any) -> str:
    """Return the digest of everything that a piece of work depends on."""
    return hashlib.blake2b(
        json.dumps(parts, sort_keys=True, default=_fields_of).encode(), digest_size=16
    ).hexdigest()


def _fields_of(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    kind: type = type(value)
    return {name: getattr(value, name) for name in _fields(kind)}
