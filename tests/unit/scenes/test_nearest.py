"""Nearest depth from pictures: right on walls whose depth is known, told, and of trained cameras only."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from i4d.commands.start_from import TrainedField
from i4d.config import Config, SceneConfig
from i4d.errors import SceneError
from i4d.scenes import nearest, space_trial
from i4d.scenes.bounds import around_spaces, forward_spaces, ndc_bounds
from i4d.scenes.nearest import FEWEST_POINTS, matched_reach, settle_reach
from i4d.scenes.prepare import scene_to_dict
from i4d.scenes.record import scene_from_dict
from i4d.scenes.space_trial import settle_space
from i4d.types import Camera, Scene

NEAR, FAR = 2.0, 5.0  # two walls: the near one fills the lower left of what the rig looks at
WIDTH, HEIGHT = 160, 120
K = np.array([[150.0, 0, WIDTH / 2], [0, 150.0, HEIGHT / 2], [0, 0, 1]])


def elsewhere():
    """Return a rigid transform (4, 4) that is nothing in particular."""
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn * np.linalg.det(turn), (4.0, -2.0, 9.0)
    return pose


def arc(world_from_rig=None, count=7):
    """Return cameras side by side, each turned a little towards the middle."""
    cameras = []
    for i, x in enumerate(np.linspace(-0.45, 0.45, count)):
        angle, pose = -x / 4, np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = x, 0.1 * (-1) ** i, 0
        pose = pose if world_from_rig is None else world_from_rig @ pose
        cameras.append(Camera(f"cam{i:02d}", WIDTH, HEIGHT, K, pose))
    return tuple(cameras)


def picture(camera, scale=1.0):
    """Return what a camera of the rig, where it first stood, sees of the two walls."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ camera.world_from_camera[:3, :3].T
    shown = []
    for seed, z in ((0, scale * NEAR), (1, scale * FAR)):
        noise = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        points = camera.centre + rays * ((z - camera.centre[2]) / rays[..., 2])[..., None]
        at = (points[..., :2] * 20 / scale + 128).astype(np.float32)
        shown.append(cv2.remap(noise, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP))
        if z == scale * NEAR:
            covers = (points[..., 0] < 0) & (points[..., 1] > 0)
    return np.where(covers[..., None], *shown)


class Still:
    """Pictures of one instant; some are refused, to show that nobody asks for them."""

    def __init__(self, pictures, refused=()):
        self.pictures, self.refused = pictures, refused

    def read(self, camera, start, stop, stride=1, size=None):
        assert camera not in self.refused, "held out"
        return iter([self.pictures[camera]])


def rig_scene(cameras=None, held_out=("cam03",), pictures=None):
    """Return the walls as the rig reader gives a scene: in a box, in a world that is not the rig's."""
    cameras = cameras or arc(elsewhere())
    seen = pictures or {c.name: picture(c) for c in arc()}
    spaces = around_spaces(cameras, 0.0, 0.0)
    source = Still(seen, held_out)
    return Scene("walls", cameras, 1, 1.0, spaces[0], held_out, source, cameras, spaces=spaces)


def rig_config(**scene):
    config = Config()
    config.scene = SceneConfig(**{"name": "walls", "reader": "rig", "held_out": ["cam03"]} | scene)
    return config


def test_depths_of_two_walls_are_found_wherever_the_rig_stands():
    pictures = [picture(c) for c in arc()]
    found = [matched_reach(cameras, pictures) for cameras in (arc(), arc(elsewhere()))]
    for reach in found:
        assert abs(reach.nearest / NEAR - 1) < 0.1 and abs(reach.farthest / FAR - 1) < 0.1
        assert reach.points > 4 * FEWEST_POINTS
        assert 0.6 * NEAR < reach.near < NEAR and reach.far > FAR
    assert (found[0].near, found[0].far) == (found[1].near, found[1].far)
    assert matched_reach(arc(), pictures) == found[0], "the same every time"


def test_a_rig_is_offered_ndc_that_its_trained_cameras_tell(monkeypatch):
    monkeypatch.setattr(space_trial, "STEPS", 60)
    config, scene = rig_config(), rig_scene()
    settled = settle_space(scene, config)
    told = next(n for n in settled.notes if n.startswith("nearest depth: "))
    assert "ndc begins at 1." in told and "points that the trained cameras match" in told
    assert "ndc " in settled.notes[-1] and "box " in settled.notes[-1], "both were tried"
    ndc = settle_reach(scene, rig_config().scene, *trained(scene), True).spaces[0]
    assert ndc.kind == "ndc" and ndc.unit == ndc.near and len(ndc.rig_from_world) == 3
    record = scene_from_dict(scene_to_dict(replace(scene, bounds=ndc)))
    assert record.bounds == ndc
    assert "rig_from_world" not in scene_to_dict(scene)["bounds"]


def trained(scene):
    """Return the trained cameras and a function that gives their pictures."""
    cameras = [scene.cameras[v] for v in scene.train_views]
    return cameras, lambda: [scene.source.pictures[c.name] for c in cameras]


def test_ndc_by_hand_is_what_a_run_begins_again_with():
    config = rig_config(bounds="ndc")
    settled = settle_space(rig_scene(), config)
    assert settled.bounds.kind == "ndc" and config.scene.near == settled.bounds.near
    assert config.scene.far == settled.bounds.far
    other = rig_config()
    tree = settled.bounds
    TrainedField(b"", "vector_matrix", 1, "ndc", "off", tree.near, tree.far).settle(other)
    assert (other.scene.bounds, other.scene.near, other.scene.far) == ("ndc", tree.near, tree.far)


def test_pictures_that_tell_nothing_leave_the_box_and_say_so():
    grey = {c.name: np.full((HEIGHT, WIDTH, 3), 90, np.uint8) for c in arc()}
    scene = rig_scene(pictures=grey)
    settled = settle_space(scene, rig_config())
    assert settled.bounds == scene.spaces[0] and settled.bounds.kind == "box"
    assert settled.notes[-1].startswith("nearest depth: not told, the trained cameras match 0 points only")
    with pytest.raises(SceneError, match="needs a nearest depth"):
        settle_space(rig_scene(pictures=grey), rig_config(bounds="ndc"))


def test_few_cameras_a_box_by_hand_and_depths_by_hand_ask_no_pictures():
    def none():
        raise AssertionError("nobody asked for pictures")

    scene = rig_scene()
    cameras, _ = trained(scene)
    assert settle_reach(scene, rig_config().scene, cameras, none, False) is scene
    box = rig_config(aabb=[[-1, -1, -1], [1, 1, 1]])
    assert settle_reach(scene, box.scene, cameras, none, True) is scene
    assert settle_reach(scene, rig_config(bounds="box").scene, cameras, none, True) is scene
    given = settle_reach(scene, rig_config(near=1.5).scene, cameras, none, True)
    assert given.spaces[0].near == 1.5 and given.spaces[0].far == 30.0 and given.notes == scene.notes


@pytest.mark.parametrize(("scale", "wrong"), [(1.0, False), (0.4, True)])
def test_a_file_whose_nearest_depth_lies_behind_the_things_is_put_right(scale, wrong):
    """As N3DV scenes are read: near plane 1, walls from 2 on, or from 0.8 on."""
    cameras = tuple(replace(c, world_from_camera=scaled(c.world_from_camera, scale)) for c in arc())
    there = {c.name: picture(c, scale) for c in cameras}
    spaces = forward_spaces(cameras, 1.0, 6.0)
    scene = Scene("walls", cameras, 1, 1.0, spaces[0], (), Still(there), cameras, spaces=spaces)
    config = rig_config(reader="n3dv", held_out=[]).scene
    settled = settle_reach(scene, config, *trained(scene), True)
    if not wrong:
        assert settled is scene and config.near == 0.0
        return
    assert settled.spaces == forward_spaces(cameras, config.near, 6.0) and settled.bounds is settled.spaces[0]
    assert 0.6 * 0.8 < config.near < 0.8 and settled.bounds == ndc_bounds(cameras, config.near, 6.0)
    assert settled.notes[-1].startswith("nearest depth: the file's is 1, but the trained cameras match ")


def scaled(pose, by):
    out = pose.copy()
    out[:3, 3] *= by
    return out


def test_a_few_wrong_matches_do_not_count(monkeypatch):
    """A twentieth of the matches are of something else: the agreement of several cameras keeps them out."""
    plain, random = nearest.mutual, np.random.default_rng(0)

    def worse(a, b):
        in_a, in_b = plain(a, b)
        mixed = random.random(len(in_b)) < 0.05
        in_b = in_b.copy()
        in_b[mixed] = random.permutation(in_b[mixed])
        return in_a, in_b

    pictures = [picture(c) for c in arc()]
    good = matched_reach(arc(), pictures)
    monkeypatch.setattr(nearest, "mutual", worse)
    bad = matched_reach(arc(), pictures)
    assert bad.points != good.points and abs(bad.nearest / good.nearest - 1) < 0.02
