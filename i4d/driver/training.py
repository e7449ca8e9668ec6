"""The driver's side of the trainer: fits in short calls, checkpoints, renders, and comes back after a loss.

The trainer alone holds mutable state, so everything needed to build it again is kept here: the phase, the
frames it was given, and the last checkpoint of the phase. How a fit is cut into calls follows the measured
speed and must not change its result; in barrier mode nothing else depends on time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from i4d.driver.events import CheckpointSaved, Emitter, FitProgress, TrainerReloaded, WorkerRestarted
from i4d.driver.journal import Journal
from i4d.driver.pool import GLANCE_S, EditorPool, Limits, ready_event, require_identity
from i4d.driver.protocols import Executor, Handle, Record
from i4d.driver.retry import Decision, Failure, RetryPolicy, classify
from i4d.driver.watching import Watch
from i4d.driver.windows import Stopped
from i4d.errors import CallTimeout, FitError, I4DError, WorkerLost
from i4d.plain import inputs_digest
from i4d.types import (
    CheckpointReceipt,
    FitReceipt,
    Identity,
    LocalRender,
    RenderReceipt,
    RenderTask,
    TableRun,
)

_FIRST_STEPS = 4  # of a phase: the speed is not known yet
_GROWTH = 4.0  # a call has at most this many times the steps of the one before


@dataclass(frozen=True)
class Phase:
    """One fit: `steps` steps on the frames of `runs`, from a checkpoint or from nothing."""

    round: int
    kind: Literal["fit", "refit"]
    runs: tuple[TableRun, ...]
    checkpoint: str | None
    steps: int
    fitted_by: str = ""  # what else it follows from (`Plan.fitted_by`)

    @property
    def id(self) -> str:
        return f"r{self.round}/{self.kind}"

    def inputs(self) -> str:
        return inputs_digest(self.kind, self.runs, self.checkpoint, self.steps, self.fitted_by)

    def inputs_of_parts(self) -> str:
        """Return the digest of what a fit follows from while its frames still land."""
        return inputs_digest(self.kind, self.checkpoint, self.steps, self.fitted_by)


class TrainerSession:
    """One trainer service and what it holds at the moment."""

    def __init__(
        self,
        executor: Executor,
        handle: Handle,
        policy: RetryPolicy,
        record: Record,
        journal: Journal,
        limits: Limits,
        emit: Emitter,
        clock: Callable[[], float],
    ) -> None:
        self.executor = executor
        self.handle = handle
        self.policy = policy
        self.record = record
        self.journal = journal
        self.limits = limits
        self.emit = emit
        self.clock = clock
        self.holds: str | None = None  # the checkpoint that the field equals now
        self.pool: EditorPool | None = None  # whose editors may have to make room
        self.local: LocalRender | None = (
            None  # of a local edit: every render of an edited field stays inside it
        )
        self.identity = Identity()  # what the run has settled on
        self._restarts = 0
        self._heard: int | None = None

    def call(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        """Return the answer of one call; raises what it raised, or CallTimeout."""
        return self.answer(self.executor.call(self.handle, method, *args), self.clock(), timeout_s)

    def answer(self, ticket: Any, since: float, timeout_s: float | None = None) -> Any:
        """Wait for an open call that was sent at `since` (clock time) and return its answer.

        Raises CallTimeout when the trainer's own number has not moved for the time allowed.
        """
        allowed = timeout_s or self.limits.timeout_s
        while not self.executor.wait([ticket], self.limits.poll_s):
            if self.moved(since):
                since = self.clock()
            if self.clock() - since > allowed:
                raise CallTimeout(f"{self.handle.name} did not get on with {ticket.method} for {allowed:g} s")
        return self.executor.result(ticket)

    def moved(self, since: float) -> bool:
        """Return whether the trainer has got on since it was last looked at; short calls are not looked
        at.
        """
        if self.clock() - since <= min(GLANCE_S, self.limits.timeout_s / 4):
            return False
        before, self._heard = self._heard, self.executor.progress(self.handle)
        return self._heard is not None and self._heard != before

    def warm_up(self) -> None:
        """Bring the trainer up. One that finds no room for `place_s` (its node is gone) takes the place of an
        editor.
        """
        ticket, since = self.executor.call(self.handle, "warm_up"), self.clock()
        while not self.executor.wait([ticket], self.limits.poll_s):
            waited = self.clock() - since
            spare = self.pool.spare() if self.pool is not None else None
            if waited > self.limits.start_timeout_s:
                raise CallTimeout(
                    f"{self.handle.name} did not warm up within {self.limits.start_timeout_s:g} s"
                )
            if (
                self.pool is not None
                and spare is not None
                and waited > self.limits.place_s
                and self.executor.progress(self.handle) is None
            ):
                self.executor.take_place(self.handle, spare.handle)
                self.pool.displaced(spare, self.handle.name)
                ticket, since = self.executor.call(self.handle, "warm_up"), self.clock()
        info = self.executor.result(ticket)
        require_identity(info, self.identity, ("field",))
        self.emit(ready_event(info))

    def survive(self, err: Exception, attempt: int) -> None:
        """Bring the trainer back after a failure, or raise the failure when the policy says so."""
        kind = classify(err)
        if self.policy.decide(Failure(kind, "trainer", attempt, str(err))) is Decision.ABORT:
            if isinstance(err, I4DError):
                raise err
            raise FitError(f"{self.handle.name} failed {attempt} times: {type(err).__name__}: {err}") from err
        self.holds = None
        if kind in ("lost", "timeout"):
            self._restarts += 1
            self.emit(WorkerRestarted(self.handle.name, str(err), self._restarts))
            self.executor.restart(self.handle)
            self._heard = None
            try:
                self.warm_up()
            except (WorkerLost, CallTimeout) as again:
                self.survive(again, attempt + 1)

    def persist(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns, trying again after failures that the policy forgives."""
        attempt = 0
        while True:
            try:
                return work()
            except Stopped:
                raise
            except Exception as err:
                attempt += 1
                self.survive(err, attempt)

    def load(self, checkpoint: str) -> None:
        """Make the field equal to a checkpoint, unless it is already."""
        if self.holds != checkpoint:
            self.holds = None
            self.call("load", checkpoint)
            self.holds = checkpoint

    def render(self, id: str, checkpoint: str, task: RenderTask) -> tuple[RenderReceipt, bool]:
        """Return the receipt of a render from a checkpoint, and whether it was made by an earlier attempt."""
        if self.local is not None and checkpoint != self.local.unedited:
            task = replace(task, local=self.local)
        inputs = inputs_digest(checkpoint, task, self.identity.field)
        receipt = self.journal.find("render", id, inputs)
        if receipt is not None:
            return receipt, True

        def work() -> RenderReceipt:
            self.load(checkpoint)
            receipt = self.call("render", task)
            missing = set(task.want) - set(receipt.blocks)
            if missing or any(b.num_rows != len(task.frames) for b in receipt.blocks.values()):
                raise FitError(f"{self.handle.name} answered {id} with {dict(receipt.blocks)}")
            return receipt

        receipt = self.persist(work)
        self.journal.add("render", id, inputs, receipt)
        return receipt, False


class Fit:
    """One phase on one trainer. `advance` does one short call; `hand_over` adds frames that have landed
    meanwhile.
    """

    def __init__(
        self, session: TrainerSession, phase: Phase, exact: bool, watch: Watch | None = None
    ) -> None:
        """`exact`: intermediate checkpoints count only for the same frames (barrier); else for the phase
        (overlap). `watch` looks at the fit at some of its steps.
        """
        self.phase = phase
        self.watch = watch
        self.step = 0
        self._session = session
        self._runs = list(phase.runs)
        self._pending: list[TableRun] = []  # not yet given to the trainer
        self._inputs = phase.inputs() if exact else phase.inputs_of_parts()
        self._saved: CheckpointReceipt | None = None
        self._saved_at = session.clock()
        self._call_steps = 0
        self._failures = 0  # since the fit last got beyond where it failed
        self._failed_at = self._target = 0  # up to where a call that failed, and the last one, would go
        self._open: tuple[Any, int, list[TableRun], float] | None = None

    def finished_before(self) -> CheckpointReceipt | None:
        """Return the checkpoint of this very phase, on these very frames, if an earlier attempt finished
        it.
        """
        return self._session.journal.find("fit", self.phase.id, self.phase.inputs())

    def begin(self) -> None:
        """Start the phase, or go on from the last checkpoint that an earlier attempt saved within it."""
        self._saved = self._session.journal.find("fit", f"{self.phase.id}/part", self._inputs)
        self._session.persist(self._restore)

    def _restore(self) -> None:
        session = self._session
        session.holds = None
        self._open = None
        if self._saved is not None:
            session.call("load", self._saved.digest)
            self.step, self._pending = self._saved.step, list(self._runs)
        else:
            session.call("start", tuple(self._runs), self.phase.checkpoint, self.phase.kind, self.phase.steps)
            self.step, self._pending = 0, []
        self._saved_at = session.clock()
        if self.watch:
            self.watch.resume(self.step)

    def hand_over(self, runs: Sequence[TableRun]) -> None:
        """Give the trainer newly stored frames with its next call."""
        self._runs.extend(runs)
        self._pending.extend(runs)

    def send(self, limit: int) -> Any | None:
        """Send one call of at most up to step `limit`; returns its ticket, or None when there is nothing to
        do.
        """
        assert self._open is None, "one call at a time"
        if self.watch:
            limit = min(limit, self.watch.next_point(self.step))
        steps = min(self._next_steps(), limit - self.step)
        if steps <= 0:
            return None
        delta, self._pending = self._pending, []
        self._target = self.step + steps
        ticket = self._session.executor.call(self._session.handle, "advance", tuple(delta), steps)
        self._session.holds = None
        self._open = (ticket, steps, delta, self._session.clock())
        return ticket

    def _next_steps(self) -> int:
        return max(1, self._call_steps or _FIRST_STEPS)

    @property
    def ticket(self) -> Any | None:
        """The open call, or None."""
        return self._open[0] if self._open else None

    def overdue(self) -> bool:
        """Return whether the open call has not got on for longer than allowed."""
        if self._open is not None and self._session.moved(self._open[3]):
            self._open = (*self._open[:3], self._session.clock())
        return (
            self._open is not None and self._session.clock() - self._open[3] > self._session.limits.timeout_s
        )

    def receive(self) -> None:
        """Wait for the open call and take its answer; a failure brings the trainer back to the last
        checkpoint.
        """
        assert self._open is not None
        ticket, steps, delta, since = self._open
        try:
            receipt = self._session.answer(ticket, since)
            self._open = None
            self._take(receipt, steps, delta)
            if self.watch:
                self.watch.look(self.step)
            due = self._session.clock() - self._saved_at > self._session.limits.save_every_s
            if due and self.step < self.phase.steps:
                self.save_part()
        except Exception as err:
            self._recover(err)

    def _take(self, receipt: FitReceipt, steps: int, delta: list[TableRun]) -> None:
        if not math.isfinite(receipt.psnr_db) or not math.isfinite(receipt.seconds):
            raise FitError(f"{self.phase.id}: the fit is not finite after step {self.step + steps}")
        self.step += steps
        if self.step > self._failed_at:
            self._failures = 0
        speed = steps / max(receipt.seconds, 1e-3)
        most = max(steps * _GROWTH, self._call_steps)  # a call that a point of the watch cut short
        self._call_steps = int(max(1, min(speed * self._session.limits.call_goal_s, most)))
        self._session.emit(
            FitProgress(
                self.phase.round,
                self.phase.kind,
                self.step,
                self.phase.steps,
                receipt.psnr_db,
                receipt.rays,
                sum(run.stop - run.start for run in delta),
                receipt.worker,
                receipt.device,
                receipt.started_s,
                receipt.seconds,
                receipt.peak_bytes,
            )
        )

    def _recover(self, err: Exception) -> None:
        self._failures += 1
        self._failed_at = max(self._failed_at, self._target)
        self._session.survive(err, self._failures)
        self._session.persist(self._restore)
        self._session.emit(TrainerReloaded(self.phase.round, self.step, str(err)))

    def save_part(self) -> None:
        """Save where the fit stands, so that a resumed run goes on from here."""
        before = self._saved
        self._saved = self._save(f"{self.phase.id}/part", self._inputs)
        if before is not None and before.digest not in (self._saved.digest, self.phase.checkpoint):
            self._session.record.drop_checkpoint(before.digest)

    def _save(self, id: str, inputs: str) -> CheckpointReceipt:
        session = self._session
        receipt: CheckpointReceipt = session.call("save")
        receipt = CheckpointReceipt(receipt.digest, self.step, receipt.size_bytes)
        session.journal.add("fit", id, inputs, receipt)
        session.emit(CheckpointSaved(self.phase.round, self.step, receipt.digest, receipt.size_bytes))
        self._saved_at = session.clock()
        return receipt

    def park(self) -> None:
        """Take the open call's answer and save where the fit stands, whatever it takes."""
        while True:
            if self._open is not None:
                self.receive()
            try:
                self.save_part()
                return
            except Exception as err:
                self._recover(err)

    def finish(self, final: Phase) -> CheckpointReceipt:
        """Go on to the last step and return the checkpoint; `final` is the phase with all frames that were
        given.

        Raises Stopped, with the fit saved where it stands, when the run is asked to stop.
        """
        while True:
            try:
                if self.step >= self.phase.steps and self._open is None:
                    receipt = self._save(self.phase.id, final.inputs())
                    break
            except Exception as err:
                self._recover(err)
                continue
            if self._session.record.stop_requested() and self._open is None:
                self.park()
                raise Stopped
            if self._open is None:
                self.send(self.phase.steps)
            self.receive()
        if self._saved is not None and self._saved.digest not in (receipt.digest, self.phase.checkpoint):
            self._session.record.drop_checkpoint(self._saved.digest)
        self._session.holds = receipt.digest
        return receipt
