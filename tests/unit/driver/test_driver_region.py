"""A local edit in the driver: masks reach every task, edited fields are rendered with their region, and a
resume finds all of it.
"""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.errors import ConfigError
from i4d.exec.local import LocalExecutor
from i4d.schedules.key_frame import make_plan
from i4d.services import null
from i4d.types import Region


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture
def seen(monkeypatch):
    """Every task that reaches a null service."""
    tasks = []
    for kind, names in (
        (null.NullEditor, ("edit_key_frame", "repaint", "edit_window")),
        (null.NullTrainer, ("render",)),
    ):
        for name in names:
            real = getattr(kind, name)
            monkeypatch.setattr(
                kind, name, lambda self, task, real=real: (tasks.append(task), real(self, task))[1]
            )
    return tasks


BOX = Region(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def local_plan(region=BOX):
    return dataclasses.replace(make_plan(scene(), config(), SETTINGS), region=region)


def test_every_edit_gets_the_masks_of_its_views_and_frames(tmp_path, executor, seen):
    rig = NullRig(tmp_path / "run", local_plan())
    result = rig.go(executor)
    masks = {}
    for task in seen:
        if getattr(task, "want", ()) == ("region",):
            assert task.local.unedited == result.checkpoints[0].digest
            masks[task.camera.name] = masks.get(task.camera.name, 0) + len(task.frames)
    assert masks == {camera.name: rig.scene.num_frames for camera in rig.plan.cameras}, (
        "once per view and frame, not per round"
    )
    edits = [task for task in seen if hasattr(task, "originals")]
    assert edits and all(len(task.region) == len(task.originals) for task in edits)
    key = next(task for task in edits if hasattr(task, "sample"))
    windows = {
        (t.view, f): a
        for t in edits
        if hasattr(t, "anchor_frame")
        for f, a in zip(t.frames, t.region, strict=True)
    }
    assert len(set(windows.values())) == len(windows) and not set(windows.values()) & set(key.region)


def test_only_renders_of_an_edited_field_have_a_region(tmp_path, executor, seen):
    rig = NullRig(tmp_path / "run", local_plan())
    rig.go(executor)
    pictures = [task for task in seen if "rgb" in getattr(task, "want", ())]
    before, after = (
        p for p in ([t for t in pictures if t.local is None], [t for t in pictures if t.local is not None])
    )
    assert (
        len([t for t in before if t.camera.name == "cam00"])
        == len([t for t in after if t.camera.name == "cam00"])
        > 0
    )
    assert any(t.rows == "float16" for t in after), "round 2 looks at the edited field within its region"


def test_a_resumed_local_run_renders_no_mask_again(tmp_path, executor, seen):
    first = NullRig(tmp_path / "run", local_plan()).go(executor)
    seen.clear()
    again = NullRig(tmp_path / "run", local_plan(), fresh=False).go(executor)
    assert again.digest == first.digest and not seen
    with pytest.raises(ConfigError, match="another plan"):
        NullRig(tmp_path / "run", local_plan(None), fresh=False).go(executor)


def test_how_much_a_region_covers_is_told_and_one_that_nobody_sees_stops_the_run(
    tmp_path, executor, monkeypatch
):
    told = NullRig(tmp_path / "told", local_plan())
    monkeypatch.setattr(type(told.folder), "share_of", lambda self, addresses: 0.063)
    told.go(executor)
    said = [event.text for event in told.events if "covers" in getattr(event, "text", "")]
    assert said == ["--where covers 6.3 % of the edited cameras' pictures at frame 3"]
    rig = NullRig(tmp_path / "run", local_plan())
    monkeypatch.setattr(type(rig.folder), "share_of", lambda self, addresses: 0.0)
    with pytest.raises(ConfigError, match="no edited camera sees the region at frame 3"):
        rig.go(executor)
