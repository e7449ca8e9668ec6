"""Anybody's videos: zero flicker where nothing flickers, the injected flicker where it does, and clear words
where a figure is missing.
"""

import json

import numpy as np
import pytest
from PIL import Image
from reported_run import build, rig, videos

from i4d import cli
from i4d.errors import SceneError
from i4d.report.footage import Footage
from i4d.report.foreign import (
    Pair,
    frames_of,
    masks_of,
    measure,
    pairs_with_folder,
    pairs_with_run,
    video_files,
)
from i4d.scenes.video import VideoWriter


def textured(shift=0.0, brightness=0):
    y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    picture = np.stack([0.5 + 0.2 * np.sin((x + shift) / 3 + k) * np.cos(y / 4 - k) for k in range(3)], -1)
    return (picture * 255 + brightness).clip(0, 255).astype(np.uint8)


def write(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], 10.0, quality="archive") as video:
        for frame in frames:
            video.write(frame)


def test_a_static_scene_has_no_error_and_flicker_is_measured(tmp_path):
    still = [textured() for _ in range(4)]
    flicker = [textured(brightness=10 * (i % 2)) for i in range(4)]
    for name, frames in (("steady", still), ("flicker", flicker)):
        write(tmp_path / "edited" / f"{name}.mp4", frames)
        write(tmp_path / "originals" / f"{name}.mp4", still)
    found = measure(
        pairs_with_folder(tmp_path / "edited", tmp_path / "originals"),
        "make it night",
        None,
        None,
        lambda *_: None,
    )
    steady, shaking = found["cameras"]["steady"], found["cameras"]["flicker"]
    assert steady["temporal_warp_error"]["value"] < 0.05 and steady["long_range"]["value"] < 0.05
    assert steady["sharpness_kept"]["value"] == pytest.approx(1, abs=0.05)
    assert shaking["temporal_warp_error"]["value"] > 5 * max(steady["temporal_warp_error"]["value"], 0.05)
    assert found["cross_view"]["value"] is None and "--like RUN" in found["cross_view"]["reason"]


def test_pictures_are_videos_too_and_masks_say_what_was_to_stay(tmp_path, capsys):
    """Left half changed by 10 of 255: outside a mask of that half nothing has changed; outside one of the
    right half all has.
    """
    still, made = textured(), textured()
    made[:, :32] = made[:, :32] + 10
    for folder, frame in (("edited", made), ("originals", still)):
        for camera in ("cam00", "cam01"):
            (tmp_path / folder / camera).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(frame).save(tmp_path / folder / camera / f"{i:03d}.png")
    left = np.zeros((24, 32), np.uint8)  # half the size
    left[:, :16] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(left).save(tmp_path / "masks" / "cam00.png")
    Image.fromarray(255 - left).save(tmp_path / "masks" / "cam01.png")
    arguments = [
        "eval",
        tmp_path / "edited",
        "--originals",
        tmp_path / "originals",
        "--masks",
        tmp_path / "masks",
    ]
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments), "--prompt", "make it night"])
    assert not end.value.code and "background_kept_db" in capsys.readouterr().out
    found = json.loads((tmp_path / "edited" / "metrics.json").read_text())["cameras"]
    assert found["cam00"]["background_kept_db"]["value"] == pytest.approx(100, abs=0.01)
    assert found["cam01"]["background_kept_db"]["value"] == pytest.approx(20 * np.log10(255 / 10), abs=0.15)
    alone = video_files(tmp_path / "edited" / "cam00")
    assert list(alone) == ["video"] and frames_of(alone["video"]).shape == (3, 48, 64, 3)


def test_masks_that_do_not_fit_are_named(tmp_path):
    pair = Pair("cam00", *np.zeros((2, 3, 8, 8, 3), np.uint8))
    (tmp_path / "cam00").mkdir()
    for i in range(2):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "cam00" / f"{i}.png")
    with pytest.raises(SceneError, match="2 masks for 3 frames"):
        masks_of(tmp_path, "cam00", pair)
    assert masks_of(tmp_path, "cam01", pair) is None
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "cam00" / "2.png")
    with pytest.raises(SceneError, match="different sizes"):
        masks_of(tmp_path, "cam00", pair)


def test_with_a_run_its_originals_and_cameras_are_used(tmp_path, capsys):
    scene = rig(width=40, height=36)
    shown = videos(scene)
    keys = np.stack([shown[v][1] for v in scene.train_views])
    depths = [np.full(keys.shape[1:3], 2.0)] * len(keys)
    renders = {"before/cam00": shown[0], "key/before": keys}
    run = build(tmp_path / "run", scene, shown, renders, {v: shown[v] for v in scene.train_views}, depths)
    for view in scene.train_views:
        write(tmp_path / "theirs" / f"{scene.cameras[view].name}.mp4", list(shown[view]))
    pairs = pairs_with_run(tmp_path / "theirs", Footage(run))
    assert [p.name for p in pairs] == [scene.cameras[v].name for v in scene.train_views]
    assert np.abs(pairs[0].edited.astype(int) - pairs[0].original).mean() < 12
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["eval", str(tmp_path / "theirs"), "--like", str(tmp_path / "run"), "--prompt", "make it night"]
        )
    assert not end.value.code and "metrics:" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "theirs" / "metrics.json").read_text())["cameras"]) == {
        p.name for p in pairs
    }


def test_mistakes_are_named(tmp_path, capsys):
    write(tmp_path / "a" / "x.mp4", [textured()] * 2)
    write(tmp_path / "b" / "y.mp4", [textured()] * 3)
    write(tmp_path / "c" / "x.mp4", [textured()] * 3)
    with pytest.raises(SceneError, match="same name"):
        pairs_with_folder(tmp_path / "a", tmp_path / "b")
    with pytest.raises(SceneError, match="2 edited frames, 3 original"):
        pairs_with_folder(tmp_path / "a", tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="no videos there"):
        pairs_with_folder(tmp_path / "empty", tmp_path / "b")
    with pytest.raises(SystemExit) as end:
        cli.main(["eval", str(tmp_path / "a"), "--originals", str(tmp_path / "c")])
    assert end.value.code == 2 and "--prompt is missing" in capsys.readouterr().err
    assert frames_of(tmp_path / "a" / "x.mp4").shape == (2, 48, 64, 3)
