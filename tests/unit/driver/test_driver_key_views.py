"""Cameras that follow others: who leads, what it saves, and that such a run is as repeatable as any."""

import dataclasses
import itertools

import numpy as np
import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.config import Config
from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.key_frame import make_plan
from i4d.schedules.leaders import leaders_of, view_distance
from i4d.schedules.registry import scheduled_plan


def plan_of(method="key_views", the_scene=None, **keys):
    return scheduled_plan(the_scene or scene(), config(method=method, diffusion_steps=3, **keys), SETTINGS)


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A plan of two rounds and what an undisturbed run with one editor leaves."""
    executor = LocalExecutor()
    plan = plan_of()
    result = NullRig(tmp_path_factory.mktemp("one") / "run", plan).go(executor, 1)
    executor.shutdown()
    return plan, result


def test_leaders_of_a_row_of_cameras_stand_amid_their_thirds():
    row = scene(num_views=9, held_out=0).cameras
    assert leaders_of(range(9), row, 3) == (1, 4, 7)
    assert leaders_of(range(9), row, 1) == (4,)
    assert leaders_of(range(9), row, 12) == tuple(range(9))


def test_leaders_do_not_depend_on_units_and_directions_count():
    row = scene(num_views=5, held_out=0).cameras
    far = [
        dataclasses.replace(c, world_from_camera=c.world_from_camera * np.array([1, 1, 1, 100.0]))
        for c in row
    ]
    np.testing.assert_allclose(view_distance(row), view_distance(far))
    turned = row[0].world_from_camera.copy()
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # looks along x
    other = dataclasses.replace(row[0], world_from_camera=turned)
    assert view_distance([row[0], other, row[1]])[0, 1] == pytest.approx(np.pi / 2)


def test_the_plan_of_17_cameras_and_50_frames_takes_three_quarters_of_the_forwards():
    full = Config()
    big = scene(num_views=18, num_frames=50)
    settings = dataclasses.replace(SETTINGS, text_guidance=9.5)
    spent = {}
    for method in ("key_frame", "key_views"):
        full.schedule.method = method
        spent[method] = predicted_forwards(scheduled_plan(big, full, settings))
    assert spent["key_views"] <= 0.75 * spent["key_frame"]


def test_adaptive_windows_are_led_too_and_all_start_from_the_same_strength():
    followers, adaptive, whole = (plan_of(method) for method in ("key_views", "adaptive", "key_frame"))
    assert adaptive.leaders == followers.leaders and adaptive.method == "adaptive"
    assert {adaptive.strength_of(view) for view in adaptive.views} == {whole.window_strength}
    assert predicted_forwards(adaptive) == predicted_forwards(whole), "the most they may take"
    alone = plan_of("adaptive", scene(num_views=2, held_out=1))
    assert not alone.leaders and alone.method == "adaptive"


def test_followers_wait_for_leaders_and_see_them(tmp_path, executor, case):
    plan, _ = case
    assert len(plan.leaders) == 1 and plan.method == "key_views"
    rig, seen = NullRig(tmp_path / "run", plan), []
    rig.go(executor, 3, [lambda e: seen.append(e.task) if isinstance(e, events.WindowStored) else None])
    (leader,) = plan.leaders
    for part, view in itertools.product(plan.rounds, set(plan.views) - {leader}):
        for window in (w.index for chain in part.chains if chain.view == view for w in chain.windows):
            assert seen.index(f"r{part.index}/v{leader:02d}/w{window:02d}") < seen.index(
                f"r{part.index}/v{view:02d}/w{window:02d}"
            )


def test_what_a_leader_shows_reaches_its_followers(tmp_path, executor, case):
    plan, expected = case
    alone = dataclasses.replace(plan, rounds=make_plan(scene(), config(diffusion_steps=3), SETTINGS).rounds)
    result = NullRig(tmp_path / "run", alone).go(executor, 1)
    (leader,) = plan.leaders
    follower = next(view for view in plan.views if view != leader)
    at = [(t.table.lookup(leader, 5), t.table.lookup(follower, 5)) for t in (expected, result)]
    assert at[0][1] != at[1][1]


@pytest.mark.parametrize("editors", [2, 4])
def test_the_result_does_not_depend_on_the_number_of_editors(tmp_path, executor, case, editors):
    plan, expected = case
    result = NullRig(tmp_path / "run", plan).go(executor, editors)
    assert result.digest == expected.digest and result.renders == expected.renders


@pytest.mark.parametrize("nth", [4, 9, 20])
def test_lost_editors_change_nothing(tmp_path, executor, case, nth):
    plan, expected = case
    stored = itertools.count(1)

    def kill(event):
        if isinstance(event, events.WindowStored) and next(stored) == nth:
            executor.kill(Handle("editor-0"))

    rig = NullRig(tmp_path / "run", plan)
    result = rig.go(executor, 2, [kill], limits=Limits(20, 60, poll_s=0.05, save_every_s=0.0))
    assert "WorkerRestarted" in rig.kinds()
    assert result.digest == expected.digest


class Killed(BaseException):
    """Stands for a driver that dies: nothing catches it."""


@pytest.mark.parametrize(
    "kind, nth", [("RenderStored", 5), ("WindowStored", 6), ("WindowStored", 15), ("RoundCommitted", 2)]
)
def test_a_killed_driver_resumes_to_the_same_result(tmp_path, executor, case, kind, nth):
    plan, expected = case
    count = itertools.count(1)

    def die(event):
        if type(event).__name__ == kind and next(count) == nth:
            raise Killed

    with pytest.raises(Killed):
        NullRig(tmp_path / "run", plan).go(executor, 2, [die])
    rig = NullRig(tmp_path / "run", plan, fresh=False)
    result = rig.go(executor, 3)
    assert result.digest == expected.digest and result.renders == expected.renders
