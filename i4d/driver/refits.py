"""Fits as stages of a run: alone, or beside the windows whose frames they take as they land."""

from __future__ import annotations

from i4d.driver.protocols import Table
from i4d.driver.stages import runs_of, window_runs
from i4d.driver.state import RunState
from i4d.driver.training import Fit, Phase
from i4d.driver.watching import Watch
from i4d.driver.windows import EditLoop, Stopped
from i4d.schedules.values import Plan, RoundPlan
from i4d.types import CheckpointReceipt, TableRun


def refit_phase(plan: Plan, part: RoundPlan, table: Table, start: CheckpointReceipt) -> Phase:
    """Return the refit of a round on the frames of a table, from a checkpoint on."""
    frames = table.of_views(plan.views)
    return Phase(part.index, "refit", frames, start.digest, plan.refit_steps, plan.fitted_by)


def fit_phase(state: RunState, phase: Phase) -> CheckpointReceipt:
    """Carry out a fit or refit whose frames are all there, or take it over from an earlier attempt."""
    watched = state.watch and phase.kind == "fit"
    held_out = [run for run in state.originals.runs if run.view not in state.plan.views]
    watch = Watch(state.session, phase, held_out, state.plan.num_frames // 2) if watched else None
    fit = Fit(state.session, phase, exact=True, watch=watch)
    before = fit.finished_before()
    if before is not None:
        return before
    fit.begin()
    return fit.finish(phase)


def stored_runs(part: RoundPlan, loop: EditLoop) -> list[TableRun]:
    """Return where the frames of a round's windows lie once they are stored."""
    return [run for id, place in window_runs(part).items() for run in runs_of(*place, loop.stored[id])]


def refit_beside_windows(
    state: RunState,
    part: RoundPlan,
    loop: EditLoop,
    table: Table,
    keys: list[TableRun],
    start: CheckpointReceipt,
) -> tuple[Table, CheckpointReceipt]:
    """Refit while windows land; return the new table and the refitted field."""
    plan = state.plan
    places = window_runs(part)

    def phase(known: Table) -> Phase:
        return refit_phase(plan, part, known, start)

    with state.stage(part.index, "windows and refit", len(places) + plan.refit_steps):
        fit = None
        loop.dispatch()
        if not loop.done:
            fit = Fit(state.session, phase(table.override(keys)), exact=False)
            fit.begin()
            try:
                _fit_while_windows_land(state, part, loop, fit)
            except Stopped:
                fit.park()
                raise
        table = table.override(keys + stored_runs(part, loop))
        final = phase(table)
        return table, fit.finish(final) if fit is not None else fit_phase(state, final)


def _fit_while_windows_land(state: RunState, part: RoundPlan, loop: EditLoop, fit: Fit) -> None:
    """Turn until all windows are stored and handed over; the trainer takes at most half of its steps, in
    their pace.
    """
    places = window_runs(part)
    executor, poll_s = state.editors.executor, state.limits.poll_s
    given: set[str] = set()

    def hand_over() -> None:
        landed = [id for id in loop.stored if id not in given]
        given.update(landed)
        fit.hand_over([run for id in landed for run in runs_of(*places[id], loop.stored[id])])

    while not loop.done:
        hand_over()
        if fit.ticket is None:
            fit.send(int(0.5 * fit.phase.steps * loop.progress))
        open_fit = [fit.ticket] if fit.ticket is not None else []
        done = executor.wait([*loop.tickets(), *open_fit], poll_s)
        if open_fit and (fit.ticket in done or fit.overdue()):
            done = [ticket for ticket in done if ticket != fit.ticket]
            fit.receive()
        loop.collect(done)
        if not loop.done:
            loop.dispatch()
    hand_over()
