"""Joint edits in shares, chains both ways, and the planner under load."""

import sys
from pathlib import Path

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver.backlog import Backlog
from i4d.driver.jobs import Job
from i4d.exec.local import LocalExecutor
from i4d.schedules.cost import predicted_forwards, useful_editors
from i4d.schedules.key_frame import make_plan

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import simulate_pool  # noqa: E402


@pytest.fixture
def executor():
    made = LocalExecutor()
    yield made
    made.shutdown()


def shared_plan(**keys):
    return make_plan(scene(num_views=6), config(rounds=1, key_views=4, key_shares=2, **keys), SETTINGS)


def test_a_joint_edit_in_shares_gives_the_same_frames_on_any_number_of_editors(tmp_path, executor):
    results = [
        NullRig(tmp_path / f"{n}", shared_plan(), scene=scene(num_views=6)).go(executor, n) for n in (1, 3)
    ]
    assert results[0].digest == results[1].digest
    assert results[0].table.digest() == results[1].table.digest()


def test_shares_split_the_sample_and_repeat_the_anchor():
    plan = shared_plan()
    for step in plan.rounds[0].key_steps:
        shares = step.shares(plan.key_shares)
        assert sum(shares, ()) == step.sample[1:] and [len(s) for s in shares] == [2, 1]
        assert step.shares(1) == (step.sample[1:],) and len(step.shares(99)) == 3
    whole = make_plan(scene(num_views=6), config(rounds=1, key_views=4), SETTINGS)
    more = (
        sum((3 + 3 - 4) * step.strength.n for step in plan.rounds[0].key_steps) * 3
    )  # padded shares of three images, three branches
    assert predicted_forwards(plan) - predicted_forwards(whole) == more


def test_joint_normalisation_is_never_split():
    from dataclasses import replace

    settings = replace(SETTINGS, norm="joint", mode="authors")
    assert make_plan(scene(num_views=6), config(key_views=4, key_shares=2), settings).key_shares == 1


def test_bidirectional_propagation_doubles_the_chains_and_halves_them():
    plans = {
        kind: make_plan(scene(num_frames=21), config(key_frame=0, propagation=kind), SETTINGS)
        for kind in ("outwards", "bidirectional")
    }
    longest = {
        kind: max(len(chain.windows) for chain in plan.rounds[0].chains) for kind, plan in plans.items()
    }
    assert plans["bidirectional"].key_frame == 10
    assert useful_editors(plans["bidirectional"]) == 2 * useful_editors(plans["outwards"])
    assert longest == {"outwards": 10, "bidirectional": 5}


def test_a_backlog_follows_what_is_stored_and_what_is_lost():
    jobs = [Job(f"a{i}", "edit", None, 1, (f"a{i - 1}",) if i else (), 3 - i) for i in range(3)] + [
        Job("b0", "edit", None, 1)
    ]
    backlog = Backlog(jobs)
    assert {job.id for job in backlog.fresh()} == {"a0", "b0"} and backlog.longest() == 3
    backlog.take("a0")
    backlog.stored("a0")
    assert [job.id for job in backlog.fresh()] == ["a1"]
    assert [job.id for job in backlog.begun_first()] == ["a1", "b0"]
    assert [job.id for job in backlog.longest_first(5)] == ["a1", "b0"] and backlog.longest() == 2
    backlog.lost("a0")
    backlog.put_back("a0")
    assert [job.id for job in backlog.longest_first(1)] == ["a0"] and {
        job.id for job in backlog.begun_first()
    } == {"a0", "b0"}


def test_the_real_planner_over_a_hundred_editors_costs_under_a_millisecond_a_window():
    figures = simulate_pool.main(["--views", "300", "--editors", "100"])
    assert figures["windows"] == 3000 and figures["overhead_ms_per_window"] < 1.0
    bound = max(figures["bound_of_chains_s"], figures["bound_of_work_s"])
    assert figures["simulated_s"] < 1.1 * bound + 2


def test_shares_and_both_directions_shorten_a_whole_edit():
    common = ["--views", "17", "--frames", "50", "--key-s", "6.4", "--jitter", "0"]
    one = simulate_pool.main([*common, "--editors", "1"])
    two = simulate_pool.main([*common, "--editors", "2", "--key-shares", "2"])
    assert one["simulated_s"] / two["simulated_s"] > 1.8
