"""A trainer on two ranks, on CPUs by gloo: a rank that is killed changes nothing, and two prompts go one
after the other.
"""

import dataclasses
import os
import signal
from contextlib import contextmanager

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d import cli, compose
from i4d.commands import prompts
from i4d.commands.workplace import Workplace
from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.exec.on_ray.executor import RayExecutor
from i4d.exec.on_ray.session import connect
from i4d.exec.placement import Placement, Share
from i4d.exec.protocol import Handle
from i4d.exec.together import Together
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.schedules.key_frame import make_plan
from i4d.services.trainer import ONLY_FIRST, TrainerScene
from i4d.store.run_folder import RunFolder

LIMITS = Limits(60, 60, poll_s=0.05, call_goal_s=0.02, save_every_s=0.0)


@pytest.fixture(scope="module")
def session(ray_token):
    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(ray_token)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [os.path.dirname(os.path.dirname(__file__)), before.get("PYTHONPATH", "")]
    )
    session = connect(dashboard=False, num_cpus=4)
    yield session
    session.close()
    os.environ.clear()
    os.environ.update(before)


def fitted(path, kill_at=0):
    """Run a small plan with a trainer of two ranks; kill rank 1 at the `kill_at`-th progress of the refit."""
    inner = RayExecutor()
    plan = make_plan(scene(), config(rounds=1, fit_steps=24, refit_steps=12), SETTINGS)
    rig = NullRig(path, plan)
    parts = rig.scene
    known = TrainerScene(parts.cameras, parts.bounds, parts.num_frames, parts.train_views)
    field = VectorMatrixConfig(grid_start=4096, grid_end=4096, growth_at=[], rays=64)
    kwargs = {"store": rig.folder.store.uri, "scene": known, "field": field, "num_threads": 1}
    trainer, editor = rig.specs(1)
    real = dataclasses.replace(trainer, import_path="i4d.services.trainer:TrainerService", kwargs=kwargs)
    ranks = inner.start_group(real, 2, 60)
    group = Together(inner, Handle("trainer"), ranks, ONLY_FIRST)

    def kill(event, seen=[]):
        if isinstance(event, events.FitProgress) and event.round == 1:
            seen.append(event)
            if len(seen) == kill_at:
                os.kill(inner.pid(ranks[1]), signal.SIGKILL)

    class AsGroup(NullRig):
        def go(self, executor, sinks):
            handle = executor.start(editor, 60)
            return compose.run(
                self.plan,
                self.originals,
                self.folder,
                executor,
                [handle],
                Handle("trainer"),
                [self.events.append, *sinks],
                renders=self.renders(),
                limits=LIMITS,
            )

    rig.__class__ = AsGroup
    try:
        return rig.go(group, [kill]), rig
    finally:
        group.shutdown()


def test_a_rank_that_is_killed_changes_neither_frames_nor_field(session, tmp_path):
    undisturbed, _ = fitted(tmp_path / "one")
    killed, rig = fitted(tmp_path / "two", kill_at=3)
    assert "TrainerReloaded" in rig.kinds() and "WorkerRestarted" in rig.kinds()
    assert killed.table.digest() == undisturbed.table.digest()
    assert killed.digest == undisturbed.digest and killed.renders == undisturbed.renders


@contextmanager
def on_this_ray(cluster, label):
    """A cluster that others share, as far as the run can tell."""
    executor = RayExecutor(label)
    work = Workplace(executor, executor.resources(), "the Ray of this test", False, True)
    try:
        yield work
    finally:
        work.executor.shutdown()


SMALL = """
scene: {width: 48, height: 36, num_frames: 3, drop: [cam02, cam03, cam04, cam05, cam06, cam07, cam08]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 16, refit_steps: 8,
        rays: 64, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 1, key_views: 2, diffusion_steps: 1, refine_diffusion_steps: 1,
           restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
"""


def test_two_prompts_go_one_after_the_other_on_a_group(session, tmp_path, tiny_editor_folder, monkeypatch):
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "prompts.txt").write_text("make it night\nmake it gold\n")
    share = Share(1.0, 0.0, 1)
    placed = Placement("cpu", "cpu", share, (share,), False, "two trainers and an editor", trainers=2)
    monkeypatch.setattr(compose, "placement_for", lambda *args: placed)
    monkeypatch.setattr(prompts, "workplace", on_this_ray)
    words = [
        "edit",
        "--scene",
        "demo",
        "--prompts-file",
        tmp_path / "prompts.txt",
        "--out",
        tmp_path / "many",
    ]
    words += ["--data", tmp_path / "data", "--config", tmp_path / "small.yaml", "--device", "cpu"]
    words += ["--weights", tiny_editor_folder]
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert not end.value.code
    first, second = (
        RunFolder.open(path.parent) for path in sorted((tmp_path / "many").glob("*/config.yaml"))
    )
    for run in (first, second):
        assert list(run.manifests()) == [0, 1]
        assert run.read_json("plan.json")["trainers"] == 2
    assert first.manifests()[0]["checkpoint"] == second.manifests()[0]["checkpoint"]
    assert first.manifests()[1]["table"] != second.manifests()[1]["table"]
