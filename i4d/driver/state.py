"""What the stages of a run share: plan, record, services, clocks; stages as events; the editors' loop over a
stage's jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from i4d.driver import events
from i4d.driver.events import Emitter
from i4d.driver.jobs import Job
from i4d.driver.journal import Journal
from i4d.driver.pool import EditorPool, Limits
from i4d.driver.protocols import Record, Table
from i4d.driver.retry import RetryPolicy
from i4d.driver.training import TrainerSession
from i4d.driver.windows import EditLoop
from i4d.schedules.values import Plan, RoundPlan
from i4d.types import EditReceipt, FrameAddress


@dataclass(eq=False)
class RunState:
    """What the stages share."""

    plan: Plan
    originals: Table
    record: Record
    journal: Journal
    pool: EditorPool | None  # None: a run without rounds
    session: TrainerSession
    policy: RetryPolicy
    limits: Limits
    emit: Emitter
    clock: Callable[[], float]
    turns: bool
    overlap: bool
    watch: bool = False  # the first fit is looked at while it runs
    timings: dict[str, float] = field(default_factory=dict)
    receipts: dict[str, Any] = field(default_factory=dict)
    regions: dict[tuple[int, int], FrameAddress] = field(
        default_factory=dict
    )  # masks of a local edit by view and frame

    @property
    def editors(self) -> EditorPool:
        """The pool of a run with rounds."""
        assert self.pool is not None, "a run without rounds has no editors"
        return self.pool

    def stage(self, round_index: int, name: str, total: int) -> Stage:
        return Stage(self, round_index, name, total)

    def turn_to(self, who: str) -> None:
        """Where editors and trainer share one device that cannot hold both, move the others' weights off
        it.
        """
        if not self.turns:
            return
        if who == "editors":
            self.session.persist(lambda: self.session.call("set_active", False))
            self.editors.call_all("set_active", True)
        else:
            self.editors.call_all("set_active", False)
            self.session.persist(lambda: self.session.call("set_active", True))


class Stage:
    """Emits the beginning and end of a stage and keeps its time."""

    def __init__(self, run: RunState, round_index: int, name: str, total: int) -> None:
        self.run, self.round, self.name, self.total = run, round_index, name, total

    def __enter__(self) -> None:
        self.began = self.run.clock()
        self.run.emit(events.StageStarted(self.round, self.name, self.total))

    def __exit__(self, kind: type | None, *_: object) -> None:
        seconds = self.run.clock() - self.began
        self.run.timings[self.name] = self.run.timings.get(self.name, 0.0) + seconds
        if kind is None:
            self.run.emit(events.StageFinished(self.round, self.name, seconds))


def edit_loop(state: RunState, part: RoundPlan, jobs: list[Job], before: int = 0, of: int = 0) -> EditLoop:
    """Return the loop over a stage's jobs; where they are some `of` the stage's, `before` were done before
    them.
    """
    kinds = {
        "edit_key_frame": events.KeyFrameStepStored,
        "repaint": events.RestViewsStored,
        "edit_window": events.WindowStored,
    }

    def stored(job: Job, receipt: EditReceipt, reused: bool, done: int, total: int) -> None:
        for note in receipt.notes:
            state.emit(events.Warned(f"{job.id}: {note}"))
        state.emit(
            kinds[job.method](
                round=part.index,
                task=job.id,
                worker=receipt.worker,
                device=receipt.device,
                started_s=receipt.started_s,
                seconds=receipt.seconds,
                size_bytes=receipt.block.size_bytes,
                done=before + done,
                total=of or total,
                unet_forwards=receipt.unet_forwards,
                flow_passes=receipt.flow_passes,
                flow_seconds=receipt.flow_seconds,
                peak_bytes=receipt.peak_bytes,
                kept_share=receipt.kept_share,
                reused=reused,
            )
        )

    return EditLoop(
        jobs, state.editors, state.journal, state.record, state.policy, state.limits, state.emit, stored
    )
