"""Failures that lie behind do not count against what gets on."""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.pool import FORGIVEN_AFTER, EditorPool, Limits
from i4d.driver.retry import RetryPolicy
from i4d.errors import FitError
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.schedules.key_frame import make_plan


@pytest.fixture
def executor():
    executor = LocalExecutor(grace_s=30)
    yield executor
    executor.shutdown()


def long_fit(path, executor, kill_every, times):
    """A fit of many short calls whose trainer is killed again and again as it gets on."""
    rig = NullRig(path, make_plan(scene(), config(rounds=1, fit_steps=400, refit_steps=8), SETTINGS))
    killed = []

    def kill(event):
        due = kill_every * (len(killed) + 1)
        if (
            isinstance(event, events.FitProgress)
            and event.round == 0
            and event.step >= due
            and len(killed) < times
        ):
            killed.append(event.step)
            executor.kill(Handle("trainer"))

    limits = Limits(20, 60, poll_s=0.02, call_goal_s=0.0, save_every_s=0.0)
    return rig.go(executor, 1, [kill], limits=limits, policy=RetryPolicy(max_retries=1)), killed


def test_a_trainer_that_gets_on_survives_more_losses_than_are_forgiven_at_one_place(tmp_path, executor):
    undisturbed, _ = long_fit(tmp_path / "one", executor, 50, 0)
    result, killed = long_fit(tmp_path / "two", executor, 50, 6)
    assert len(killed) == 6 and result.digest == undisturbed.digest


def test_the_same_failure_at_the_same_step_still_ends_the_run(tmp_path, executor):
    rig = NullRig(tmp_path / "run", make_plan(scene(), config(rounds=1, fit_steps=60), SETTINGS))
    plain = rig.specs

    def specs(editors, delay_s=0.0):
        trainer, *rest = plain(editors, delay_s)
        kwargs = {**trainer.kwargs, "marks": str(tmp_path), "nan_at": 30, "times": 100}
        return [
            dataclasses.replace(trainer, import_path="faulty_services:FaultyTrainer", kwargs=kwargs),
            *rest,
        ]

    rig.specs = specs
    with pytest.raises(FitError, match="not finite"):
        rig.go(executor, 1)
    assert len(list((tmp_path / "strikes").iterdir())) == 2, "once, and once again"


class Named:
    name = "editor-0"


def test_an_editors_restarts_are_forgiven_one_by_one_as_it_stores_work():
    pool = EditorPool(None, [Named()], RetryPolicy(), Limits(), None, lambda: 0.0)
    (member,) = pool.members
    member.restarts = 2
    for _ in range(FORGIVEN_AFTER - 1):
        pool.got_on(member)
    assert member.restarts == 2
    pool.got_on(member)
    assert member.restarts == 1
    for _ in range(5 * FORGIVEN_AFTER):
        pool.got_on(member)
    assert member.restarts == 0
