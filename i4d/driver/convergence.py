"""When rounds end and which one is kept.

After every round a judge looks at the field (a few probe renders) and at the edited frames: how far both have
moved since the round before, how much they disagree in time and between cameras, and how far the field is
from what the editor made at full strength, in the first round (where rounds accumulate, all are, and the mean
so far counts). Rounds end when what moves falls under the plan's threshold, when a round is no better than
the best before it, or with the plan; the round with the least disagreement is kept. Everything follows from
stored blocks, so a resumed run decides alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from i4d.driver import events
from i4d.driver.protocols import Table
from i4d.driver.renders import RenderJob, calls_of, work_done
from i4d.driver.state import RunState
from i4d.driver.windows import Stopped
from i4d.schedules.values import RoundPlan
from i4d.types import CheckpointReceipt, FrameAddress

FILE = "rounds.json"


@dataclass(frozen=True)
class Measured:
    """One round: mean absolute change of edited frames and of probe renders since the round before (of [0,
    1]; None for the first), and what the judge holds against it, lower is better, with its parts."""

    round: int
    change_edits: float | None
    change_renders: float | None
    disagreement: float
    parts: dict[str, float]


class Judge(Protocol):
    """Looks at stored pictures; its answers follow from them alone."""

    probes: RenderJob  # what is rendered from the field of every round

    @property
    def likened(self) -> Sequence[tuple[int, int]]:
        """The views and frames that the last probes show, one picture each."""
        ...

    def change(self, before: Sequence[FrameAddress], now: Sequence[FrameAddress]) -> float:
        """Return the mean absolute difference of two sets of pictures, of [0, 1]."""
        ...

    def disagreement(
        self, probes: Sequence[FrameAddress], keys: Sequence[FrameAddress], full: Sequence[FrameAddress]
    ) -> dict[str, float]:
        """Return errors of the probe renders in time, of the edited key frames between views, and the
        distance of the likened probes from `full`, their edits at full strength (of the first round, or of
        this one where rounds accumulate), by name; lower is better.
        """
        ...


class Convergence:
    """Follows the rounds of one run; without a judge, or with one round, it keeps the last and never ends
    them early.
    """

    def __init__(self, state: RunState, judge: Judge | None) -> None:
        self._state = state
        self._judge = judge if len(state.plan.rounds) > 1 else None
        self._measured: list[Measured] = []
        self._last: tuple[list[FrameAddress], list[FrameAddress]] | None = None
        self._full: list[FrameAddress] = []
        self.reason = ""

    def settled(self, part: RoundPlan, table: Table, checkpoint: CheckpointReceipt) -> bool:
        """Measure a committed round; True when nothing moves any more, or nothing gets better."""
        if self._judge is None:
            return False
        full = [table.lookup(view, frame) for view, frame in self._judge.likened]
        self._full = full if self._state.plan.accumulate else self._full or full
        renders, edits = self._probed(part, checkpoint), self._edited(table)
        keys = [table.lookup(view, self._state.plan.key_frame) for view in self._state.plan.views]
        changes = (
            None
            if self._last is None
            else (self._judge.change(self._last[1], edits), self._judge.change(self._last[0], renders))
        )
        parts = self._judge.disagreement(renders, keys, self._full)
        self._last = renders, edits
        edits_moved, renders_moved = changes or (None, None)
        mean = sum(parts.values()) / len(parts)
        found = Measured(part.index, edits_moved, renders_moved, mean, parts)
        before = [(other.disagreement, other.round) for other in self._measured]
        self._measured.append(found)
        self._state.emit(
            events.RoundMeasured(part.index, *(changes or (math.nan, math.nan)), found.disagreement)
        )
        threshold = self._state.plan.stop_change
        if changes is None or threshold == 0:  # the first round has none before it
            return False
        best = min(before)
        if max(changes[0], changes[1]) < threshold:
            self.reason = (
                f"edited frames moved by {changes[0]:.4f} and renders by {changes[1]:.4f}, both "
                f"under {threshold:g}"
            )
        elif found.disagreement >= best[0]:
            self.reason = (
                f"round {part.index} is no better than round {best[1]} ({found.disagreement:.3f} "
                f"against {best[0]:.3f})"
            )
        return bool(self.reason)

    def conclude(self, last: int) -> int:
        """Write rounds.json, tell why the rounds ended, and return the round that is kept: the one that
        disagrees least.
        """
        if self._judge is None:
            return last
        if not self.reason:
            self.reason = f"all {len(self._state.plan.rounds)} rounds are done"
        kept = min(self._measured, key=lambda found: (found.disagreement, found.round)).round
        tree = {"kept": kept, "reason": self.reason, "rounds": [asdict(found) for found in self._measured]}
        self._state.record.write_json(FILE, tree)
        self._state.emit(events.RoundsEnded(last, kept, self.reason))
        return kept

    def _edited(self, table: Table) -> list[FrameAddress]:
        """Return what the change of the edited set is measured on: first, key and last frame of every
        view.
        """
        plan = self._state.plan
        frames = sorted({0, plan.key_frame, plan.num_frames - 1})
        return [table.lookup(view, frame) for view in plan.views for frame in frames]

    def _probed(self, part: RoundPlan, checkpoint: CheckpointReceipt) -> list[FrameAddress]:
        assert self._judge is not None, "only a judge asks for probes"
        state, out = self._state, []
        tasks = calls_of(self._judge.probes, state.plan.num_frames)
        for place, task in enumerate(tasks):
            if state.record.stop_requested():
                raise Stopped
            id = f"r{part.index}/probe{place:02d}"
            receipt, reused = state.session.render(id, checkpoint.digest, task)
            state.emit(work_done(state.session, part.index, id, receipt, reused, place + 1, len(tasks)))
            out += [FrameAddress(receipt.blocks["rgb"].digest, row) for row in range(len(task.frames))]
        return out
