"""Cameras that were calibrated a little wrong are corrected along with the fit; right ones stay."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from test_field_fit import BOUNDS, TINY, scene_bank
from test_field_fit import FRAMES as WALL_FRAMES
from test_field_fit import cameras as wall_cameras

from i4d.errors import FitError
from i4d.fields.frames import FrameBank
from i4d.fields.protocol import FieldImage
from i4d.fields.vector_matrix import camera_refinement
from i4d.fields.vector_matrix.camera_refinement import Compared, aligned, compared, spread_of, with_slopes
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.fields.workers import Workers
from i4d.geometry.cameras import camera_rays, project
from i4d.geometry.corrections import corrected, image_points, without_common
from i4d.metrics.image import psnr
from i4d.scenes.procedural.demo import frame_time
from i4d.scenes.procedural.render import exact, render
from i4d.scenes.procedural.rigs import rig_cameras, rig_world
from i4d.types import Bounds, Camera

WIDTH, HEIGHT, FRAMES, STEPS = 96, 72, 3, 400
TRAINED = tuple(range(1, 8))
ROOM = Bounds("box", ((-4.6, -2.5, -0.6), (4.6, 2.5, 8.9)), 0.3, 12.0, 4.0)
SMALL = replace(
    TINY, grid_start=30_000, grid_end=200_000, growth_at=[0.2, 0.4], rays=384, cameras="refined", samples=32
)


def off(rig, seed=0):
    """Return a rig whose trained cameras are turned by 0.3 degrees and have 1 % more or less focal length,
    and the corrections that this takes.
    """
    random, wrong, moves = np.random.default_rng(seed), list(rig), []
    for i, view in enumerate(TRAINED):
        axis = random.normal(size=3)
        turn = np.radians(0.3) * axis / np.linalg.norm(axis)
        moves.append([*turn, 0, 0, 0, 0.01 * (-1) ** i])
        wrong[view] = corrected(rig[view], torch.tensor(moves[-1]))
    return tuple(wrong), torch.tensor(moves)


class Room:
    """A procedural world as a field without error: what it shows is what cameras record."""

    def __init__(self, seed=1):
        self.rig = rig_cameras("narrow", WIDTH, HEIGHT, 8, seed)
        self.worlds = [rig_world(seed, torch.tensor([frame_time(f, FRAMES)])) for f in range(FRAMES)]

    def image(self, camera, frame):
        K = torch.tensor(camera.K[None]).float()
        pose = torch.tensor(camera.world_from_camera[None]).float()
        seen = self.worlds[frame], K, pose, camera.width, camera.height
        rgb, depth = render(*seen)[0, 0], exact(*seen).depth[0]
        return FieldImage(rgb, depth, torch.ones_like(depth))

    def exposed(self, rgb, view):
        return rgb

    def bank(self, cameras):
        bank = FrameBank(cameras, TRAINED, FRAMES)
        for view in TRAINED:
            rows = [self.image(self.rig[view], f).rgb.mul(255).round().byte().numpy() for f in range(FRAMES)]
            bank.put(view, 0, np.stack(rows))
        return bank


@pytest.fixture(scope="module")
def room():
    return Room()


@pytest.fixture(scope="module")
def footage(room):
    return room.bank(room.rig)


def on(bank, cameras):
    """Return the pictures of a bank under other cameras."""
    other = FrameBank(cameras, TRAINED, FRAMES)
    for view in TRAINED:
        other.put(view, 0, np.stack([bank.picture(view, f) for f in range(FRAMES)]))
    return other


def test_projection_and_its_derivatives_are_those_of_a_corrected_camera():
    generator = torch.Generator().manual_seed(0)
    camera = rig_cameras("wide", WIDTH, HEIGHT, 5, 3)[2]
    camera = replace(camera, K=camera.K + np.array([[0, 0.4, 3.0], [0, 2.0, -2.0], [0, 0, 0]]))
    points = torch.rand(50, 3, generator=generator, dtype=torch.float64) * 2 + torch.tensor([-1.0, -1.0, 2.0])
    correction = torch.tensor([0.004, -0.006, 0.003, 0.02, -0.01, 0.03, 0.01], dtype=torch.float64)
    where, slopes = image_points(points, torch.tensor(camera.K), correction)
    pose = torch.tensor(camera.world_from_camera)
    world = points @ pose[:3, :3].T + pose[:3, 3]
    moved = corrected(camera, correction)
    assert np.allclose(
        np.linalg.inv(camera.world_from_camera)[:3, :3] @ moved.world_from_camera[:3, :3],
        Rotation.from_rotvec(correction[:3].numpy()).as_matrix(),
    )
    torch.testing.assert_close(project(world.float(), moved)[0].double(), where, atol=1e-3, rtol=1e-5)
    for i, step in enumerate(1e-5 * torch.eye(7, dtype=torch.float64)):
        ahead, behind = (
            image_points(points, torch.tensor(camera.K), correction + s)[0] for s in (step, -step)
        )
        torch.testing.assert_close(slopes[..., i], (ahead - behind) / 2e-5, atol=1e-2, rtol=1e-3)


def test_colour_derivatives_follow_smooth_pictures():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wave = 0.5 + 0.3 * np.sin(x[..., None] / 9 + [0, 1, 2]) * np.cos(y[..., None] / 7)
    maps = [with_slopes((wave * 255).round().astype(np.uint8), 2.0, torch.device("cpu"))]
    camera = rig_cameras("narrow", WIDTH, HEIGHT, 3, 0)[0]
    _, directions = camera_rays(replace(camera, world_from_camera=np.eye(4)))
    points = (3.0 * directions[20:50, 20:70]).reshape(-1, 3).double()
    seen = Compared(points, torch.zeros(len(points), 3), (len(points),))
    K, none = torch.tensor(camera.K), torch.zeros(7, dtype=torch.float64)
    _, slopes, there = compared(seen, maps, K, none)
    assert there.all()
    for i, step in enumerate(torch.diag(torch.tensor([6e-3] * 2 + [2e-2] * 4 + [1e-2], dtype=torch.float64))):
        ahead, behind = (compared(seen, maps, K, s)[0] for s in (step, -step))
        change, told = (ahead - behind) / (2 * step[i]), slopes[..., i]
        assert (change - told).norm() < 0.1 * told.norm(), i


def test_what_all_cameras_have_in_common_is_removed_and_nothing_else(room):
    rig = [room.rig[v] for v in TRAINED]
    spread, generator = spread_of(4.0), torch.Generator().manual_seed(1)
    whole = torch.zeros(len(rig), 7, dtype=torch.float64)
    turn, shift, scale = np.array([0.001, -0.002, 0.003]), np.array([0.01, 0.02, -0.01]), 1.004
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
    for row, camera in zip(whole, rig, strict=True):
        pose = world @ camera.world_from_camera
        pose[:3, 3] *= scale
        move = np.linalg.inv(camera.world_from_camera) @ pose
        row[:3] = torch.tensor(Rotation.from_matrix(move[:3, :3]).as_rotvec())
        row[3:6], row[6] = torch.tensor(move[:3, 3]), 0.01
    assert (without_common(whole, rig, spread) / spread).abs().max() < 0.01
    own = torch.randn(len(rig), 7, generator=generator, dtype=torch.float64) * spread
    kept = without_common(own, rig, spread)
    torch.testing.assert_close(without_common(kept, rig, spread), kept)
    torch.testing.assert_close(without_common(own + whole, rig, spread), kept, atol=2e-5, rtol=0)
    assert (kept**2 / spread**2).sum() > 0.5 * (own**2 / spread**2).sum()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_camera_is_found_in_a_scene_that_is_known(room, footage, seed):
    wrong, moves = off(room.rig, seed)
    bank = on(footage, wrong)
    found = torch.zeros(len(TRAINED), 7)
    for _ in range(3):
        found = camera_refinement.align_cameras(room, bank, found)
    rig = [room.rig[v] for v in TRAINED]
    left = without_common(moves.double() + found.double(), rig, spread_of(4.0))
    before = without_common(moves.double(), rig, spread_of(4.0))
    size = lambda m: torch.stack([m[:, :3].norm(dim=1), m[:, 6].abs()])
    assert (size(left).mean(1) < 0.5 * size(before).mean(1)).all(), (size(left), size(before))
    still = camera_refinement.align_cameras(room, footage, torch.zeros(len(TRAINED), 7))
    assert (still / spread_of(4.0)).abs().max() < 0.2


def test_what_cannot_be_aligned_stays(room, footage):
    camera, start = room.rig[1], torch.full((7,), 1e-3, dtype=torch.float64)
    nothing = Compared(torch.zeros(0, 3), torch.zeros(0, 3), (0,))
    assert torch.equal(aligned(nothing, camera, [footage.picture(1, 0)], start, spread_of(4.0)), start)


def fitted(bank, config):
    # one worker: how gradients are summed, and with it every bit, must not depend on the machine's cores
    space = space_for(ROOM, tuple(bank.given.values()))
    fitter = Fitter(config, space, FRAMES, 0, workers=Workers(1), views=TRAINED)
    fitter.begin("fit", STEPS)
    fitter.advance(bank, STEPS)
    return fitter


def held_out(room, fitter):
    each = [psnr(fitter.image(room.rig[0], f).rgb, room.image(room.rig[0], f).rgb) for f in range(FRAMES)]
    return float(np.mean(each))


def test_wrong_cameras_are_corrected_in_a_fit_and_right_ones_lose_little(room, footage):
    wrong, moves = off(room.rig)
    fixed = replace(SMALL, cameras="fixed")
    found = {}
    for name, cameras in (("right", room.rig), ("wrong", wrong)):
        for config in (fixed, SMALL):
            fitter = fitted(on(footage, cameras), config)
            found[name, config.cameras] = held_out(room, fitter)
    rig = [room.rig[v] for v in TRAINED]
    told = fitter.field.tensors["camera_corrections"].double()
    left, before = (without_common(m, rig, spread_of(4.0)) for m in (moves.double() + told, moves.double()))
    points = [room.image(camera, 0).depth_z for camera in rig]

    def pixels(rows):  # how far points are off in the pictures, camera by camera, beyond what is in common
        out = []
        for depth, camera, row in zip(points, rig, rows, strict=True):
            K = torch.tensor(camera.K)
            seen = (depth[..., None] * camera_rays(replace(camera, world_from_camera=np.eye(4)))[1]).double()
            seen = seen.reshape(-1, 3)
            out.append((image_points(seen, K, row)[0] - image_points(seen, K, row * 0)[0]).norm(dim=1).mean())
        return torch.stack(out)

    now, then = pixels(left), pixels(before)
    assert now.mean() < 0.5 * then.mean() and (now < 0.75 * then).all(), (now, then)
    assert found["wrong", "refined"] > found["wrong", "fixed"] + 1, found
    assert found["right", "refined"] > found["right", "fixed"] - 0.5, found  # fits this small vary by 0.3 dB


WALL = replace(TINY, cameras="refined")


def wall_fitter(config=WALL, views=(0, 1, 2, 3)):
    return Fitter(config, space_for(BOUNDS, wall_cameras()), WALL_FRAMES, 0, views=views)


@pytest.mark.parametrize("stop", [16, 17])  # an alignment is due before step 16 of 40
def test_a_fit_that_was_cut_goes_on_with_the_same_cameras(stop):
    whole, first, second = wall_fitter(), wall_fitter(), wall_fitter()
    assert camera_refinement.due(16, 40) and not camera_refinement.due(17, 40)
    for one in (whole, first):
        one.begin("fit", 40)
    whole.advance(scene_bank(), 40)
    first.advance(scene_bank(), stop)
    second.load(first.save())
    second.advance(scene_bank(), 40 - stop)
    assert whole.field.tensors["camera_corrections"].abs().max() > 0
    for name, tensor in whole.field.tensors.items():
        assert torch.equal(tensor, second.field.tensors[name]), name


def test_refits_keep_cameras_and_rays_start_from_them():
    one, bank = wall_fitter(), scene_bank()
    one.begin("fit", 20)
    one.advance(bank, 20)
    told = one.field.tensors["camera_corrections"].clone()
    again, fresh = wall_fitter(replace(WALL, cameras="fixed")), scene_bank()
    again.load(one.save())
    again.begin("refit", 20)
    again.advance(fresh, 20)
    assert torch.equal(again.field.tensors["camera_corrections"], told)
    lenses = fresh.lenses(torch.device("cpu"))
    for at, view in enumerate(fresh.views):
        camera = again.corrected(wall_cameras()[view], view)
        np.testing.assert_allclose(lenses.poses[at], camera.world_from_camera, atol=1e-6)
        np.testing.assert_allclose(lenses.K[at], camera.K, atol=1e-4)
        half = again.corrected(wall_cameras()[view].resized(16, 12), view)
        np.testing.assert_allclose(half.K[0, 0] * 2, camera.K[0, 0])
        assert not np.array_equal(camera.K, wall_cameras()[view].K)


def test_lenses_made_before_are_corrected_where_they_lie():
    bank = scene_bank()
    before = bank.lenses(torch.device("cpu"))
    pointer = before.poses.data_ptr()
    rows = torch.zeros(4, 7)
    rows[2] = torch.tensor([0.01, 0, 0, 0, 0.1, 0, 0.05])
    bank.correct(rows)
    after = bank.lenses(torch.device("cpu"))
    assert after is before and after.poses.data_ptr() == pointer
    want = corrected(wall_cameras()[2], rows[2])
    np.testing.assert_allclose(after.poses[2], want.world_from_camera, atol=1e-6)
    bank.correct(rows * 0)
    np.testing.assert_allclose(after.poses[2], wall_cameras()[2].world_from_camera, atol=1e-7)
    assert float(after.K[2, 0, 0]) == pytest.approx(wall_cameras()[2].K[0, 0])


def test_a_moving_camera_has_one_correction_for_its_path():
    path = np.stack([np.eye(4)] * 3)
    path[1, 0, 3], path[2, 1, 3] = 1.0, 2.0
    camera = Camera("m", 8, 6, np.diag([9.0, 9.0, 1.0]), path[1], path=path)
    row = torch.tensor([0, 0, 0, 0.1, 0, 0, 0.01])
    moved = corrected(camera, row)
    for frame in range(3):
        one = corrected(camera.at(frame), row)
        np.testing.assert_allclose(moved.at(frame).world_from_camera, one.world_from_camera)
        np.testing.assert_allclose(moved.at(frame).K, one.K)


def test_what_cannot_be_is_said():
    plain = wall_fitter(replace(WALL, cameras="fixed"))
    one = wall_fitter()
    one.load(plain.save())
    with pytest.raises(FitError, match="the field was made without"):
        one.begin("fit", 4)
    with pytest.raises(FitError, match="no others to agree with"):
        wall_fitter(views=(2,)).begin("fit", 4)
    other = wall_fitter(views=(0, 1, 2))
    other.begin("fit", 4)
    with pytest.raises(FitError, match=r"corrected cameras of views \(0, 1, 2\)"):
        other.advance(scene_bank(), 1)
