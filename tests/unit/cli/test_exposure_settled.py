"""`field.exposure: auto` follows from the check before a run, is told with figures, stored, and stays."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from i4d import cli
from i4d.commands.checking import settle_exposure
from i4d.commands.start_from import checkpoint_from
from i4d.config import Config
from i4d.scenes.procedural.demo import FPS, demo_cameras, llff_row, render_frames
from i4d.scenes.video import VideoWriter
from i4d.store.run_folder import RunFolder
from i4d.types import Bounds, Scene

SMALL = """
field: {grid_start: 1000, grid_end: 2000, growth_at: [0.5], fit_steps: 8, refit_steps: 4,
        rays: 32, samples: 6, proposals: 12, shaded: 3}
"""


@pytest.fixture(scope="module")
def films():
    cameras = demo_cameras(num_cameras=5)
    return {c: np.stack(list(render_frames(c, range(18), 18, samples=1))) for c in cameras}


def train(home, films, darker=None, *more):
    """Train a toy field on an N3DV folder in which one camera is 0.75 as bright; return its run folder."""
    folder = home / "films"
    folder.mkdir()
    for camera, images in films.items():
        with VideoWriter(
            folder / f"{camera.name}.mp4", camera.width, camera.height, FPS, quality="archive"
        ) as out:
            for image in images:
                out.write((image * 0.75).astype(np.uint8) if camera.name == darker else image)
    np.save(folder / "poses_bounds.npy", np.stack([llff_row(c, 2.5, 8.0) for c in films]))
    scene = (
        f"preset: demo\nscene: {{name: toy, reader: n3dv, root: {folder}, held_out: [cam00], bounds: ndc}}\n"
    )
    (home / "toy.yaml").write_text(scene)
    (home / "small.yaml").write_text(SMALL)
    words = ["train", "--scene", home / "toy.yaml", "--config", home / "small.yaml", "--out", home / "run"]
    ended(*words, "--local", "--device", "cpu", *more)
    return home / "run"


def ended(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert not end.value.code


def stored(run):
    return yaml.safe_load((run / "config.yaml").read_text())["field"]["exposure"]


def notes(run):
    return [
        e["text"] for e in RunFolder.open(run).events() if e["event"] == "Noted" and "exposure" in e["text"]
    ]


def test_cameras_that_differ_get_exposures_and_keep_them(tmp_path, films):
    run = train(tmp_path, films, "cam02")
    assert stored(run) == "camera"
    (text,) = notes(run)
    assert text.startswith("exposure is fitted per camera: cam02 off by up to 0.")
    assert text in RunFolder.open(run).read_json("capture.json")["notes"]
    assert any(e.get("stage") == "check" for e in RunFolder.open(run).events())
    start = checkpoint_from(run)
    config = Config()
    start.settle(config)
    assert config.field.exposure == start.exposure == "camera"
    finished = RunFolder.open(run).manifests()[0]["checkpoint"]
    (run / "manifest-0.json").unlink()
    config_file = run / "config.yaml"
    config_file.write_text(config_file.read_text().replace("exposure: camera", "exposure: auto"))
    ended("resume", run, "--local", "--device", "cpu")
    assert RunFolder.open(run).manifests()[0]["checkpoint"] == finished, "the check's word was taken over"


def test_cameras_that_agree_get_none(tmp_path, films):
    run = train(tmp_path, films)
    assert stored(run) == "off" and notes(run) == []


def test_without_a_check_there_is_none(tmp_path, films):
    assert stored(train(tmp_path, films, "cam02", "--no-check")) == "off"


def scene_of(held_out):
    cameras = demo_cameras(num_cameras=4)
    bounds = Bounds("ndc", ((-1, -1, -1), (1, 1, 1)), 1.0, 3.0)
    return Scene("toy", cameras, 4, 12.0, bounds, held_out, None, cameras)


def differing(kind, camera, value):
    return {"problems": [{"kind": kind, "cameras": [camera], "value": value}]}


def test_only_trained_cameras_count_and_a_word_of_the_user_stands():
    for kind in ("exposure", "white balance"):
        config = Config()
        text = settle_exposure(config, scene_of(("cam00",)), differing(kind, "cam01", -0.5))
        assert config.field.exposure == "camera" and f"by up to 0.50 stops of {kind}" in text
        config = Config()
        assert settle_exposure(config, scene_of(("cam01",)), differing(kind, "cam01", -0.5)) == ""
        assert config.field.exposure == "off"
        config = Config()
        config.field = replace(config.field, exposure="off")
        assert settle_exposure(config, scene_of(()), differing(kind, "cam01", -0.5)) == ""
        assert config.field.exposure == "off"
    config = Config()
    settle_exposure(config, scene_of(()), differing("lag", "cam01", 3.0))
    assert config.field.exposure == "off"
