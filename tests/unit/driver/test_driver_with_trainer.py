"""The real trainer under the driver: cutting the fit, killing it and coming back changes neither frames nor
field.
"""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.schedules.key_frame import make_plan
from i4d.services.trainer import TrainerScene


def fitted(path, executor, limits, kill_at=0, watch=False):
    plan = make_plan(scene(), config(rounds=1, fit_steps=24, refit_steps=12), SETTINGS)
    rig = NullRig(path, plan)
    parts = rig.scene
    known = TrainerScene(parts.cameras, parts.bounds, parts.num_frames, parts.train_views)
    field = VectorMatrixConfig(grid_start=4096, grid_end=4096, growth_at=[], rays=64)
    plain = rig.specs

    def specs(editors, delay_s=0.0):
        trainer, *rest = plain(editors, delay_s)
        kwargs = {"store": rig.folder.store.uri, "scene": known, "field": field, "num_threads": 1}
        return [
            dataclasses.replace(trainer, import_path="i4d.services.trainer:TrainerService", kwargs=kwargs),
            *rest,
        ]

    def kill(event, seen=[]):
        if isinstance(event, events.FitProgress) and event.round == 1:
            seen.append(event)
            if len(seen) == kill_at:
                executor.kill(Handle("trainer"))

    rig.specs = specs
    return rig.go(executor, 2, [kill], limits=limits, watch=watch), rig


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


def test_a_killed_trainer_comes_back_to_the_same_field(tmp_path, executor):
    undisturbed, _ = fitted(tmp_path / "one", executor, Limits(60, 60, poll_s=0.05))
    short = Limits(60, 60, poll_s=0.05, call_goal_s=0.02, save_every_s=0.0)
    killed, rig = fitted(tmp_path / "two", executor, short, kill_at=3)
    assert "TrainerReloaded" in rig.kinds()
    assert killed.table.digest() == undisturbed.table.digest()
    assert killed.digest == undisturbed.digest and killed.renders == undisturbed.renders


def test_a_fit_that_is_looked_at_is_the_same_fit(tmp_path, executor):
    limits = Limits(60, 60, poll_s=0.05)
    plain, _ = fitted(tmp_path / "one", executor, limits)
    watched, rig = fitted(tmp_path / "two", executor, limits, watch=True)
    looks = [e for e in rig.events if isinstance(e, events.FitWatched)]
    assert [e.step for e in looks] == list(range(3, 25, 3))
    assert all(e.held_out == "cam00" and e.held_out_psnr_db > 5 for e in looks)
    assert watched.digest == plain.digest and watched.renders == plain.renders
