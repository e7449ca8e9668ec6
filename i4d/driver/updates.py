"""A refit whose training frames are replaced one update after the other: render, edit, put back, go on
(schedule `in2n`).

The field that an update renders depends on all updates before it, so they are strictly in order, and after a
loss the fit goes on from its last checkpoint with exactly the frames that it had there: updates made before
are taken from the journal.
"""

from __future__ import annotations

import math
from typing import Any

from i4d.driver import events
from i4d.driver.jobs import Job, Results
from i4d.driver.protocols import Table
from i4d.driver.renders import work_done
from i4d.driver.state import RunState, edit_loop
from i4d.driver.windows import Stopped
from i4d.errors import FitError
from i4d.plain import inputs_digest
from i4d.schedules.values import RoundPlan, Update
from i4d.types import (
    CheckpointReceipt,
    EditReceipt,
    FitReceipt,
    FrameAddress,
    RenderReceipt,
    RenderTask,
    TableRun,
    WindowTask,
)

_FIRST_STEPS, _GROWTH = 4, 4.0  # of the first call, and at most so many times those of the call before


def edit_while_fitting(
    state: RunState, part: RoundPlan, table: Table, start: CheckpointReceipt
) -> tuple[Table, list[TableRun], CheckpointReceipt]:
    """Return the new frame table, what it overrides in order, and the refitted field. Raises Stopped as a fit
    does.
    """
    with state.stage(part.index, "edits in the refit", state.plan.refit_steps):
        return _Updating(state, part, table, start).run()


class _Lost(Exception):
    """A call to the trainer failed; `why` says how."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class _Updating:
    def __init__(self, state: RunState, part: RoundPlan, table: Table, start: CheckpointReceipt) -> None:
        self._state, self._part, self._table, self._start = state, part, table, start
        self._id = f"r{part.index}/refit"
        self._inputs = inputs_digest(state.plan.digest(), table.of_views(state.plan.views), start.digest)
        self._done: list[EditReceipt] = []  # by update
        self._step = 0
        self._pending: list[TableRun] = []
        self._call_steps, self._saved_at = _FIRST_STEPS, state.clock()
        self._saved: CheckpointReceipt | None = None
        self._failures = 0  # since the fit last got beyond where it failed
        self._failed_at = 0

    def run(self) -> tuple[Table, list[TableRun], CheckpointReceipt]:
        state = self._state
        for update in self._part.updates:
            receipt = self._stored(update)
            if receipt is None:
                break
            self._done.append(receipt)
        final = state.journal.find("fit", self._id, self._inputs)
        while final is None or len(self._done) < len(self._part.updates):
            try:
                final = self._attempt()
            except _Lost as lost:
                self._failures += 1
                self._failed_at = max(self._failed_at, self._step + self._call_steps)
                state.session.survive(lost.why, self._failures)
                state.emit(events.TrainerReloaded(self._part.index, self._step, str(lost.why)))
        overrides = [
            run for place, update in enumerate(self._part.updates) for run in self._runs(place, update)
        ]
        state.receipts = {
            f"{update_id(self._part, u)}": r for u, r in zip(self._part.updates, self._done, strict=True)
        }
        return self._table.override(overrides), overrides, final

    # ------------------------------------------------------------------------------------------ the fit
    def _attempt(self) -> CheckpointReceipt:
        state, updates = self._state, self._part.updates
        state.turn_to("trainer")
        first = self._restore()
        for place in range(first, len(updates)):
            update = updates[place]
            self._advance_to(update.at_step)
            if place == len(self._done):
                if state.record.stop_requested():
                    self._save_part()
                    raise Stopped
                self._done.append(self._carry_out(update))
            self._pending += self._runs(place, update)
        self._advance_to(state.plan.refit_steps)
        receipt = self._save(self._id)
        if self._saved is not None and self._saved.digest != receipt.digest:
            state.record.drop_checkpoint(self._saved.digest)
        state.session.holds = receipt.digest
        return receipt

    def _restore(self) -> int:
        """Bring the trainer to the last checkpoint within this fit, or to its start; return the first update
        not yet applied.

        A checkpoint is saved at an update's step before any update of that step, so step alone tells which
        ones are in it.
        """
        plan, session = self._state.plan, self._state.session
        session.holds = None
        base = list(self._table.of_views(plan.views))
        self._saved = self._state.journal.find("fit", f"{self._id}/part", self._inputs)
        self._saved_at = self._state.clock()
        if self._saved is None:
            self._call("start", tuple(base), self._start.digest, "refit", plan.refit_steps)
            self._step, self._pending = 0, []
            return 0
        self._call("load", self._saved.digest)
        self._step = self._saved.step
        applied = [(place, u) for place, u in enumerate(self._part.updates) if u.at_step < self._step]
        self._pending = base + [run for place, update in applied for run in self._runs(place, update)]
        return len(applied)

    def _advance_to(self, step: int) -> None:
        moved = self._step < step
        while self._step < step:
            steps = min(step - self._step, self._call_steps)
            delta, self._pending = self._pending, []
            receipt: FitReceipt = self._call("advance", tuple(delta), steps)
            self._take(receipt, steps, delta)
        if (
            moved
            and self._state.clock() - self._saved_at > self._state.limits.save_every_s
            and step < self._state.plan.refit_steps
        ):
            self._save_part()

    def _take(self, receipt: FitReceipt, steps: int, delta: list[TableRun]) -> None:
        if not math.isfinite(receipt.psnr_db) or not math.isfinite(receipt.seconds):
            raise FitError(f"{self._id}: the fit is not finite after step {self._step + steps}")
        self._step += steps
        if self._step > self._failed_at:
            self._failures = 0
        speed = steps / max(receipt.seconds, 1e-3)
        self._call_steps = int(max(1, min(speed * self._state.limits.call_goal_s, steps * _GROWTH)))
        new = sum(run.stop - run.start for run in delta)
        who = (receipt.worker, receipt.device, receipt.started_s, receipt.seconds, receipt.peak_bytes)
        total = self._state.plan.refit_steps
        self._state.emit(
            events.FitProgress(
                self._part.index, "refit", self._step, total, receipt.psnr_db, receipt.rays, new, *who
            )
        )

    def _save_part(self) -> None:
        if self._saved is not None and self._saved.step == self._step:
            return
        before = self._saved
        self._saved = self._save(f"{self._id}/part")
        if before is not None and before.digest not in (self._saved.digest, self._start.digest):
            self._state.record.drop_checkpoint(before.digest)

    def _save(self, id: str) -> CheckpointReceipt:
        state = self._state
        receipt: CheckpointReceipt = self._call("save")
        receipt = CheckpointReceipt(receipt.digest, self._step, receipt.size_bytes)
        state.journal.add("fit", id, self._inputs, receipt)
        state.emit(events.CheckpointSaved(self._part.index, self._step, receipt.digest, receipt.size_bytes))
        self._saved_at = state.clock()
        return receipt

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return self._state.session.call(method, *args)
        except Exception as err:
            raise _Lost(err) from err

    # ------------------------------------------------------------------------------------------ the updates
    def _carry_out(self, update: Update) -> EditReceipt:
        """Render and edit one update; both are in the journal when this returns."""
        state, task = self._state, self._render_task(update)
        looked = state.journal.find("render", self._render_id(update), self._render_inputs(update))
        if looked is None:
            looked = self._call("render", task)
            state.journal.add("render", self._render_id(update), self._render_inputs(update), looked)
            at = (self._render_id(update), looked, False, update.index + 1, len(self._part.updates))
            state.emit(work_done(state.session, self._part.index, *at))
        job = self._job(update, looked)
        state.turn_to("editors")
        try:
            stored = edit_loop(state, self._part, [job], update.index, len(self._part.updates)).run()
        except Stopped:
            state.turn_to("trainer")
            self._save_part()
            raise
        state.turn_to("trainer")
        return stored[job.id]

    def _stored(self, update: Update) -> EditReceipt | None:
        """Return what an earlier attempt has stored of an update."""
        looked = self._state.journal.find("render", self._render_id(update), self._render_inputs(update))
        if looked is None:
            return None
        job = self._job(update, looked)
        return self._state.journal.find("edit", job.id, inputs_digest(job.make({})))

    def _job(self, update: Update, looked: RenderReceipt) -> Job:
        task = self._task(update, looked)

        def make(results: Results) -> WindowTask:
            return task

        return Job(update_id(self._part, update), "edit_window", make, len(update.frames))

    def _task(self, update: Update, looked: RenderReceipt) -> WindowTask:
        plan, originals = self._state.plan, self._state.originals
        frames = tuple(originals.lookup(update.view, frame) for frame in update.frames)
        key = originals.lookup(update.view, plan.key_frame)
        return WindowTask(
            run_seed=plan.seed,
            round=self._part.index,
            view=update.view,
            window=update.index,
            frames=update.frames,
            originals=frames,
            current=tuple(FrameAddress(looked.blocks["rgb"].digest, row) for row in range(len(frames))),
            anchor_frame=plan.key_frame,
            anchor_original=key,
            anchor_edited=key,
            reference_frame=plan.key_frame,
            reference_original=key,
            reference_edited=key,
            batch=len(frames),
            strength=update.strength,
            settings=plan.settings,
        )

    def _render_task(self, update: Update) -> RenderTask:
        camera, frames = self._state.plan.camera(update.view), self._state.plan.num_frames
        return RenderTask(camera, update.frames, frames, ("rgb",), "float16", exposure_of=update.view)

    def _render_id(self, update: Update) -> str:
        return f"{update_id(self._part, update)}/look"

    def _render_inputs(self, update: Update) -> str:
        return inputs_digest(self._inputs, update)

    def _runs(self, place: int, update: Update) -> list[TableRun]:
        digest = self._done[place].block.digest
        return [
            TableRun(update.view, frame, frame + 1, digest, row) for row, frame in enumerate(update.frames)
        ]


def update_id(part: RoundPlan, update: Update) -> str:
    """Return what an update is called in events and journal."""
    return f"r{part.index}/v{update.view:02d}/w{update.index:02d}"
