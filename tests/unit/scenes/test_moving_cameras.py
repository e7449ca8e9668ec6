"""One moving camera: poses and lenses per frame as the files have them, both formats of one capture, every
kind of bad input.
"""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from i4d.config import Config, merge
from i4d.errors import SceneError
from i4d.fields.frames import FrameBank
from i4d.geometry.cameras import camera_rays, project
from i4d.scenes.load import load_scene
from i4d.scenes.moving import Shot, to_pinhole
from i4d.scenes.prepare import scene_to_dict, working_frames
from i4d.scenes.procedural.mono import mono_cameras, write_mono
from i4d.scenes.readers.dycheck import read_dycheck
from i4d.scenes.readers.nerfstudio import OPENCV_FROM_OPENGL, read_nerfstudio
from i4d.scenes.record import scene_from_dict

W, H, FRAMES = 32, 24, 5
pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes):
    c = Config()
    merge(c, {"scene": {"name": "t", "near": 1.0, "far": 9.0, **changes}}, "test")
    return c.scene


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """The demo world seen by one moving camera, 32x24, in DyCheck's layout."""
    root = tmp_path_factory.mktemp("mono") / "scene"
    write_mono(root, W, H, FRAMES)
    return root


def write_transforms(root, capture, lens=None):
    """The moving camera of `capture` as transforms.json; frames listed in another order than they were
    taken.
    """
    moving, _ = mono_cameras(W, H, FRAMES)
    (root / "images").mkdir(parents=True)
    frames = []
    for i in range(FRAMES):
        image = cv2.imread(str(capture / "rgb" / "1x" / f"0_{i:05d}.png"))
        cv2.imwrite(str(root / "images" / f"{FRAMES - i}.png"), image)
        pose = moving.path[i] @ OPENCV_FROM_OPENGL  # its own inverse
        more = lens(i) if lens else {}
        frames.append(
            {
                "file_path": f"images/{FRAMES - i}.png",
                "time": i / 10,
                "transform_matrix": pose.tolist(),
                **more,
            }
        )
    f = moving.K[0, 0]
    tree = {"fl_x": f, "fl_y": f, "cx": W / 2, "cy": H / 2, "w": W, "h": H, "frames": frames[::-1]}
    (root / "transforms.json").write_text(json.dumps(tree))
    return root


def test_both_formats_of_a_capture_give_the_same_scene(tmp_path, capture):
    a = read_dycheck(config(), capture)
    b = read_nerfstudio(config(), write_transforms(tmp_path / "t", capture))
    moving, _ = mono_cameras(W, H, FRAMES)
    for scene in (a, b):
        assert [c.name for c in scene.cameras] == ["cam00"] and scene.num_frames == FRAMES
        np.testing.assert_allclose(scene.cameras[0].path, moving.path, atol=1e-9)
        np.testing.assert_allclose(scene.cameras[0].K, moving.K)
        np.testing.assert_allclose(scene.cameras[0].world_from_camera, moving.path[FRAMES // 2], atol=1e-9)
    assert a.bounds == b.bounds and a.bounds.kind == "box"
    for x, y in zip(working_frames(a, config(), 0), working_frames(b, config(), 0), strict=True):
        assert np.array_equal(x, y)


def test_start_stride_and_size_take_frames_and_poses_together(tmp_path, capture):
    c = config(start=1, stride=2, num_frames=2, width=16)
    scene = read_nerfstudio(c, write_transforms(tmp_path / "t", capture))
    moving, _ = mono_cameras(W, H, FRAMES)
    np.testing.assert_allclose(scene.cameras[0].path, moving.path[[1, 3]], atol=1e-9)
    assert (scene.cameras[0].width, scene.cameras[0].height, scene.cameras[0].K[0, 0]) == (
        16,
        12,
        moving.K[0, 0] / 2,
    )
    assert scene.fps == 15.0
    frames = list(working_frames(scene, c, 0))
    small = cv2.resize(
        cv2.imread(str(capture / "rgb/1x/0_00003.png"))[..., ::-1], (16, 12), interpolation=cv2.INTER_AREA
    )
    assert len(frames) == 2 and np.array_equal(frames[1], small)


def test_exact_depth_of_one_frame_is_found_again_from_another(capture):
    """Poses, depth and time belong together: a point of the still room, unprojected at frame 0, lies on the
    surface at frame 3.
    """
    scene = read_dycheck(config(), capture)
    camera, exact = scene.cameras[0], np.load(capture / "exact" / "cam00.npz")
    origins, directions = camera_rays(camera.at(0))
    points = origins + torch.from_numpy(exact["depth"][0])[..., None] * directions
    xy, z = project(points, camera.at(3))
    x, y = xy[..., 0].floor().long(), xy[..., 1].floor().long()
    seen = (x >= 0) & (x < W) & (y >= 0) & (y < H) & (z > 0) & torch.from_numpy(exact["id"][0] < 6)
    there = torch.from_numpy(exact["depth"][3])[y.clamp(0, H - 1), x.clamp(0, W - 1)]
    near = ((there - z).abs() < 0.06 * z)[seen].float().mean()
    assert seen.float().mean() > 0.5 and near > 0.85  # the rest is hidden there, or lies on an edge
    wrong, _ = project(points, camera.at(2))
    assert (wrong - xy).abs().max() > 1, "the camera does move"


def test_a_still_camera_is_held_out_by_name_and_ndc_centres_the_rig(capture):
    scene = read_dycheck(config(held_out=["cam01"], bounds="ndc"), capture)
    moving, still = scene.cameras
    assert scene.train_views == (0,) and still.path is None and moving.path.shape == (FRAMES, 4, 4)
    assert scene.bounds.kind == "ndc"
    truth, _ = mono_cameras(W, H, FRAMES)
    for frame in range(FRAMES):  # one rigid motion and one scale for both cameras
        between = np.linalg.inv(moving.path[frame]) @ still.world_from_camera
        expected = np.linalg.inv(truth.path[frame]) @ mono_cameras(W, H, FRAMES)[1].world_from_camera
        np.testing.assert_allclose(between[:3, :3], expected[:3, :3], atol=1e-9)
        np.testing.assert_allclose(between[:3, 3] * 1.08, expected[:3, 3], atol=1e-9)


def test_a_run_keeps_the_path(capture):
    scene = read_dycheck(config(), capture)
    again = scene_from_dict(json.loads(json.dumps(scene_to_dict(scene))))
    np.testing.assert_array_equal(again.cameras[0].path, scene.cameras[0].path)
    np.testing.assert_array_equal(again.cameras[0].at(2).world_from_camera, scene.cameras[0].path[2])


def test_lenses_that_change_are_brought_to_one(tmp_path, capture):
    """A mark at a known direction: wherever the lens of a frame puts it, the reader's frames have it where
    the common K does.
    """
    root = tmp_path / "t"
    lens = lambda i: {"fl_x": 30.0 + i, "fl_y": 30.0 + i, "k1": -0.02 * i}
    write_transforms(root, capture, lens)
    directions = np.array([0.2, -0.15, 1.0])
    for i in range(FRAMES):
        K = np.array(
            [[30.0 + i, 0, W / 2 - 0.5], [0, 30.0 + i, H / 2 - 0.5], [0, 0, 1]]
        )  # OpenCV: centres at integers
        where, _ = cv2.projectPoints(
            directions[None], np.zeros(3), np.zeros(3), K, np.array([-0.02 * i, 0, 0, 0])
        )
        x, y = where.ravel()
        ys, xs = np.mgrid[:H, :W]
        spot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 4)
        cv2.imwrite(
            str(root / "images" / f"{FRAMES - i}.png"), (255 * spot[..., None].repeat(3, -1)).astype(np.uint8)
        )
    scene = read_nerfstudio(config(), root)
    assert scene.cameras[0].K[0, 0] == 32.0 and not scene.source_cameras[0].distortion
    for frame in working_frames(scene, config(), 0):
        weight = frame[..., 0].astype(float)
        ys, xs = np.mgrid[:H, :W] + 0.5
        found = np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()
        np.testing.assert_allclose(found, 32 * directions[:2] + [W / 2, H / 2], atol=0.15)


def test_the_common_pinhole_of_an_equal_lens_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    K = np.array([[30.0, 0, 15], [0, 31, 12], [0, 0, 1]])
    assert np.array_equal(to_pinhole(image, Shot(None, K, (), np.eye(4)), K), image)


def test_depth_images_settle_how_far_the_scene_reaches(tmp_path, capture):
    root = write_transforms(tmp_path / "t", capture)
    tree = json.loads((root / "transforms.json").read_text())
    for i, frame in enumerate(tree["frames"]):
        depth = np.linspace(2000, 5000, W * H).reshape(H, W).astype(np.uint16)
        cv2.imwrite(str(root / f"d{i}.png"), depth)
        frame["depth_file_path"] = f"d{i}.png"
    (root / "transforms.json").write_text(json.dumps(tree))
    bounds = read_nerfstudio(config(near=0.0, far=0.0), root).bounds
    assert bounds.near == pytest.approx(0.9 * 2.015, abs=0.01) and bounds.far == pytest.approx(
        1.1 * 4.985, abs=0.01
    )


def test_training_rays_come_from_where_the_camera_stands(capture):
    scene = read_dycheck(config(), capture)
    camera, frames = scene.cameras[0], np.stack(list(working_frames(scene, config(), 0)))
    bank = FrameBank(scene.cameras, scene.train_views, FRAMES)
    bank.put(0, 0, frames)
    for frame in (0, 3):
        batch = bank.draw(frame, 64, torch.Generator().manual_seed(0), motion_share=0.25)
        origins, directions = camera_rays(camera.at(frame))
        torch.testing.assert_close(batch.origins, origins[0, :1].expand(64, -1).contiguous())
        xy, _ = project(batch.origins + batch.directions, camera.at(frame))
        x, y = xy[:, 0].long(), xy[:, 1].long()
        torch.testing.assert_close(batch.directions, directions[y, x], atol=1e-5, rtol=0)
        assert np.array_equal((batch.rgb.numpy() * 255).round().astype(np.uint8), frames[frame][y, x])


def broken(change):
    def make(root, capture):
        write_transforms(root, capture)
        tree = json.loads((root / "transforms.json").read_text())
        change(tree)
        (root / "transforms.json").write_text(json.dumps(tree))

    return make


@pytest.mark.parametrize(
    "make, says",
    [
        (broken(lambda t: t["frames"][0].pop("time")), "1 of 5 frames have no time"),
        (broken(lambda t: t["frames"][0].update(time=0.0)), "frames share times"),
        (broken(lambda t: t["frames"][2].pop("transform_matrix")), "images/3.png has no transform_matrix"),
        (
            broken(lambda t: t["frames"][2].update(transform_matrix=np.diag([2.0, 2, 2, 1]).tolist())),
            "no rotation",
        ),
        (broken(lambda t: t["frames"][1].update(file_path="../x.png")), "is not a file in"),
        (broken(lambda t: t["frames"][1].update(file_path="images/none.png")), "none.png: missing"),
        (broken(lambda t: t.update(camera_model="FOV")), "lens FOV"),
        (broken(lambda t: [t.pop("fl_x")]), "no usable lens"),
        (broken(lambda t: t.update(frames=[])), "expected a list of frames"),
    ],
)
def test_bad_transforms_are_named(tmp_path, capture, make, says):
    make(tmp_path / "t", capture)
    with pytest.raises(SceneError, match=says):
        read_nerfstudio(config(), tmp_path / "t")


def test_bad_dycheck_folders_are_named(tmp_path, capture):
    with pytest.raises(SceneError, match="dataset.json: missing"):
        read_dycheck(config(), tmp_path)
    with pytest.raises(SceneError, match="no camera cam07"):
        read_dycheck(config(held_out=["cam07"]), capture)
    with pytest.raises(SceneError, match="every camera is held out"):
        read_dycheck(config(held_out=["cam00"]), capture)


def test_instants_that_a_validation_camera_lacks_are_missing_there(tmp_path, capture):
    root = shutil.copytree(capture, tmp_path / "scene")
    dataset = json.loads((root / "dataset.json").read_text())
    dataset["val_ids"].remove("1_00002")
    (root / "dataset.json").write_text(json.dumps(dataset))
    scene = read_dycheck(config(held_out=["cam01"]), root)
    assert scene.num_frames == FRAMES and scene.missing == ((1, 2, 3),)
    assert any("cam01: 1 of 5 frames missing (2)" in note for note in scene.notes)
    (root / "extra.json").write_text('{"fps": [1]}')
    with pytest.raises(SceneError, match="cannot be"):
        read_dycheck(config(), root)


def test_the_demo_makes_itself_and_measures_on_the_still_camera(tmp_path):
    c = Config()
    merge(
        c,
        {
            "scene": {
                "name": "m",
                "reader": "demo_mono",
                "width": 24,
                "height": 18,
                "num_frames": 3,
                "held_out": ["cam01"],
            }
        },
        "t",
    )
    scene = load_scene(c.scene, str(tmp_path))
    assert (scene.num_frames, scene.held_out_views, scene.fps) == (3, (1,), 12.0) and scene.exact
    assert load_scene(c.scene, str(tmp_path)).num_frames == 3
