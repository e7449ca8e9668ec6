"""N3DV and rig readers: a row worked by hand, marks that must appear where they are, and every kind of bad
input.
"""

import json

import numpy as np
import pytest

from i4d.config import Config, merge
from i4d.errors import SceneError
from i4d.scenes.bounds import average_pose, scene_middle
from i4d.scenes.load import load_scene, scene_config
from i4d.scenes.prepare import prepare
from i4d.scenes.readers.n3dv import read_n3dv
from i4d.scenes.readers.rig import read_rig
from i4d.scenes.video import VideoWriter
from i4d.store.blocks import BlockReader
from i4d.store.objects import open_store

W, H, F = 40, 30, 44.0


def config(**changes):
    c = Config()
    merge(c, {"scene": {"name": "t", "bounds": "auto", **changes}}, "test")
    return c.scene


def write_video(path, frames=3, width=W, height=H, image=None):
    image = np.full((height, width, 3), 90, np.uint8) if image is None else image
    with VideoWriter(path, width, height, 12, quality="archive") as video:
        for _ in range(frames):
            video.write(image)


def llff(position, near=2.0, far=9.0, height=H, width=W, focal=F):
    """A camera that looks along world -z with x to the right and y up, as in OpenGL: [down, right, back,
    position, hwf].
    """
    matrix = np.array(
        [[0, 1, 0, position[0], height], [-1, 0, 0, position[1], width], [0, 0, 1, position[2], focal]], float
    )
    return np.concatenate([matrix.ravel(), [near, far]])


def n3dv_folder(root, positions, frames=3, rows=None, **row):
    root.mkdir(exist_ok=True)
    for i in range(len(positions)):
        write_video(root / f"cam{i:02d}.mp4", frames)
    np.save(
        root / "poses_bounds.npy", np.stack([llff(p, **row) for p in positions]) if rows is None else rows
    )
    return root


def test_one_row_worked_by_hand(tmp_path):
    """Cameras at (0, 0, 0) and (2, 1, 0) looking along -z. The average sits at (1, 0.5, 0); OpenCV's y is
    world -y and its z world -z there. Scale 1.08 * 2 = 2.16: camera 1 is 1 to the right and 0.5 up of the
    average, so at (1, -0.5, 0) / 2.16.
    """
    scene = read_n3dv(config(), n3dv_folder(tmp_path, [(0, 0, 0), (2, 1, 0)], near=2.0, far=9.0))
    np.testing.assert_allclose(scene.cameras[1].centre, [1 / 2.16, -0.5 / 2.16, 0], atol=1e-12)
    np.testing.assert_allclose(scene.cameras[1].world_from_camera[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(scene.cameras[0].K, [[44, 0, 20], [0, 44, 15], [0, 0, 1]])
    assert scene.bounds.near == 1.0 and scene.bounds.far == pytest.approx(9 / 2.16)


def test_marks_left_right_above_and_below_are_seen_where_they_are(tmp_path):
    """Marks in the file's own axes (y up, looking along -z) are drawn by hand into every camera; rays of the
    reader's cameras through them must meet, and the meeting points must lie left, right, above and below of
    the middle.
    """
    positions = [(-0.5, 0, 0), (0, 0.4, 0.2), (0.5, -0.1, 0), (0.1, 0.1, -0.1)]
    marks = {"left": (-1.2, 0, -5), "right": (1.2, 0, -5), "above": (0, 0.9, -5), "below": (0, -0.9, -5)}
    scene = read_n3dv(config(), n3dv_folder(tmp_path, positions))
    found = {}
    for name, mark in marks.items():
        normal, right = np.zeros((3, 3)), np.zeros(3)
        for camera, p in zip(scene.cameras, positions, strict=True):
            x, y, ahead = mark[0] - p[0], mark[1] - p[1], p[2] - mark[2]
            pixel = np.array([W / 2 + F * x / ahead, H / 2 - F * y / ahead, 1])
            ray = camera.world_from_camera[:3, :3] @ np.linalg.inv(camera.K) @ pixel
            across = np.eye(3) - np.outer(ray, ray) / (ray @ ray)
            normal, right = normal + across, right + across @ camera.centre
        point = np.linalg.solve(normal, right)
        found[name] = point
        for camera, p in zip(scene.cameras, positions, strict=True):  # residual: the rays really meet there
            local = camera.world_from_camera[:3, :3].T @ (point - camera.centre)
            u, v = (camera.K @ local)[:2] / local[2]
            ahead = p[2] - mark[2]
            assert (
                abs(u - (W / 2 + F * (mark[0] - p[0]) / ahead)) < 1e-6
                and abs(v - (H / 2 - F * (mark[1] - p[1]) / ahead)) < 1e-6
            )
    assert found["left"][0] < -0.3 < 0.3 < found["right"][0]
    assert found["above"][1] < -0.2 < 0.2 < found["below"][1], "OpenCV's y points down"
    assert all(p[2] > 1 for p in found.values()), "in front of the NDC near plane"


def test_row_i_belongs_to_the_ith_video_before_any_is_dropped(tmp_path):
    root = n3dv_folder(tmp_path, [(0, 0, 0), (9, 9, 0), (1, 0, 0)])
    scene = read_n3dv(config(drop=["cam01"], held_out=["cam02"]), root)
    assert [c.name for c in scene.cameras] == ["cam00", "cam02"] and scene.held_out_views == (1,)
    assert scene.cameras[1].centre[0] - scene.cameras[0].centre[0] == pytest.approx(1 / 2.16)
    assert abs(scene.cameras[1].centre[1] - scene.cameras[0].centre[1]) < 1e-12


def test_average_pose_of_equal_poses_is_that_pose():
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(average_pose([pose, pose]), pose, atol=1e-12)


def test_focal_follows_the_working_size(tmp_path):
    scene = read_n3dv(config(downsample=2), n3dv_folder(tmp_path, [(0, 0, 0), (1, 0, 0)]))
    assert (scene.cameras[0].width, scene.cameras[0].height) == (20, 15) and scene.cameras[0].K[0, 0] == 22


BAD_N3DV = {
    "missing folder": (lambda r: None, {}, "no such folder"),
    "empty folder": (lambda r: r.mkdir(), {}, "no cam"),
    "no poses": (
        lambda r: (n3dv_folder(r, [(0, 0, 0)]), (r / "poses_bounds.npy").unlink()),
        {},
        "poses_bounds.npy: missing",
    ),
    "poses of another rig": (
        lambda r: n3dv_folder(r, [(0, 0, 0), (1, 0, 0)], rows=llff((0, 0, 0))[None]),
        {},
        "1 poses for 2 videos",
    ),
    "NaN pose": (lambda r: n3dv_folder(r, [(0, 0, 0), (float("nan"), 0, 0)]), {}, "pose of cam01"),
    "declared size": (lambda r: n3dv_folder(r, [(0, 0, 0), (1, 0, 0)], width=55), {}, "frames are 40x30"),
    "corrupt video": (
        lambda r: (n3dv_folder(r, [(0, 0, 0), (1, 0, 0)]), (r / "cam01.mp4").write_bytes(b"no")),
        {},
        "cam01.mp4",
    ),
    "range": (
        lambda r: n3dv_folder(r, [(0, 0, 0), (1, 0, 0)]),
        {"num_frames": 9},
        "frames 0..8 asked, cam00 has 3",
    ),
    "unknown camera": (
        lambda r: n3dv_folder(r, [(0, 0, 0), (1, 0, 0)]),
        {"drop": ["cam7"]},
        "no camera cam7",
    ),
    "all held out": (
        lambda r: n3dv_folder(r, [(0, 0, 0)]),
        {"held_out": ["cam00"]},
        "every camera is held out",
    ),
}


@pytest.mark.parametrize("case", BAD_N3DV)
def test_bad_n3dv_input_is_one_clear_line(case, tmp_path):
    make, changes, words = BAD_N3DV[case]
    make(tmp_path / "scene")
    with pytest.raises(SceneError) as caught:
        read_n3dv(config(**changes), tmp_path / "scene")
    assert words in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 3


def rig_folder(root, **changes):
    """Two cameras 2 m apart that look at the origin from 3 m, the second 20 pixels larger and distorted."""
    root.mkdir(exist_ok=True)
    entries = []
    for i, (x, width) in enumerate(((-1.0, W), (1.0, W + 20))):
        write_video(root / f"v{i}.mp4", 3, width, H)
        entries.append(
            {
                "name": f"c{i}",
                "video": f"v{i}.mp4",
                "width": width,
                "height": H,
                "K": [[F, 0, width / 2], [0, F, H / 2], [0, 0, 1]],
                "distortion": [0, 0, 0, 0] if i == 0 else [-0.1, 0, 0, 0],
                "R": np.eye(3).tolist(),
                "t": [-x, 0, 3.0],
            }
        )
    entries[1] |= changes
    (root / "cameras.json").write_text(json.dumps({"cameras": entries}))
    return root


def test_a_rig_comes_out_pinhole_at_one_size(tmp_path):
    root = rig_folder(tmp_path)
    scene = read_rig(config(reader="rig", width=W, height=H), root)
    assert [(c.width, c.height, c.distortion) for c in scene.cameras] == [(W, H, ()), (W, H, ())]
    np.testing.assert_allclose(scene.cameras[1].centre, [1, 0, -3])
    assert scene.cameras[1].K[0, 0] == pytest.approx(F * W / (W + 20)) and scene.cameras[1].K[
        0, 2
    ] == pytest.approx(W / 2)
    assert scene.held_out == () and scene.bounds.kind == "box"
    low, high = map(np.array, scene.bounds.aabb)
    assert (low < [-0.3, -0.3, -0.3]).all() and (high > [0.3, 0.3, 0.3]).all()
    assert scene_middle(scene.cameras)[1].min() > 0


def test_one_camera_that_stands_still_needs_a_depth(tmp_path):
    root, only = rig_folder(tmp_path), {"reader": "rig", "width": W, "height": H, "drop": ["c1"]}
    with pytest.raises(SceneError, match="tells no depth .*scene.near and scene.far"):
        read_rig(config(**only), root)
    swept = read_rig(
        config(near=2.0, far=4.0, **only), root
    ).bounds  # it stands 3 m from the origin and looks along z
    assert (swept.aabb[0][2], swept.aabb[1][2], swept.unit) == pytest.approx((-1, 1, 3))
    boxed = read_rig(config(aabb=[[-2.0, -1.0, -0.5], [0.0, 1.0, 1.5]], **only), root).bounds
    assert boxed.aabb == ((-2.0, -1.0, -0.5), (0.0, 1.0, 1.5)) and boxed.unit == pytest.approx(3.5)
    with pytest.raises(SceneError, match="behind the camera"):
        read_rig(config(aabb=[[-2.0, -1.0, -9.0], [0.0, 1.0, -5.0]], **only), root)


def test_prepare_is_resumable_and_undistorts(tmp_path):
    scene = read_rig(config(reader="rig", width=W, height=H, block_frames=2), rig_folder(tmp_path / "rig"))
    store, calls = open_store(tmp_path / "store"), []
    runs = prepare(
        scene, config(reader="rig", block_frames=2), store, lambda done, total: calls.append((done, total))
    )
    assert [(r.view, r.start, r.stop) for r in runs] == [
        (0, 0, 2),
        (0, 2, 3),
        (1, 0, 2),
        (1, 2, 3),
    ] and calls[-1] == (6, 6)
    assert BlockReader(store).rows(runs[2].digest).shape == (2, H, W, 3)
    written = set(store.list("blocks"))
    assert (
        prepare(scene, config(reader="rig", block_frames=2), store) == runs
        and set(store.list("blocks")) == written
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"R": [[1, 0, 0], [0, 1, 0], [0, 0, 2]]}, "no rotation"),
        ({"t": [0, float("nan"), 3]}, "NaN"),
        ({"width": 50}, "declared 50x30"),
        ({"video": "../v0.mp4"}, "not a file in"),
        ({"video": "gone.mp4"}, "missing"),
        ({"video": "v0.mp4"}, "c0, c1 name one video, v0.mp4"),
        ({"distortion": [1, 2]}, "2 numbers"),
        ({"name": "c0"}, "different"),
    ],
)
def test_bad_rigs_are_one_clear_line(changes, words, tmp_path):
    with pytest.raises(SceneError, match=words) as caught:
        read_rig(config(reader="rig"), rig_folder(tmp_path / "rig", **changes))
    assert "\n" not in str(caught.value)


def test_every_shipped_scene_loads_as_configuration():
    from i4d.config import shipped

    names = sorted(p.stem for p in shipped("scenes").glob("*.yaml"))
    assert {"demo", "pose2sim", "coffee_martini", "sear_steak"} <= set(names)
    for name in names:
        c = Config()
        merge(c, {k: v for k, v in scene_config(name).items() if k != "preset"}, name)
        assert c.scene.name == name
    coffee = scene_config("coffee_martini")["scene"]
    assert coffee["drop"] == ["cam13"] and coffee["held_out"] == ["cam00"]


def test_an_unknown_scene_names_the_known_ones():
    with pytest.raises(SceneError, match="coffee_martini"):
        scene_config("cofee")


def test_pose2sim_reads_and_prepares(tmp_path, shared):
    c = Config()
    merge(c, {k: v for k, v in scene_config("pose2sim").items() if k == "scene"}, "pose2sim")
    c.scene.root, c.scene.num_frames = str(shared("pose2sim")), 2
    scene = load_scene(c.scene)
    assert len(scene.cameras) == 4 and {(k.width, k.height) for k in scene.cameras} == {(180, 320)}
    runs = prepare(scene, c.scene, open_store(tmp_path))
    assert len(runs) == 4 and 2 < scene.bounds.unit < 6  # metres
