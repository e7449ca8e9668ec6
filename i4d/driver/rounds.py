"""The run: fit, then rounds of key frame, windows and refit, each committed as one manifest; then renders.

    run(plan, originals, record, executor, editors, trainer, sinks, ...) -> RunResult

Called again on the same record it continues: committed rounds are skipped, and within a round everything
whose inputs are unchanged and whose blocks are stored is taken over from the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from i4d.driver import events
from i4d.driver.ahead import look_ahead
from i4d.driver.convergence import Convergence, Judge
from i4d.driver.events import Emitter, Sink
from i4d.driver.jobs import Results
from i4d.driver.journal import Journal, receipt_from
from i4d.driver.key_stage import anchors, key_jobs, key_runs
from i4d.driver.looking import look_at, regions_of
from i4d.driver.pool import EditorPool, Limits
from i4d.driver.protocols import Executor, Handle, Record, Table
from i4d.driver.refits import fit_phase, refit_beside_windows, refit_phase, stored_runs
from i4d.driver.renders import RenderJob, render_all
from i4d.driver.retry import RetryPolicy, classify
from i4d.driver.stages import Look, window_jobs
from i4d.driver.state import RunState, edit_loop
from i4d.driver.training import Phase, TrainerSession
from i4d.driver.updates import edit_while_fitting
from i4d.driver.windows import Stopped
from i4d.errors import BlockError, ConfigError, StorageError
from i4d.plain import inputs_digest, plain
from i4d.schedules.cost import advice, predicted_forwards
from i4d.schedules.values import Plan, RoundPlan
from i4d.types import CheckpointReceipt, FrameAddress, LocalRender, TableRun


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run leaves. `checkpoints` by round (0: before any edit); `renders` as in renders.json."""

    table: Table
    checkpoints: dict[int, CheckpointReceipt]
    renders: dict[str, list[dict]] = field(default_factory=dict)
    stopped: bool = False

    @property
    def digest(self) -> str:
        """Digest of the frames and of the field: equal for equal runs in barrier mode."""
        return inputs_digest(self.table.digest(), [c.digest for _, c in sorted(self.checkpoints.items())])


def run(
    plan: Plan,
    originals: Table,
    record: Record,
    executor: Executor,
    editors: Sequence[Handle],
    trainer: Handle,
    sinks: Sequence[Sink] = (),
    policy: RetryPolicy | None = None,
    limits: Limits | None = None,
    turns: bool = False,
    overlap: bool = True,
    renders: Sequence[RenderJob] = (),
    checkpoint: CheckpointReceipt | None = None,
    joining: Sequence[Handle] = (),
    judge: Judge | None = None,
    watch: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> RunResult:
    """Carry out a plan, or what is left of it, and return what it made.

    `originals` is version 0 of the frames. `turns`: editors and trainer share a device that holds one of them
    at a time (overlap becomes barrier). `overlap` False: a plan that overlaps refit and windows falls back to
    barrier, as where they would only compete for the same cores. `checkpoint`: a trained field to start from
    in place of the first fit. `joining`: editors that come up when there is room for them; nobody waits for
    them. `judge` says when rounds end before the last one planned and which is kept; without one all are done
    and the last is kept. `watch`: look at the first fit while it runs (`i4d/driver/watching.py`).
    Raises ConfigError when the record belongs to another plan, and the I4DError that
    stopped the run otherwise.
    """
    policy, limits, emit = policy or RetryPolicy(), limits or Limits(), Emitter(sinks)
    with record.lock():
        began, journal = clock(), Journal(record)
        tables, checkpoints = _committed(plan, originals, record)
        pool = EditorPool(executor, editors, policy, limits, emit, clock) if plan.rounds else None
        session = TrainerSession(executor, trainer, policy, record, journal, limits, emit, clock)
        session.pool, session.identity = pool, plan.identity
        if pool is not None:
            pool.identity = plan.identity
        shared = journal, pool, session, policy, limits, emit, clock
        state = RunState(plan, originals, record, *shared, turns, overlap and not turns, watch)
        _announce(state, len(editors), bool(checkpoints), joining)
        try:
            result = _carry_out(state, tables, checkpoints, checkpoint, renders, judge)
        except Stopped:
            record.clear_stop()
            emit(events.RunStopped(max(checkpoints, default=0)))
            return RunResult(tables[max(tables)], checkpoints, stopped=True)
        except Exception as err:
            _tell_failure(emit, err)
            raise
        emit(events.RunFinished(result.digest, clock() - began))
        return result


def _carry_out(
    state: RunState,
    tables: dict[int, Table],
    checkpoints: dict[int, CheckpointReceipt],
    given: CheckpointReceipt | None,
    renders: Sequence[RenderJob],
    judge: Judge | None,
) -> RunResult:
    """Do what is left of fit, rounds and renders, adding to tables and checkpoints."""
    if 0 not in checkpoints:
        checkpoints[0] = _first_fit(state, given)
    if state.plan.region is not None:
        state.session.local = LocalRender(state.plan.region, checkpoints[0].digest)
    kept = _rounds(state, tables, checkpoints, judge)
    _prune(state, checkpoints, kept)
    made = _render(state, renders, {index: checkpoints[index] for index in (0, kept)})
    return RunResult(tables[kept], checkpoints, made)


def _rounds(
    state: RunState, tables: dict[int, Table], checkpoints: dict[int, CheckpointReceipt], judge: Judge | None
) -> int:
    """Carry out what is left of the rounds, adding to tables and checkpoints; return the round that is
    kept.
    """
    convergence = Convergence(state, judge)
    for part in state.plan.rounds:
        if part.index not in checkpoints:
            before = part.index - 1
            state.regions = state.regions or regions_of(state, checkpoints[0])
            tables[part.index], checkpoints[part.index] = _round(
                state, part, tables[before], checkpoints[before]
            )
        if convergence.settled(part, tables[part.index], checkpoints[part.index]):
            break
    return convergence.conclude(max(checkpoints))


def _tell_failure(emit: Emitter, err: Exception) -> None:
    """Emit what ended the run; where even that cannot be written, the error itself is what matters."""
    try:
        emit(events.RunFailed(classify(err), str(err)))
    except StorageError as full:
        err.add_note(f"and the event could not be written: {full}")


def _committed(
    plan: Plan, originals: Table, record: Record
) -> tuple[dict[int, Table], dict[int, CheckpointReceipt]]:
    """Return frame tables (0: the originals) and checkpoints by committed round; ConfigError if they are of
    another plan.
    """
    table, tables = originals, {0: originals}
    checkpoints: dict[int, CheckpointReceipt] = {}
    stored = record.read_json("plan.json")
    if stored is not None and stored["digest"] != plan.digest():
        raise ConfigError("this run was started with another plan", "scene or settings have changed since")
    if stored is None:
        tree = {"digest": plan.digest(), "unet_forwards": predicted_forwards(plan), **plain(plan)}
        record.write_json("plan.json", tree)
    for index, manifest in sorted(record.manifests().items()):
        table = table.override(TableRun(*run) for run in manifest["overrides"])
        if table.digest() != manifest["table"]:
            raise BlockError(
                f"manifest-{index}.json does not fit the original frames", "was the scene prepared anew?"
            )
        tables[index], checkpoints[index] = table, receipt_from("fit", manifest["checkpoint"])
    return tables, checkpoints


def _announce(state: RunState, editors: int, resumed: bool, joining: Sequence[Handle]) -> None:
    plan, emit = state.plan, state.emit
    windows = sum(part.num_windows for part in plan.rounds)
    emit(events.RunStarted(len(plan.rounds), plan.views, windows, predicted_forwards(plan), editors, resumed))
    if plan.rounds and (text := advice(plan, editors)):
        emit(events.Warned(text))
    if not state.overlap and plan.refit == "overlap" and plan.rounds:
        emit(events.Warned("editors and trainer share a device: the refit waits for all windows (barrier)"))
    state.session.persist(state.session.warm_up)
    if state.pool:
        if state.turns:
            state.session.call("set_active", False)
        state.pool.warm_up()
        look_ahead(state)
        for handle in joining:
            state.pool.join(handle)
        if state.turns:
            state.turn_to("trainer")


def _first_fit(state: RunState, given: CheckpointReceipt | None) -> CheckpointReceipt:
    plan = state.plan
    receipt = given
    if receipt is None:
        with state.stage(0, "fit", plan.fit_steps):
            frames = state.originals.of_views(plan.views)
            receipt = fit_phase(state, Phase(0, "fit", frames, None, plan.fit_steps, plan.fitted_by))
    _commit(state, 0, state.originals, [], receipt)
    return receipt


def _round(
    state: RunState, part: RoundPlan, table: Table, start: CheckpointReceipt
) -> tuple[Table, CheckpointReceipt]:
    plan = state.plan
    state.emit(events.RoundStarted(part.index, len(plan.rounds)))
    if part.updates:
        table, overrides, receipt = edit_while_fitting(state, part, table, start)
        _commit(state, part.index, table, overrides, receipt)
        return table, receipt
    before = table if plan.accumulate and part.index > 1 else None
    look, keys, results = _key_stage(state, part, start, before)
    key_frames = []
    if part.key_steps:
        at_rest = state.record.gather([keys[view] for view in plan.views], as_frames=True)
        key_frames = key_runs(plan, at_rest.digest)
    jobs = window_jobs(plan, part, state.originals, look, keys, before)
    loop = edit_loop(state, part, jobs)
    if plan.refit == "overlap" and state.overlap:
        table, receipt = refit_beside_windows(state, part, loop, table, key_frames, start)
    else:
        with state.stage(part.index, "windows", len(jobs)):
            loop.run()
        state.turn_to("trainer")
        table = table.override(key_frames + stored_runs(part, loop))
        with state.stage(part.index, "refit", plan.refit_steps):
            receipt = fit_phase(state, refit_phase(plan, part, table, start))
    state.receipts = {**results, **loop.stored}
    _commit(state, part.index, table, key_frames + stored_runs(part, loop), receipt)
    return table, receipt


def _key_stage(
    state: RunState, part: RoundPlan, start: CheckpointReceipt, before: Table | None
) -> tuple[Look, dict[int, FrameAddress], Results]:
    """Return what the field shows, the edited key frame of every view and the receipts; without key steps,
    the originals.
    """
    plan = state.plan
    if not part.key_steps:
        state.turn_to("editors")
        key = {view: state.originals.lookup(view, plan.key_frame) for view in plan.views}
        return Look("", {}, tuple(key.values()), state.regions), key, {}
    look = look_at(state, part, start)
    state.turn_to("editors")
    jobs = key_jobs(plan, part, state.originals, look, before)
    with state.stage(part.index, "key frame", len(jobs)):
        results = edit_loop(state, part, jobs).run()
    return look, anchors(plan, part, results), results


def _commit(
    state: RunState, index: int, table: Table, overrides: list[TableRun], receipt: CheckpointReceipt
) -> None:
    """Write the manifest: the round exists from here on."""
    manifest = {
        "round": index,
        "plan": state.plan.digest(),
        "table": table.digest(),
        "overrides": [[r.view, r.start, r.stop, r.digest, r.row] for r in overrides],
        "checkpoint": plain(receipt),
        "receipts": {id: plain(r) for id, r in sorted(state.receipts.items())},
        "timings_s": dict(state.timings),
    }
    state.record.write_manifest(index, manifest)
    seconds = sum(state.timings.values())
    state.receipts, state.timings = {}, {}
    state.emit(events.RoundCommitted(index, table.digest(), receipt.digest, seconds))


def _prune(state: RunState, checkpoints: dict[int, CheckpointReceipt], kept: int) -> None:
    """Remove all checkpoints but the first and that of the kept round: all rounds are committed now."""
    keep = {checkpoints[0].digest, checkpoints[kept].digest}
    for receipt in checkpoints.values():
        if receipt.digest not in keep:
            state.record.drop_checkpoint(receipt.digest)


def _render(
    state: RunState, jobs: Sequence[RenderJob], checkpoints: dict[int, CheckpointReceipt]
) -> dict[str, list[dict]]:
    if not jobs:
        return state.record.read_json("renders.json") or {}
    digests = {index: receipt.digest for index, receipt in checkpoints.items()}
    last = max(digests)
    with state.stage(last, "renders", len(jobs)):
        made = render_all(state.session, jobs, digests, state.plan.num_frames, state.emit)
        state.record.write_json("renders.json", made)
    return made
