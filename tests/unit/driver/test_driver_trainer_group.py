"""A trainer of two ranks behind one handle: a rank that is lost at any time changes nothing."""

import dataclasses

import pytest
from null_rig import NullRig

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.driver.rounds import run
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.exec.together import Together
from i4d.services.trainer import ONLY_FIRST

LIMITS = Limits(20, 60, poll_s=0.02, call_goal_s=0.0, save_every_s=0.0)


def driven(path, kill_rank=None, at=0):
    """Drive the null plan with a group; kill one of its ranks at the `at`-th event of the fits."""
    local = LocalExecutor(grace_s=30)
    rig = NullRig(path)
    trainer, editor = rig.specs(1)
    ranks = local.start_group(dataclasses.replace(trainer, import_path="faulty_services:RankTrainer"), 2, 60)
    group = Together(local, Handle("trainer"), ranks, ONLY_FIRST)
    seen = []

    def kill(event):
        if isinstance(event, (events.FitProgress, events.CheckpointSaved)):
            seen.append(event)
            if kill_rank is not None and len(seen) == at:
                local.kill(ranks[kill_rank])

    try:
        editors, handle = [group.start(editor, 60)], Handle("trainer")
        told = [rig.events.append, kill]
        parts = rig.plan, rig.originals, rig.folder, group, editors, handle, told
        return run(*parts, limits=LIMITS, renders=rig.renders()), rig
    finally:
        group.shutdown()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("at", [1, 5, 12])
def test_a_lost_rank_changes_neither_frames_nor_field(rank, at, tmp_path):
    undisturbed, _ = driven(tmp_path / "one")
    lost, rig = driven(tmp_path / "two", rank, at)
    assert "WorkerRestarted" in rig.kinds() and "TrainerReloaded" in rig.kinds()
    assert lost.digest == undisturbed.digest and lost.renders == undisturbed.renders
