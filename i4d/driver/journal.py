"""Receipts as JSON, and the journal that lets a resumed run skip what is stored.

An entry counts only if the work's inputs are the same as then (their digest is part of the entry) and its
blocks are still in the store, so a resume can reuse too little but never something wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from i4d.driver.protocols import Record
from i4d.plain import plain
from i4d.types import BlockRef, CheckpointReceipt, EditReceipt, FitFigures, RenderReceipt

Receipt = EditReceipt | RenderReceipt | CheckpointReceipt | FitFigures
Work = Literal["edit", "render", "fit", "watch"]


def block_from(tree: dict) -> BlockRef:
    """Return a block reference from JSON."""
    return BlockRef(
        tree["digest"], tree["num_rows"], tuple(tree["row_shape"]), tree["dtype"], tree["size_bytes"]
    )


@overload
def receipt_from(kind: Literal["edit"], tree: dict) -> EditReceipt: ...
@overload
def receipt_from(kind: Literal["render"], tree: dict) -> RenderReceipt: ...
@overload
def receipt_from(kind: Literal["fit"], tree: dict) -> CheckpointReceipt: ...
@overload
def receipt_from(kind: Literal["watch"], tree: dict) -> FitFigures: ...
@overload
def receipt_from(kind: Work, tree: dict) -> Receipt: ...
def receipt_from(kind: Work, tree: dict) -> Receipt:
    """Return the receipt that `plain` wrote; `kind` is "edit", "render", "fit" or "watch"."""
    tree = dict(tree)
    if kind == "watch":
        figures: dict[str, Any] = {name: math.nan if v is None else v for name, v in tree.items()}
        return FitFigures(**figures)
    if kind == "fit":
        return CheckpointReceipt(**tree)
    if kind == "render":
        tree["blocks"] = {name: block_from(block) for name, block in tree["blocks"].items()}
        return RenderReceipt(**tree)
    tree["block"] = block_from(tree["block"])
    tree["notes"] = tuple(tree["notes"])
    tree["kept_share"] = math.nan if tree["kept_share"] is None else tree["kept_share"]
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in tree.items()}
    return EditReceipt(**values)


class _Entry(NamedTuple):
    inputs: str
    receipt: Receipt | dict  # as `plain` wrote it, where an earlier attempt did


class Journal:
    """Finished work by (kind, id). `find` says whether it can be taken over, `add` writes it down first."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._entries: dict[str, dict[str, _Entry]] = {}
        for entry in record.records():
            self._entries.setdefault(entry["kind"], {})[entry["id"]] = _Entry(
                entry["inputs"], entry["receipt"]
            )

    def add(self, kind: str, id: str, inputs: str, receipt: Receipt) -> None:
        """Write down a finished piece of work; it is on disk when this returns."""
        self.keep(kind, [(id, inputs, receipt)])
        self._entries.setdefault(kind, {})[id] = _Entry(inputs, receipt)

    def keep(self, kind: str, done: Sequence[tuple[str, str, Receipt]]) -> None:
        """Write down pieces of work, (id, inputs, receipt) each, for a resume only: none is in memory, all on
        disk when this returns.
        """
        if done:
            self._record.append(
                *({"kind": kind, "id": id, "inputs": inputs, "receipt": plain(r)} for id, inputs, r in done)
            )

    def knows(self, kind: str, id: str) -> bool:
        """Return whether there is an entry at all: a look that needs no digest of the inputs."""
        return id in self._entries.get(kind, ())

    @overload
    def find(self, kind: Literal["edit"], id: str, inputs: str) -> EditReceipt | None: ...
    @overload
    def find(self, kind: Literal["render"], id: str, inputs: str) -> RenderReceipt | None: ...
    @overload
    def find(self, kind: Literal["fit"], id: str, inputs: str) -> CheckpointReceipt | None: ...
    @overload
    def find(self, kind: Literal["watch"], id: str, inputs: str) -> FitFigures | None: ...
    def find(self, kind: Work, id: str, inputs: str) -> Receipt | None:
        """Return the receipt of the same work done before, if what it made is still stored."""
        entry = self._entries.get(kind, {}).get(id)
        if entry is None or entry.inputs != inputs:
            return None
        receipt = receipt_from(kind, entry.receipt) if isinstance(entry.receipt, dict) else entry.receipt
        if isinstance(receipt, FitFigures):
            return receipt
        if isinstance(receipt, CheckpointReceipt):
            return receipt if self._record.has_checkpoint(receipt.digest) else None
        blocks = receipt.blocks.values() if isinstance(receipt, RenderReceipt) else [receipt.block]
        return receipt if all(self._record.stored(block.digest) for block in blocks) else None
