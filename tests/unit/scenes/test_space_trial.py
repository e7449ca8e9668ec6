"""The space a field lives in follows from the cameras, and where they leave it open, from a trial."""

from dataclasses import replace

import numpy as np
import pytest

from i4d.config import Config, SceneConfig
from i4d.scenes import space_trial
from i4d.scenes.load import load_scene
from i4d.scenes.procedural.rigs import rig_cameras, write_rig
from i4d.scenes.space_trial import settle_space

FEW = ["cam01", "cam05"]  # of the wide arc's seven, so that five are left


@pytest.fixture(scope="module")
def rigs(tmp_path_factory):
    root = tmp_path_factory.mktemp("rigs")
    for layout in ("narrow", "wide", "ring"):
        write_rig(root / layout, layout, 2, 64, 48, 2, 7)
    return root


def read(root, **settings):
    config = Config()
    config.scene = SceneConfig(**{"name": root.name, "reader": "n3dv", "root": str(root)} | settings)
    return config, load_scene(config.scene)


def test_cameras_say_which_spaces_there_are(rigs):
    kinds = {name: [b.kind for b in read(rigs / name)[1].spaces] for name in ("narrow", "wide", "ring")}
    assert kinds == {
        "narrow": ["ndc", "box"],
        "wide": ["contracted"],
        "ring": ["contracted"],
    }
    assert [b.kind for b in read(rigs / "wide", drop=FEW)[1].spaces] == ["box", "contracted", "ndc"]
    assert read(rigs / "ring", bounds="contracted")[1].spaces == ()


@pytest.mark.parametrize(("layout", "best"), [("narrow", "ndc"), ("wide", "contracted")])
def test_the_trial_takes_the_space_that_shows_a_camera_left_out_best(rigs, monkeypatch, layout, best):
    monkeypatch.setattr(space_trial, "STEPS", 120)
    config, scene = read(rigs / layout, drop=FEW if layout == "wide" else [])
    told = []
    settled = settle_space(scene, config, lambda done, total: told.append((done, total)))
    assert settled.bounds.kind == config.scene.bounds == best and settled.spaces == ()
    assert told == [(done, len(scene.spaces)) for done in range(len(scene.spaces) + 1)]
    assert settled.notes[-1].startswith(f"field space: {best}, tried on a camera left out: ")


def test_a_wrong_guess_is_put_right(rigs, monkeypatch):
    """The spaces in the wrong order: the trial finds the better one all the same."""
    monkeypatch.setattr(space_trial, "STEPS", 120)
    monkeypatch.setattr(space_trial, "SURE_DB", 0.0)
    config, scene = read(rigs / "narrow")
    settled = settle_space(replace(scene, spaces=scene.spaces[::-1]), config)
    assert settled.bounds.kind == "ndc" and settled.notes[-1].startswith("field space: ndc")


def test_nothing_is_tried_where_nothing_is_open(rigs):
    config, scene = read(rigs / "narrow", reader="rig", drop=["cam01", "cam02", "cam03"])
    assert [b.kind for b in scene.spaces] == ["box"], "no NDC without a nearest depth"
    settled = settle_space(scene, config)
    assert settled.bounds.kind == config.scene.bounds == "box" and settled.notes == scene.notes
    config, scene = read(rigs / "narrow", reader="rig", bounds="ndc", near=2.0)
    assert scene.bounds.kind == "ndc" and scene.bounds.near == 2.0 and settle_space(scene, config) is scene
    config, scene = read(rigs / "narrow", bounds="box")
    assert settle_space(scene, config) is scene
    config, scene = read(rigs / "narrow", drop=["cam01", "cam02", "cam03"])
    assert settle_space(scene, config).notes == scene.notes, "four cameras: none can be left out"


@pytest.mark.parametrize("reader", ["n3dv", "rig"])
def test_all_around_a_scene_space_is_contracted_whatever_the_layout_of_the_files(rigs, reader):
    config, scene = read(rigs / "ring", reader=reader)
    config.field.tv_weight = 1.0
    settled = settle_space(scene, config)
    assert settled.bounds.kind == config.scene.bounds == "contracted"
    assert config.field.tv_weight == 8.0 and "total variation 8, not 1" in settled.notes[-1]
    config, scene = read(rigs / "ring", reader=reader, bounds="contracted")
    config.field.tv_weight = 1.0
    settle_space(scene, config)
    assert config.field.tv_weight == 1.0, "a space that is given keeps the weight that is given"
    few = [f"cam{i:02d}" for i in range(2, 4)]
    assert read(rigs / "ring", reader=reader, drop=few)[1].bounds.kind == "box", "five cameras"


def test_what_is_held_out_chooses_nothing(rigs, monkeypatch):
    """A held-out camera's pictures can be anything: the figures of the trial are the same."""
    monkeypatch.setattr(space_trial, "STEPS", 12)
    config, scene = read(rigs / "narrow", held_out=["cam00"])
    seen = []
    monkeypatch.setattr(
        space_trial,
        "working_frames",
        lambda scene, config, view, first: seen.append(view) or iter([np.zeros((48, 64, 3), np.uint8)]),
    )
    settle_space(scene, config)
    assert seen == list(scene.train_views) and 0 not in seen


def test_layouts_are_what_they_say():
    centres = np.stack([c.centre for c in rig_cameras("ring", 64, 48, 12, 0)])
    assert np.ptp(centres[:, 2]) > 4, "cameras stand behind the scene too"
    tilted = [c.world_from_camera[1, 0] for c in rig_cameras("wide", 64, 48, 12, 0)]
    assert (
        max(map(abs, tilted)) > 0.1
        and max(abs(c.world_from_camera[1, 0]) for c in rig_cameras("narrow", 64, 48, 12, 0)) < 1e-9
    )
