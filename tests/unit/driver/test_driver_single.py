"""One edited camera: the two schedules, their strengths and windows, and a null run of each."""

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.exec.local import LocalExecutor
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.registry import scheduled_plan
from i4d.types import Strength


def plan(kind="effective", views=2, **keys):
    out = config(rounds=1, single=kind, sequence_length=5, diffusion_steps=20, key_frame=3, **keys)
    return scheduled_plan(scene(views, 8, views - 1), out, SETTINGS)


def test_effective_is_one_full_edit_and_one_pass():
    made = plan()
    (part,) = made.rounds
    (key,) = part.key_steps
    assert (key.strength, key.sample, part.rest) == (Strength(1000, 20), (1,), ())
    assert part.window_strength == Strength(700, 5) and made.batch == 5
    frames = [window.frames for chain in part.chains for window in chain.windows]
    assert frames == [(4, 5, 6, 7), (2, 1, 0)]
    assert predicted_forwards(made) == 3 * (20 + (2 * 4 + 1) * 5)  # per step: padded windows, the anchor once


def test_intended_adds_a_weaker_round():
    first, second = plan("intended").rounds
    assert [s.strength for s in second.key_steps] == [
        Strength(800, 16)
    ] and second.window_strength == Strength(550, 3)
    assert (first.key_steps[0].strength, first.window_strength) == (Strength(1000, 20), Strength(700, 5))
    third = (
        plan("intended").rounds[1:],
        scheduled_plan(scene(2, 8, 1), config(rounds=3, single="intended"), SETTINGS).rounds,
    )
    assert len(third[1]) == 3 and third[1][2].strength_share == 0.7 and third[1][1].strength_share == 1.0


def test_off_and_several_cameras_keep_the_schedule():
    assert len(plan("off").rounds[0].key_steps) == 3 and plan("off").rounds[0].window_strength is None
    several = scheduled_plan(scene(4), config(rounds=1), SETTINGS)
    assert len(several.rounds[0].key_steps) == 3 and several.rounds[0].window_strength is None


@pytest.mark.parametrize("kind", ["effective", "intended"])
def test_a_run_edits_every_frame(tmp_path, kind):
    executor = LocalExecutor()
    rig = NullRig(tmp_path / "run", plan(kind), scene=scene(2, 8, 1))
    result = rig.go(executor)
    executor.shutdown()
    assert all(result.table.lookup(1, frame) != rig.originals.lookup(1, frame) for frame in range(8))
    assert max(result.checkpoints) == len(rig.plan.rounds)
