"""Every way in which input comes (docs/captures.md): read right to the pixel, or refused with one line."""

import json

import numpy as np
import pytest
from capture_inputs import CAMERA, CASES, LATE, clean_demo, scene_config

from i4d.errors import SceneError
from i4d.scenes.prepare import prepare, scene_to_dict, working_frames
from i4d.scenes.readers.n3dv import read_n3dv
from i4d.scenes.readers.nerfstudio import read_nerfstudio
from i4d.scenes.readers.rig import read_rig
from i4d.scenes.record import scene_from_dict
from i4d.store.objects import open_store

READERS = {"n3dv": read_n3dv, "rig": read_rig, "nerfstudio": read_nerfstudio}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return clean_demo(tmp_path_factory.mktemp("demo") / "clean")


def read(case, root, **more):
    config = scene_config(**{**case.settings, **more})
    return READERS[config.reader](config, root), config


def psnr(a, b):
    return -10 * np.log10(max(1e-9, float(np.mean((a.astype(float) / 255 - b.astype(float) / 255) ** 2))))


def made(case, clean, tmp_path):
    root = tmp_path / "scene"
    root.mkdir()
    (tmp_path / "clean").symlink_to(clean.root)
    case.make(clean, root)
    return root


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not c.refused])
def test_mended_input_gives_the_clean_frames(name, clean, tmp_path):
    case = CASES[name]
    root = made(case, clean, tmp_path)
    if case.mend is not None:
        with pytest.raises(SceneError) as caught:
            read(case, root)
        assert case.says in str(caught.value) and "\n" not in str(caught.value)
    scene, config = read(case, root, **(case.mend or {}))
    if case.mend is None:
        assert any(case.says in note for note in scene.notes) or not case.says, scene.notes
    assert not any("\n" in note for note in scene.notes)
    gone = {(v, f) for v, a, b in scene.missing for f in range(a, b)}
    right_cameras = read_n3dv(scene_config(), clean.root).cameras
    for camera, right_camera in zip(scene.cameras, right_cameras, strict=True):
        np.testing.assert_allclose(camera.world_from_camera, right_camera.world_from_camera, atol=1e-9)
        np.testing.assert_allclose(camera.K, right_camera.K, atol=1e-9)
    for view, right in enumerate(clean.names):
        for frame, image in enumerate(working_frames(scene, config, view)):
            if (view, frame) not in gone:
                exact = clean.frames[right][scene.first + frame]
                if case.psnr_db and right == CAMERA:
                    assert psnr(image, exact) > case.psnr_db, (right, frame)
                else:
                    assert np.array_equal(image, exact), (right, frame, psnr(image, exact))


def test_what_is_missing_is_what_nobody_took(clean, tmp_path):
    scene, _ = read(
        CASES["frames dropped inside a video"], made(CASES["frames dropped inside a video"], clean, tmp_path)
    )
    view = clean.names.index(CAMERA)
    assert scene.missing == ((view, 8, 10), (view, 15, 16)) and scene.num_frames == 24
    again = scene_from_dict(json.loads(json.dumps(scene_to_dict(scene))))
    assert (again.missing, again.notes, again.first) == (scene.missing, scene.notes, 0)


def test_a_late_camera_shortens_the_scene_or_misses_its_beginning(clean, tmp_path):
    case = CASES["one camera 7 frames late"]
    root = made(case, clean, tmp_path)
    scene, _ = read(case, root)
    assert (scene.first, scene.num_frames, scene.missing) == (LATE, 24 - LATE, ())
    assert any(f"used are instants {LATE} to 23" in note for note in scene.notes)
    whole, config = read(case, root, num_frames=24)
    view = clean.names.index(CAMERA)
    assert (whole.first, whole.num_frames, whole.missing) == (0, 24, ((view, 0, LATE),))
    first = next(working_frames(whole, config, view))
    assert np.array_equal(first, clean.frames[CAMERA][LATE]), "the nearest frame there is stands in"


def test_half_the_rate_misses_every_second_instant(clean, tmp_path):
    case = CASES["a camera of half the rate"]
    scene, _ = read(case, made(case, clean, tmp_path))
    view = clean.names.index(CAMERA)
    assert scene.missing == tuple((view, f, f + 1) for f in range(1, 22, 2)) and scene.num_frames == 23


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.refused])
def test_what_cannot_be_read_right_is_refused_with_one_line(name, clean, tmp_path):
    case = CASES[name]
    root = made(case, clean, tmp_path)
    with pytest.raises(SceneError) as caught:
        scene, config = read(case, root)
        prepare(scene, config, open_store(tmp_path / "store"))
    assert case.says in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 3


def test_blocks_are_made_anew_where_a_decision_changes(clean, tmp_path):
    """The same file read with another offset, order or lens is another picture at the same place."""
    case = CASES["one camera 7 frames late"]
    root, store = made(case, clean, tmp_path), open_store(tmp_path / "store")
    view = clean.names.index(CAMERA)
    digests = []
    for offset in (7, 6, 7):
        scene, config = read(case, root, offsets={CAMERA: offset}, num_frames=12, start=7)
        digests.append([r.digest for r in prepare(scene, config, store) if r.view == view])
    assert digests[0] == digests[2] != digests[1]
