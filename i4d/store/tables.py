"""Frame tables: which block holds which frame of which view, in which version of the data.

A table is immutable and self-contained; a new version names its parent's digest. Runs are kept canonical
(sorted, adjacent ones merged), so two tables that say the same have the same digest however they were put
together.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from i4d.errors import BlockError
from i4d.types import FrameAddress, TableRun


@dataclass(frozen=True)
class FrameTable:
    """Maps (view, frame) to a row of a block. `parent` is the digest of the version that this one
    overrides.
    """

    runs: tuple[TableRun, ...]
    version: int = 0
    parent: str = ""

    @staticmethod
    def of(runs: Iterable[TableRun]) -> FrameTable:
        """Return version 0; of runs that overlap, the later one counts."""
        return FrameTable(_canonical(runs))

    @cached_property
    def _by_view(self) -> dict[int, tuple[list[int], list[TableRun]]]:
        index: dict[int, tuple[list[int], list[TableRun]]] = {}
        for run in self.runs:
            starts, runs = index.setdefault(run.view, ([], []))
            starts.append(run.start)
            runs.append(run)
        return index

    def lookup(self, view: int, frame: int) -> FrameAddress:
        """Return where a frame lies; BlockError if this table does not hold it."""
        starts, runs = self._by_view.get(view, ([], []))
        i = bisect.bisect_right(starts, frame) - 1
        if i < 0 or frame >= runs[i].stop:
            raise BlockError(
                f"frame {frame} of view {view} is not in version {self.version} of the frame table"
            )
        return FrameAddress(runs[i].digest, runs[i].row + frame - runs[i].start)

    def override(self, runs: Iterable[TableRun]) -> FrameTable:
        """Return the next version, where `runs` replace what this one says of their frames."""
        return FrameTable(_canonical([*self.runs, *runs]), self.version + 1, self.digest())

    def of_views(self, views: Sequence[int]) -> tuple[TableRun, ...]:
        """Return the runs of some views, in canonical order."""
        return tuple(run for run in self.runs if run.view in set(views))

    def views(self) -> tuple[int, ...]:
        """Return the views that have frames here."""
        return tuple(sorted(self._by_view))

    def delta(self, parent: FrameTable) -> tuple[TableRun, ...]:
        """Return the runs that, put over `parent`, say what this table says (frames are never taken away)."""
        changed = []
        for run in self.runs:
            for frame in range(run.start, run.stop):
                here = FrameAddress(run.digest, run.row + frame - run.start)
                if parent.find(run.view, frame) != here:
                    changed.append(TableRun(run.view, frame, frame + 1, here.digest, here.row))
        return _canonical(changed)

    def find(self, view: int, frame: int) -> FrameAddress | None:
        """Return where a frame lies, or None."""
        starts, runs = self._by_view.get(view, ([], []))
        i = bisect.bisect_right(starts, frame) - 1
        if i < 0 or frame >= runs[i].stop:
            return None
        return FrameAddress(runs[i].digest, runs[i].row + frame - runs[i].start)

    def digest(self) -> str:
        """Return the digest of what the table says; version and parent do not count."""
        text = json.dumps([[r.view, r.start, r.stop, r.digest, r.row] for r in self.runs])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def to_json(self) -> dict:
        """Return plain values for JSON."""
        runs = [[r.view, r.start, r.stop, r.digest, r.row] for r in self.runs]
        return {"version": self.version, "parent": self.parent, "runs": runs}

    @staticmethod
    def from_json(tree: dict) -> FrameTable:
        """Return the table that `to_json` wrote."""
        try:
            runs = tuple(TableRun(int(v), int(a), int(b), str(d), int(r)) for v, a, b, d, r in tree["runs"])
            return FrameTable(_canonical(runs), int(tree["version"]), str(tree["parent"]))
        except (KeyError, TypeError, ValueError) as err:
            raise BlockError("a stored frame table is corrupt", str(err)) from err


def _canonical(runs: Iterable[TableRun]) -> tuple[TableRun, ...]:
    """Return disjoint, sorted, merged runs; later runs override earlier ones frame by frame."""
    frames: dict[int, dict[int, tuple[str, int]]] = {}
    for run in runs:
        if not (run.stop > run.start >= 0 and run.row >= 0):
            raise BlockError(f"a frame table cannot hold frames {run.start} to {run.stop} at row {run.row}")
        of_view = frames.setdefault(run.view, {})
        for frame in range(run.start, run.stop):
            of_view[frame] = (run.digest, run.row + frame - run.start)
    out: list[TableRun] = []
    for view in sorted(frames):
        for frame in sorted(frames[view]):
            digest, row = frames[view][frame]
            last = out[-1] if out else None
            if (
                last is not None
                and (last.view, last.stop, last.digest) == (view, frame, digest)
                and last.row + (last.stop - last.start) == row
            ):
                out[-1] = TableRun(view, last.start, frame + 1, digest, last.row)
            else:
                out.append(TableRun(view, frame, frame + 1, digest, row))
    return tuple(out)
