"""`i4d check`, and the check inside prepare and doctor, on a folder as people have it."""

import json

import numpy as np
import pytest

from i4d.cli import main
from i4d.config import SceneConfig
from i4d.scenes.load import load_scene
from i4d.scenes.procedural.demo import FPS, demo_cameras, llff_row, render_frames
from i4d.scenes.video import VideoWriter

FRAMES, LATE = 24, 5


@pytest.fixture(scope="module")
def films():
    cameras = demo_cameras(num_cameras=5)
    total = FRAMES + LATE
    return {c: np.stack(list(render_frames(c, range(total), total, samples=1))) for c in cameras}


def write(folder, films, late=None, names=None, poses=None):
    """Write an N3DV folder; `late` started LATE frames late, `names` are those of the cameras in turn."""
    folder.mkdir()
    for i, (camera, images) in enumerate(films.items()):
        name = names[i] if names else camera.name
        first = LATE if camera.name == late else 0
        with VideoWriter(folder / f"{name}.mp4", camera.width, camera.height, FPS, quality="archive") as out:
            for image in images[first : first + FRAMES]:
                out.write(image)
    rows = [llff_row(c, 2.5, 8.0) for c in films]
    np.save(folder / "poses_bounds.npy", np.stack([rows[i] for i in poses or range(len(rows))]))
    scene = folder.with_suffix(".yaml")
    scene.write_text(
        f"preset: demo\nscene: {{name: toy, reader: n3dv, root: {folder}, held_out: [cam00], bounds: ndc}}\n"
    )
    return str(scene)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code or 0


@pytest.fixture
def leaving(monkeypatch):
    """Let `leave` end by SystemExit, which tests can catch."""
    import i4d.exec.ending as ending

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(ending, "leave", leave)


def test_a_good_rig(tmp_path, films, leaving, capsys):
    scene = write(tmp_path / "good", films)
    assert run("check", "--scene", scene, "--picture", str(tmp_path / "pair.png")) == 0
    out = capsys.readouterr().out
    assert "good: poses and pictures fit together" in out and max(map(len, out.splitlines()[:-1])) <= 80
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
    assert run("check", "--scene", scene, "--json") == 0
    check = json.loads(capsys.readouterr().out)
    assert len(check["cameras"]) == 5 and len(check["pairs"]) == 10 and check["problems"] == []
    assert run("prepare", "--scene", scene, "--out", str(tmp_path / "run")) == 0
    kept = json.loads((tmp_path / "run" / "capture.json").read_text())["check"]
    assert kept["cameras"][0]["median_px"] < 1


def test_a_late_camera_stops_a_run_unless_told_otherwise(tmp_path, films, leaving, capsys):
    scene = write(tmp_path / "late", films, late="cam03")
    assert run("check", "--scene", scene) == 3
    assert "scene.offsets: {cam03: 5}" in capsys.readouterr().out
    assert run("prepare", "--scene", scene, "--out", str(tmp_path / "run")) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: calibration check: cam03: started 5.") or "cam03: started 4.9" in said
    mend = "(scene.offsets: {cam03: 5}; or frames are missing inside its video; --no-check goes on anyway)"
    assert said.endswith(mend)
    assert run("prepare", "--scene", scene, "--out", str(tmp_path / "run"), "--no-check") == 0
    mended = ("--set", "scene.offsets={cam03: 5}")
    assert run("check", "--scene", scene, *mended) == 0
    some = ("--set", "scene.num_frames=12")  # so the range begins before the camera does
    assert run("check", "--scene", scene, *mended, *some) == 0
    capsys.readouterr()
    half = ("--set", "scene.offsets={cam03: 2}")
    assert run("check", "--scene", scene, *half) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "later than its offset of 2 says" in said and "scene.offsets: {cam03: 5}" in said


def test_a_camera_that_is_black_or_frozen_is_told(tmp_path, films, leaving, capsys):
    for how, word in (("black", "its picture is one flat colour"), ("frozen", "nothing moves in it")):
        changed = dict(films)
        camera = list(films)[3]
        changed[camera] = (
            films[camera] * 0 if how == "black" else np.repeat(films[camera][:1], FRAMES + LATE, 0)
        )
        scene = write(tmp_path / how, changed)
        assert run("check", "--scene", scene) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"cam03: {word}" in said and "good: " not in said


def test_an_ambiguous_order_is_decided_by_the_pictures(tmp_path, films):
    """cam1, cam2, cam3, cam10, cam20 by number; by name cam1, cam10, cam2, cam20, cam3."""
    names = ["cam1", "cam2", "cam3", "cam10", "cam20"]
    places = {"number": range(5), "name": [names.index(n) for n in sorted(names)]}
    for how, poses in places.items():
        folder = tmp_path / how
        write(folder, films, names=names, poses=list(poses))
        scene = load_scene(SceneConfig(name="toy", reader="n3dv", root=str(folder)))
        assert any(f"cameras are ordered by {how}" in note for note in scene.notes)
        first, last = (c.centre for c in scene.cameras if c.name in ("cam1", "cam20"))
        own = [c.centre for c in films]
        gap = np.linalg.norm(own[0] - own[4]) / np.linalg.norm(own[1] - own[4])
        other = next(c.centre for c in scene.cameras if c.name == "cam2")
        assert np.linalg.norm(first - last) / np.linalg.norm(other - last) == pytest.approx(gap, abs=1e-6)


def test_the_picture_must_be_a_png(tmp_path, leaving, capsys):
    assert run("check", "--scene", "demo", "--picture", str(tmp_path / "x.jpg")) == 2
    assert "not a .png" in capsys.readouterr().err
