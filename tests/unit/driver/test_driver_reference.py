"""A key frame given by the user: it stays, the other views are anchored on it, and nothing is edited
jointly.
"""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.errors import ConfigError
from i4d.exec.local import LocalExecutor
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.given_key_frame import reference_view
from i4d.schedules.registry import scheduled_plan
from i4d.services.null import NullEditor
from i4d.types import FrameAddress


def reference_config(camera="", **keys):
    out = config(rounds=1, key_views=3, **keys)
    out.local.reference, out.local.reference_camera = "picture.png", camera
    return out


def test_the_others_are_repainted_on_the_given_view():
    plan = scheduled_plan(scene(7), reference_config("cam04"), SETTINGS)
    (part,) = plan.rounds
    assert plan.reference_view == 4 and [step.sample for step in part.key_steps] == [(4,)]
    assert [rest.views for rest in part.rest] == [(4, 1, 2), (4, 3, 5), (4, 6)]
    joint = scheduled_plan(scene(7), config(rounds=1, key_views=3), SETTINGS)
    windows = predicted_forwards(plan) - 3 * (3 * 3 * plan.rest_strength.n)
    assert 0 < windows < predicted_forwards(joint)


def test_without_a_name_it_is_the_middle_camera():
    assert reference_view(scene(6), "") == 3  # of the edited cameras 1 to 5, which stand in a row
    for wrong in ("cam00", "cam09"):
        with pytest.raises(ConfigError, match="no edited camera"):
            reference_view(scene(6), wrong)


def test_one_camera_has_nobody_to_tell():
    plan = scheduled_plan(scene(2, held_out=1), reference_config(), SETTINGS)
    assert plan.rounds[0].rest == () and plan.reference_view == 1


@pytest.mark.parametrize("method", ["each_frame", "in2n"])
def test_comparisons_take_no_reference(method):
    with pytest.raises(ConfigError, match="--reference does not go with"):
        scheduled_plan(scene(), reference_config(method=method), SETTINGS)


def test_a_run_keeps_the_given_frame_and_resumes(tmp_path, monkeypatch):
    seen = []
    real = NullEditor.edit_key_frame
    monkeypatch.setattr(
        NullEditor, "edit_key_frame", lambda self, task: (seen.append(task), real(self, task))[1]
    )
    executor = LocalExecutor()
    made = scheduled_plan(scene(), reference_config("cam02"), SETTINGS)
    rig = NullRig(tmp_path / "run", made)
    given = FrameAddress(rig.originals.lookup(0, 0).digest, 5)  # any row of the views' size will do
    rig.plan = dataclasses.replace(made, reference=given)
    result = rig.go(executor)
    task, again = seen
    assert again.edited == (given,) and again.fill_share == 0.75 and again.step == 1
    assert again.current[1] == FrameAddress(
        rig.folder.manifests()[1]["receipts"]["r1/key00"]["block"]["digest"], 1
    )
    assert [a.digest for a in again.current].count(again.current[0].digest) == 2, (
        "the other two come from the repaint"
    )
    assert (
        task.edited == (given,)
        and task.sample == (2,)
        and (task.fill_share, task.fill_threshold) == (1.0, rig.plan.match_threshold)
    )
    manifest = rig.folder.manifests()[1]
    repaints = [id for id in manifest["receipts"] if id.startswith("r1/rest")]
    assert repaints == ["r1/rest00"]
    key = manifest["receipts"]["r1/key01"]["block"]["digest"]
    anchors = {run[0]: run for run in manifest["overrides"] if run[1] == 3}
    kept = rig.folder.reader.images([FrameAddress(anchors[2][3], anchors[2][4])])[0]
    expected = rig.folder.reader.images([FrameAddress(key, rig.plan.views.index(2))])[0]
    assert abs(kept - expected.clip(0, 1)).max() <= 0.5 / 255 + 1e-3, (
        "the given view keeps its picture, not the repaint's answer"
    )
    again = NullRig(tmp_path / "run", rig.plan, fresh=False).go(executor)
    executor.shutdown()
    assert again.digest == result.digest and len(seen) == 2
