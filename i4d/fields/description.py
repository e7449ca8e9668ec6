"""The description in a checkpoint's header: a JSON object under the one metadata key `i4d` of safetensors
bytes, whatever the kind of field. Nothing is unpickled.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from i4d.errors import FitError

LONGEST = 1 << 24  # bytes of a header
UNREADABLE = (SafetensorError, struct.error, ValueError, KeyError, TypeError)


def corrupt(err: Exception) -> FitError:
    """Return the error of bytes that are no checkpoint, or a damaged one."""
    return FitError("not a field checkpoint, or a corrupt one", f"{type(err).__name__}: {err}")


def description(data: bytes) -> dict[str, Any]:
    """Return what a checkpoint says of itself, its `format` among it, without reading its tensors; FitError
    if it is none.
    """
    try:
        (length,) = struct.unpack("<Q", bytes(data[:8]))
        if length > LONGEST:
            raise ValueError(f"a header of {length} bytes")
        tree = json.loads(json.loads(bytes(data[8 : 8 + length]))["__metadata__"]["i4d"])
        return {**tree, "format": str(tree["format"])}
    except UNREADABLE as err:
        raise corrupt(err) from err


def contents(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's tensors and its description; FitError if it is none."""
    about = description(data)
    try:
        return safetensors.torch.load(bytes(data)), about
    except UNREADABLE as err:
        raise corrupt(err) from err


def write_plain(format_name: str, tensors: Mapping[str, Tensor], **about: Any) -> bytes:
    """Return a checkpoint: safetensors bytes whose header says a kind's format and plain values."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(kept, {"i4d": json.dumps({"format": format_name, **about})})
