"""Figures of a running fit: from the very pixels, of the nearest cameras, and telling wrong poses from right
ones.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from i4d.config import Config, SceneConfig
from i4d.driver.watching import verdicts
from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.geometry.cameras import camera_rays, grid_step, on_grid
from i4d.scenes.load import load_scene
from i4d.scenes.prepare import working_frames
from i4d.scenes.procedural.rigs import rig_cameras, write_rig
from i4d.scenes.space_trial import FIELD, settle_space
from i4d.services.watch import MOST_PIXELS, agreement, chosen, figures_of, sampled
from i4d.types import Bounds

STEPS, LOOKS = 320, 8


def test_the_grid_sees_pixels_as_they_are():
    camera = rig_cameras("wide", 161, 122, 3, 0)[1]
    step = grid_step(camera, MOST_PIXELS)
    small = on_grid(camera, step)
    assert step % 2 == 1 and small.width * small.height <= MOST_PIXELS < camera.width * camera.height
    _, whole = camera_rays(camera)
    _, few = camera_rays(small)
    torch.testing.assert_close(
        few, whole[step // 2 :: step, step // 2 :: step][: small.height, : small.width]
    )
    picture = np.random.default_rng(0).integers(0, 256, (122, 161, 3), dtype=np.uint8)
    assert float(sampled(picture, step, small)[2, 3, 1] * 255) == pytest.approx(
        float(picture[2 * step + step // 2, 3 * step + step // 2, 1])
    )


def test_nearest_cameras_are_looked_at():
    cameras = rig_cameras("wide", 64, 48, 9, 0)
    view, near = chosen(cameras, range(1, 9), (0,))
    assert view == 0 and set(near) == {4, 5}
    view, near = chosen(cameras, range(1, 9), ())
    assert view is None and len(near) == 2 and near[0] in (4, 5)
    assert chosen(cameras, (3,), ()) == (None, [3])


def test_exact_depths_agree_and_others_do_not(tmp_path):
    write_rig(tmp_path / "rig", "narrow", 1, 64, 48, 1, 4)
    cameras = rig_cameras("narrow", 64, 48, 4, 1)[1:3]
    depths = [
        torch.from_numpy(np.load(tmp_path / "rig" / "exact" / f"{c.name}.npz")["depth"][0]) for c in cameras
    ]
    assert agreement(depths, cameras) > 0.85
    assert agreement([depths[0], depths[1] * 1.3], cameras) < 0.1
    assert np.isnan(agreement(depths[:1], cameras[:1]))


def looks(root, degrees, bounds=None):
    """Return what a watch sees of a small fit whose trained cameras are turned by so many degrees."""
    config = SceneConfig(name=root.name, reader="n3dv", root=str(root))
    scene = settle_space(load_scene(config), Config(scene=config))
    cameras, random = list(scene.cameras), np.random.default_rng(0)
    for v in range(1, len(cameras)):
        pose, axis = cameras[v].world_from_camera.copy(), random.normal(size=3)
        pose[:3, :3] @= cv2.Rodrigues(axis / np.linalg.norm(axis) * np.radians(degrees))[0]
        cameras[v] = replace(cameras[v], world_from_camera=pose)
    pictures = {v: next(working_frames(scene, config, v, 0)) for v in range(len(cameras))}
    trained = tuple(range(1, len(cameras)))
    bank = FrameBank(cameras, trained, 1)
    for v in trained:
        bank.put(v, 0, pictures[v][None])
    fitter = Fitter(FIELD, space_for(bounds or scene.bounds, cameras), 1, 0, views=trained)
    fitter.begin("fit", STEPS)
    seen = []
    for _ in range(LOOKS):
        fitter.advance(bank, STEPS // LOOKS)
        known = {v: pictures[v] for v in trained}
        seen.append((fitter.step, figures_of(fitter, cameras, known, (0,), pictures.__getitem__, 0)))
    return seen


def test_a_fit_on_wrong_poses_is_told_and_one_on_right_poses_is_not(tmp_path):
    write_rig(tmp_path / "wide", "wide", 2, 96, 72, 1, 9)
    right = looks(tmp_path / "wide", 0)
    wrong = looks(tmp_path / "wide", 10)
    every_prefix = [verdicts(right[:n], STEPS) for n in range(1, LOOKS + 1)]
    assert every_prefix == [{}] * LOOKS
    assert right[-1][1].depth_agreement > 0.6 and right[-1][1].held_out_psnr_db > 25
    assert set(verdicts(wrong, STEPS)) == {"memorised", "depth"}
    small = Bounds("box", ((-1.0, -1.0, 3.0), (1.0, 1.0, 4.0)), 0.5, 8.0)
    assert set(verdicts(looks(tmp_path / "wide", 0, small), STEPS)) == {"outside"}
