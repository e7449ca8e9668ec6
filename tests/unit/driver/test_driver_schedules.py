"""Schedules that the method is compared with: what they spend, what they edit, and that they survive like any
run.
"""

import itertools

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.errors import ConfigError
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.key_frame import make_plan
from i4d.schedules.registry import scheduled_plan

METHODS = ("each_frame", "in2n")


def plan_of(method, **keys):
    return scheduled_plan(scene(), config(method=method, diffusion_steps=3, **keys), SETTINGS)


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module", params=METHODS)
def case(request, tmp_path_factory):
    """A schedule and what an undisturbed run with one editor leaves."""
    executor = LocalExecutor()
    plan = plan_of(request.param)
    result = NullRig(tmp_path_factory.mktemp("one") / "run", plan).go(executor, 1)
    executor.shutdown()
    return plan, result


@pytest.mark.parametrize("method, forwards", [(m, f) for m in METHODS for f in (300, 1000, 0)])
def test_no_more_forwards_are_spent_than_allowed(method, forwards):
    allowed = forwards or predicted_forwards(make_plan(scene(), config(diffusion_steps=3), SETTINGS))
    plan = plan_of(method, forwards=forwards)
    one_step = 3 * len(plan.views) * plan.num_frames
    spent, (part,) = predicted_forwards(plan), plan.rounds
    steps = part.updates[0].strength.n if part.updates else plan.window_strength.n
    assert spent <= allowed and steps <= 3
    assert allowed - spent < one_step or (method == "each_frame" and steps == 3), (
        "as many steps as fit, at most those of a full edit"
    )


@pytest.mark.parametrize("method", METHODS)
def test_too_few_forwards_are_refused(method):
    with pytest.raises(ConfigError, match=f"too little for schedule.method {method}"):
        plan_of(method, forwards=30)


def test_every_frame_is_edited_by_itself_from_its_original(case, tmp_path, executor):
    plan, _ = case
    places = [(u.view, f) for part in plan.rounds for u in part.updates for f in u.frames]
    places += [(c.view, f) for part in plan.rounds for c in part.chains for w in c.windows for f in w.frames]
    every = set(itertools.product(plan.views, range(plan.num_frames)))
    assert set(places) == every
    counts = [places.count(place) for place in every]
    assert max(counts) - min(counts) <= 1, "no frame comes again before all have come"
    settings = plan.settings
    assert (settings.attention, settings.noise, settings.flow, settings.norm) == (
        "own",
        "frame",
        "none",
        "frame",
    )


def test_updates_are_spread_over_the_refit_and_weaken():
    plan = plan_of("in2n", forwards=3 * 3 * 24 * 8, sequence_length=1)
    updates = plan.rounds[0].updates
    steps = [u.at_step for u in updates]
    assert steps == sorted(steps) and steps[0] == 0 and plan.refit_steps * 0.9 < steps[-1] < plan.refit_steps
    assert all(20 <= u.strength.T <= 980 and u.strength.n <= u.strength.T for u in updates)
    half = len(updates) // 2
    assert max(u.strength.T for u in updates[-half // 4 :]) < 620 < max(u.strength.T for u in updates[:half])


def test_the_result_does_not_depend_on_the_number_of_editors(case, tmp_path, executor):
    plan, expected = case
    rig = NullRig(tmp_path / "run", plan)
    result = rig.go(executor, 3)
    assert result.digest == expected.digest and result.renders == expected.renders
    for view, frame in itertools.product(plan.views, range(plan.num_frames)):
        assert result.table.lookup(view, frame) != rig.originals.lookup(view, frame)
    assert result.checkpoints[1].step == plan.refit_steps
    spent = sum(e.unet_forwards for e in rig.events if isinstance(e, events.WindowStored))
    images = sum(len(u.frames) for u in plan.rounds[0].updates) + plan.rounds[0].num_windows * plan.batch
    assert spent == 3 * images, (
        "what the plan says, whatever the number of editors (the null editor counts three per image)"
    )


@pytest.mark.parametrize(
    "victims, nth", [(("editor-0", "editor-1"), 3), (("trainer",), 2), (("trainer",), 9)]
)
def test_a_lost_service_changes_nothing(case, tmp_path, executor, victims, nth):
    plan, expected = case
    seen = []

    def kill(event):
        if isinstance(event, events.WindowStored):
            seen.append(event)
            if len(seen) == nth:
                for victim in victims:
                    executor.kill(Handle(victim))

    rig = NullRig(tmp_path / "run", plan)
    result = rig.go(executor, 2, [kill], limits=Limits(20, 60, poll_s=0.05, save_every_s=0.0))
    assert "WorkerRestarted" in rig.kinds()
    assert result.digest == expected.digest and result.renders == expected.renders


class Killed(BaseException):
    """Stands for a driver that dies: nothing catches it."""


@pytest.mark.parametrize(
    "kind, nth",
    [
        ("WindowStored", 1),
        ("WindowStored", 7),
        ("CheckpointSaved", 3),
        ("FitProgress", 18),
        ("RoundCommitted", 2),
    ],
)
@pytest.mark.parametrize("save_every_s", [0.0, 600.0])
def test_a_killed_driver_resumes_to_the_same_result(case, tmp_path, kind, nth, save_every_s):
    plan, expected = case

    def die(event, seen=[]):
        seen.append(type(event).__name__)
        if seen.count(kind) == nth and seen[-1] == kind:
            raise Killed

    limits = Limits(20, 60, poll_s=0.05, save_every_s=save_every_s)
    first, second = LocalExecutor(), LocalExecutor()
    rig, died = NullRig(tmp_path / "run", plan), True
    try:
        rig.go(first, 2, [die], limits=limits)
        died = False
    except Killed:
        pass
    first.shutdown()
    again = NullRig(tmp_path / "run", plan, fresh=False)
    result = again.go(second, 3, limits=limits)
    second.shutdown()
    assert died or rig.kinds().count(kind) < nth
    assert result.digest == expected.digest and result.renders == expected.renders
    stored = {e.task for e in rig.events if isinstance(e, events.WindowStored) and not e.reused}
    redone = {e.task for e in again.events if isinstance(e, events.WindowStored) and not e.reused}
    assert not stored & redone, "what was stored is not done again"


def test_stop_and_taking_turns(case, tmp_path, executor):
    plan, expected = case
    rig = NullRig(tmp_path / "run", plan)

    def stop(event):
        if isinstance(event, events.WindowStored) and event.done == 4:
            rig.folder.request_stop()

    assert rig.go(executor, 2, [stop], turns=True).stopped
    result = NullRig(tmp_path / "run", plan, fresh=False).go(executor, 2, turns=True)
    assert result.digest == expected.digest
