"""Null services with faults that strike a given number of times, counted in files so that restarts do not
forget.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time
from pathlib import Path

from i4d.errors import EditError, StorageError, WeightsError
from i4d.services.null import NullEditor, NullTrainer


def _strikes(marks: str, name: str, times: int) -> bool:
    """Return True the first `times` times that it is asked about a name."""
    folder = Path(marks) / "strikes"
    folder.mkdir(exist_ok=True)
    for i in range(times):
        try:
            (folder / f"{name.replace('/', '-')}.{i}").touch(exist_ok=False)
            return True
        except FileExistsError:
            continue
    return False


class FaultyEditor(NullEditor):
    """Goes wrong on one task id each."""

    def __init__(
        self, store, name="editor", delay_s=0.0, marks="", times=1, cold=False, no_weights=False, **faults
    ):
        super().__init__(store, name, delay_s)
        self._marks, self._times, self._cold, self._no_weights = marks, times, cold, no_weights
        names = ("hang_on", "slow_on", "full_on", "fail_on", "crash_on", "die_on", "lie_on", "lie")
        self._faults = {**dict.fromkeys(names, ""), **faults}

    def warm_up(self):
        if self._cold:
            threading.Event().wait()
        if self._no_weights:
            raise WeightsError("no weights", "as asked")
        return super().warm_up()

    def _receipt(self, id, rows, images, kept=math.nan):
        faults = self._faults
        if id == faults["hang_on"] and _strikes(self._marks, id, self._times):
            threading.Event().wait()
        if id == faults["die_on"] and _strikes(self._marks, id, self._times):
            os.kill(os.getpid(), signal.SIGKILL)  # only where services have processes of their own
        if id == faults["slow_on"]:
            for _ in range(60):  # 12 s of visible work
                self._moved += 1
                time.sleep(0.2)
        if id == faults["full_on"] and _strikes(self._marks, id, self._times):
            raise StorageError("cannot write block: the disk is full", "as asked")
        if id == faults["fail_on"] and _strikes(self._marks, id, self._times):
            raise EditError(f"{id}: as asked")
        if id == faults["crash_on"] and _strikes(self._marks, id, self._times):
            raise ZeroDivisionError("as asked")
        receipt = super()._receipt(id, rows, images, kept)
        if id == faults["lie_on"] and _strikes(self._marks, id, self._times):
            lies = {
                "rows": {"block": dataclasses.replace(receipt.block, num_rows=1)},
                "seconds": {"seconds": math.nan},
                "kept": {"kept_share": 1.5},
            }
            return dataclasses.replace(receipt, **lies[faults["lie"]]) if faults["lie"] in lies else None
        return receipt


class CountingEditor(NullEditor):
    """Writes down every piece of work that it begins and that it has stored, in a file that survives it."""

    def __init__(self, store, name="editor", delay_s=0.0, marks="", cache_dir=None):
        super().__init__(store, name, delay_s, cache_dir)
        self._marks = Path(marks) / "computed.log"

    def _receipt(self, id, rows, images, kept=math.nan):
        self._mark("began", id)
        receipt = super()._receipt(id, rows, images, kept)
        self._mark("stored", id)
        return receipt

    def _mark(self, what, id):
        with open(self._marks, "a") as file:
            file.write(f"{what} {id} {self._name}\n")


class FaultyTrainer(NullTrainer):
    """Goes wrong at one step each."""

    def __init__(self, store, name="trainer", delay_s=0.0, marks="", times=1, hang_at=0, nan_at=0):
        super().__init__(store, name, delay_s)
        self._marks, self._times, self._hang_at, self._nan_at = marks, times, hang_at, nan_at

    def advance(self, delta, num_steps):
        before = self._state["step"]
        receipt = super().advance(delta, num_steps)
        if before < self._hang_at <= receipt.step and _strikes(self._marks, "hang", self._times):
            threading.Event().wait()
        if before < self._nan_at <= receipt.step and _strikes(self._marks, "nan", self._times):
            return dataclasses.replace(receipt, psnr_db=math.nan)
        return receipt


class RankTrainer(NullTrainer):
    """One rank of a group: every rank goes the same way."""

    def __init__(self, store, name="trainer", delay_s=0.0, rank=0, size=1, rendezvous=""):
        super().__init__(store, name, delay_s)
