"""A fit is looked at while it runs: the same result, each look once, and one line where it goes wrong."""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.events import FitWatched, Warned
from i4d.driver.pool import Limits
from i4d.driver.watching import POINTS, verdicts
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.schedules.key_frame import make_plan
from i4d.services.null import NullTrainer
from i4d.types import FitFigures


def seen(*rows):
    return [(10 * i, FitFigures("cam00", *row)) for i, row in enumerate(rows, 1)]


def test_a_held_out_camera_that_falls_while_the_trained_ones_rise_is_told():
    bad = seen((24, 25, 0.8), (27.3, 28, 0.8), (26.0, 29, 0.8), (25.1, 30.2, 0.8))
    told = verdicts(bad, 80)["memorised"]
    assert "cam00 fell from 27.3 to 25.1 dB while trained cameras rose from 28.0 to 30.2" in told
    assert verdicts(bad[:3], 80) == {}, "one look may be a moment's trouble"
    assert "memorised" in verdicts(bad[:3], 30), "at the end one is enough"
    both = seen((24, 25, 0.8), (27.3, 28, 0.8), (26.0, 26.5, 0.8), (25.1, 26, 0.8))
    assert verdicts(both, 40) == {}, "both falling is no memorising"
    assert verdicts(seen((24, 25, 0.8), (25, 28, 0.8), (25.5, 31, 0.9)), 30) == {}


def test_depth_that_no_neighbour_confirms_is_told_in_the_second_half():
    bad = seen((float("nan"), 25, 0.2), (float("nan"), 27, 0.1), (float("nan"), 28, 0.12))
    assert verdicts(bad[:2], 60) == {} and verdicts(bad, 60) == {}, "a young field agrees about nothing"
    assert "agrees between neighbouring cameras for 12 %" in verdicts(bad, 30)["depth"]
    assert verdicts(seen((20, 20, float("nan"))), 10) == {}


def test_a_scene_outside_the_bounds_is_told():
    bad = seen((9.5, 8, 0.9), (9.5, 8, 0.9), (9.5, 8.1, 0.9))
    assert verdicts(bad[:2], 60) == {}
    assert "shown with 8.1 dB only" in verdicts(bad, 30)["outside"]


class Failing(NullTrainer):
    """Its figures are those of a fit that goes wrong in both ways."""

    def watch(self, held_out, frame):
        assert len(held_out) == 1 and held_out[0].view == 0 and frame == 4
        step = self._state["step"]
        return FitFigures("cam00", 30 - step / 10, 20 + step / 10, 0.1)


def fitted(path, executor, failing, watch=True, limits=None, stop_at=0, fresh=True):
    plan = make_plan(scene(), config(rounds=1, fit_steps=80), SETTINGS)
    rig = NullRig(path, plan, fresh=fresh)
    plain = rig.specs

    def specs(editors, delay_s=0.0):
        trainer, *rest = plain(editors, delay_s)
        if failing:
            trainer = dataclasses.replace(trainer, import_path=f"{__name__}:Failing")
        return [trainer, *rest]

    def stop(event):
        if isinstance(event, FitWatched) and event.step == stop_at:
            rig.folder.request_stop()

    rig.specs = specs
    result = rig.go(executor, 1, [stop], watch=watch, limits=limits or Limits(20, 60, poll_s=0.05))
    return result, rig


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


def looked(rig):
    return [e.step for e in rig.events if isinstance(e, FitWatched)]


def told(rig):
    texts = [e.text for e in rig.events if isinstance(e, Warned)]
    return [sum(word in text for text in texts) for word in ("by heart", "depth agrees")]


def test_looking_changes_nothing_and_a_good_fit_is_silent(tmp_path, executor):
    unwatched, _ = fitted(tmp_path / "one", executor, False, watch=False)
    watched, rig = fitted(tmp_path / "two", executor, False)
    assert looked(rig) == [10 * i for i in range(1, POINTS + 1)]
    assert watched.digest == unwatched.digest and watched.renders == unwatched.renders
    assert told(rig) == [0, 0]


def test_a_bad_fit_is_told_once_also_across_a_stop(tmp_path, executor):
    _, whole = fitted(tmp_path / "whole", executor, True)
    assert told(whole) == [1, 1]
    stopped, first = fitted(tmp_path / "run", executor, True, stop_at=60)
    assert stopped.stopped and looked(first)[-1] == 60 and told(first) == [1, 1]
    result, second = fitted(tmp_path / "run", executor, True, fresh=False)
    assert not result.stopped and looked(second) == [70, 80] and told(second) == [0, 0]


def test_a_trainer_that_comes_back_is_not_asked_again(tmp_path, executor):
    plan = make_plan(scene(), config(rounds=1, fit_steps=80), SETTINGS)
    rig, seen = NullRig(tmp_path / "run", plan), []

    def kill(event):
        if isinstance(event, events.FitWatched):
            seen.append(event.step)
            if len(seen) == 3:
                executor.kill(Handle("trainer"))

    result = rig.go(executor, 1, [kill], watch=True)
    assert "TrainerReloaded" in rig.kinds() and sorted(seen) == looked(rig) == sorted(set(seen))
    assert result.digest == fitted(tmp_path / "other", executor, False)[0].digest
