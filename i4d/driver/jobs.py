"""One call of an editor as a value, and what its answer may be."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from i4d.types import EditReceipt

_SHAPES: dict[tuple[int, ...], tuple[int, ...]] = {}  # of blocks: a handful

Results = Mapping[str, EditReceipt]


@dataclass(frozen=True, eq=False)
class Job:
    """One editor call. `make` builds its task from the receipts of the jobs it comes `after`."""

    id: str
    method: str
    make: Callable[[Results], Any]
    num_rows: int
    after: tuple[str, ...] = ()
    remaining: int = 1  # jobs left in its chain, itself included
    home: str | None = None  # what an editor caches for it


def lean(receipt: EditReceipt, job: Job) -> EditReceipt:
    """Return the same receipt without copies of its own of what thousands of receipts say alike."""
    block = receipt.block
    shape = _SHAPES.setdefault(block.row_shape, block.row_shape)
    return replace(
        receipt,
        task=job.id if receipt.task == job.id else receipt.task,
        block=replace(block, row_shape=shape, dtype=sys.intern(block.dtype)),
        worker=sys.intern(receipt.worker),
        device=sys.intern(receipt.device),
    )


def wrong_with(receipt: Any, job: Job) -> str:
    """Return what is wrong with an answer, or the empty string."""
    if not isinstance(receipt, EditReceipt):
        return f"a {type(receipt).__name__} in place of a receipt"
    if receipt.block.num_rows != job.num_rows:
        return f"{receipt.block.num_rows} rows in place of {job.num_rows}"
    if not (math.isfinite(receipt.seconds) and receipt.seconds >= 0):
        return f"a time of {receipt.seconds} s"
    if math.isfinite(receipt.kept_share) and not 0 <= receipt.kept_share <= 1:
        return f"a kept share of {receipt.kept_share}"
    return ""
