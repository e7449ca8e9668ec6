"""Laws of the spaces: straight rays in NDC, round trips, depth along the optical axis, lengths."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from i4d.errors import FitError
from i4d.fields.vector_matrix.spaces import (
    SHELL,
    BoxSpace,
    ContractedSpace,
    contract,
    extents,
    space_for,
    space_from_dict,
    space_to_dict,
    uncontract,
)
from i4d.geometry.cameras import camera_rays, project
from i4d.scenes.bounds import rig_ndc_bounds
from i4d.types import Bounds, Camera

NDC_BOX = ((-1.5, -1.67, -1.0), (1.5, 1.67, 1.0))


def camera(x=0.0, y=0.0, z=0.0, yaw=0.0, cx=33.0, cy=21.0, skew=0.0):
    K = np.array([[70.0, skew, cx], [0, 64.0, cy], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    pose[:3, 3] = x, y, z
    return Camera("c", 60, 40, K, pose)


def flat_rays(cam):
    return tuple(t.reshape(-1, 3).double() for t in camera_rays(cam))


def ndc_space(cam, far=50.0):
    return space_for(Bounds("ndc", NDC_BOX, near=1.0, far=far), [cam])


def test_ndc_of_the_reference_camera_is_its_image():
    cam = camera(skew=1.5)
    points = torch.rand(200, 3, dtype=torch.float64) * torch.tensor([4.0, 4.0, 8.0]) + torch.tensor(
        [-2.0, -2.0, 1.0]
    )
    ndc = ndc_space(cam).from_world(points)
    xy, z = project(points.float(), cam)
    torch.testing.assert_close(ndc[:, 0].float(), 2 * xy[:, 0] / cam.width - 1, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ndc[:, 1].float(), 2 * xy[:, 1] / cam.height - 1, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ndc[:, 2].float(), 1 - 2 / z, rtol=1e-4, atol=1e-4)


def test_ndc_agrees_with_the_public_loaders_depth():
    space = ndc_space(camera())
    w = torch.linspace(-1, 0.9, 7, dtype=torch.float64)
    ndc = torch.stack([torch.zeros_like(w), torch.zeros_like(w), w], -1)
    torch.testing.assert_close(space.to_world(ndc)[:, 2], -2 / (w - 1))  # OpenGL's z is minus ours


def test_ndc_round_trip():
    space = ndc_space(camera(skew=2.0))
    points = torch.rand(100, 3, dtype=torch.float64) + torch.tensor([0.0, -0.5, 1.2])
    torch.testing.assert_close(space.to_world(space.from_world(points)), points)


@pytest.mark.parametrize(
    "cam", [camera(), camera(0.4, -0.2, 0.3, 0.15), camera(-0.6, 0.1, -0.5, -0.2, cx=25.0)]
)
def test_points_of_the_march_lie_on_the_world_ray_at_their_depth(cam):
    space = ndc_space(camera())
    origins, directions = flat_rays(cam)
    march = space.march(origins, directions)
    t = torch.rand(len(origins), 5, dtype=torch.float64) * 0.95
    ndc = space.locate(march, t) * torch.tensor([1.5, 1.67, 1.0])
    world = origins[:, None] + space.depth_z(march, t)[..., None] * directions[:, None]
    inside = march.valid & (space.depth_z(march, t).amax(-1) < 45)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(space.to_world(ndc)[inside], world[inside], rtol=1e-5, atol=1e-5)


def test_ndc_march_stays_in_the_box_and_in_front_of_the_camera():
    cam = camera(0.5, 0.2, 2.5, 0.3)
    space = ndc_space(camera())
    origins, directions = flat_rays(cam)
    march = space.march(origins, directions)
    t = torch.linspace(0, 1, 9, dtype=torch.float64).expand(len(origins), -1)
    assert space.locate(march, t)[march.valid].abs().max() < 1 + 1e-9
    assert space.depth_z(march, t)[march.valid].min() > -1e-9


def test_ndc_rays_that_look_back_miss():
    origins = torch.zeros(2, 3)
    march = ndc_space(camera()).march(origins, torch.tensor([[0.0, 0, 1], [0, 0, -1]]))
    assert march.valid.tolist() == [True, False]
    assert ndc_space(camera()).lengths(march, torch.tensor([[0.0, 1.0]] * 2))[1].item() == 0


def test_ray_plane_identity():
    """A ray meets the plane z = c at the depth that the geometry says, whatever the camera."""
    cam, space, c = camera(0.3, 0.1, -0.4, 0.1), ndc_space(camera()), 3.0
    origins, directions = flat_rays(cam)
    march = space.march(origins, directions)
    depth = (c - origins[:, 2]) / directions[:, 2]
    t_ndc = 1 - 1.0 / c
    t = (t_ndc - march.start) / (march.end - march.start)
    ok = march.valid & (t > 0) & (t < 1)
    torch.testing.assert_close(space.depth_z(march, t[:, None])[ok, 0], depth[ok])


def test_box_depth_and_lengths():
    space = BoxSpace(((-1.0, -1.0, 2.0), (1.0, 1.0, 4.0)), near=0.1, far=100.0)
    origins, directions = torch.zeros(2, 3), torch.tensor([[0.0, 0, 1], [5.0, 0, 1]])
    march = space.march(origins, directions)
    assert march.valid.tolist() == [True, False]
    edges = torch.tensor([[0.0, 0.25, 1.0]] * 2)
    torch.testing.assert_close(space.depth_z(march, edges)[0], torch.tensor([2.0, 2.5, 4.0]))
    torch.testing.assert_close(space.lengths(march, edges)[0], torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(space.locate(march, edges)[0, :, 2], torch.tensor([-1.0, -0.5, 1.0]))
    assert space.lengths(march, edges)[1].abs().sum() == 0


@pytest.mark.parametrize("shell", [1.0, SHELL])
def test_contraction_is_continuous_bounded_and_inverted(shell):
    x = torch.randn(2000, 3, dtype=torch.float64) * 20
    y = contract(x, shell)
    assert y.abs().max() < 1 + shell
    torch.testing.assert_close(uncontract(y, shell), x, rtol=1e-6, atol=1e-6)
    edge = torch.tensor([[1.0 - 1e-9, 0.3, 0.0], [1.0 + 1e-9, 0.3, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(*contract(edge, shell))


def test_contracted_space_gives_three_quarters_of_the_grid_to_the_box_and_old_ones_keep_half():
    bounds = Bounds("contracted", ((-1.0, -2.0, -3.0), (1.0, 2.0, 3.0)), 0.1, 100.0, 3.0)
    space = space_for(bounds, [])
    march = space.march(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
    wall = space.locate(march, torch.tensor([[0.5]]))  # where disparity takes over: the far wall of the box
    torch.testing.assert_close(wall, torch.tensor([[[0.0, 0.0, 0.75]]]))
    assert space_from_dict(space_to_dict(space)) == space
    before = {k: v for k, v in space_to_dict(space).items() if k != "shell"}
    old = space_from_dict(before)
    torch.testing.assert_close(old.locate(march, torch.tensor([[0.5]])), torch.tensor([[[0.0, 0.0, 0.5]]]))


def test_contracted_march_grows_and_covers():
    space = ContractedSpace(((-1.0,) * 3, (1.0,) * 3), near=0.1, far=200.0)
    origins = torch.tensor([[0.0, 0, -0.5], [3.0, 0, 0]])
    directions = torch.tensor([[0.0, 0.1, 1.0], [1.0, 0.0, 0.1]])
    march = space.march(origins, directions)
    edges = torch.linspace(0, 1, 41).expand(2, -1)
    depth = space.depth_z(march, edges)
    assert (depth.diff(dim=-1) > 0).all()
    torch.testing.assert_close(depth[:, 0], torch.full((2,), 0.1))
    torch.testing.assert_close(depth[:, -1], torch.full((2,), 200.0))
    assert space.locate(march, edges).abs().max() <= 1
    assert (space.lengths(march, edges) > 0).all()


def test_spaces_survive_json_and_bad_bounds_are_refused():
    for kind in ("ndc", "box", "contracted"):
        space = space_for(Bounds(kind, NDC_BOX, 1.0, 9.0), [camera()])
        assert space_from_dict(space_to_dict(space)) == space
        assert extents(space) == pytest.approx((3.0, 3.34, 2.0))
    with pytest.raises(FitError, match="near"):
        space_for(Bounds("box", NDC_BOX, 2.0, 1.0), [])
    with pytest.raises(FitError, match="empty"):
        space_for(Bounds("box", ((0.0, 0, 0), (1.0, 0, 1)), 1.0, 2.0), [])
    with pytest.raises(FitError, match="camera"):
        space_for(Bounds("ndc", NDC_BOX, 1.0, 2.0), [])


def moved_rig():
    """Two cameras of a rig, the same elsewhere and turned, and the rigid way there."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    world_from_rig = np.eye(4)
    world_from_rig[:3, :3], world_from_rig[:3, 3] = turn * np.linalg.det(turn), (3.0, -1.5, 7.0)
    rig = (camera(0.2, -0.1, 0.0, 0.1), camera(-0.2, 0.1, 0.0, -0.1))
    return rig, tuple(replace(c, world_from_camera=world_from_rig @ c.world_from_camera) for c in rig)


def test_ndc_of_a_rig_that_stands_elsewhere_is_that_of_the_rig():
    rig, moved = moved_rig()
    here = space_for(rig_ndc_bounds(rig, 0.8, 20.0), rig)
    there = space_for(rig_ndc_bounds(moved, 0.8, 20.0), moved)
    np.testing.assert_allclose(here.aabb, there.aabb, atol=1e-6)
    t = torch.linspace(0, 1, 9, dtype=torch.float64).expand(60 * 40, -1)
    for one, other in zip(rig, moved, strict=True):
        a, b = here.march(*flat_rays(one)), there.march(*flat_rays(other))
        assert a.valid.all() and b.valid.all()
        torch.testing.assert_close(here.locate(a, t), there.locate(b, t), rtol=0, atol=1e-5)
        torch.testing.assert_close(here.lengths(a, t), there.lengths(b, t), rtol=0, atol=1e-5)
        torch.testing.assert_close(here.depth_z(a, t[:, :-1]), there.depth_z(b, t[:, :-1]), rtol=1e-4, atol=0)
    points = torch.from_numpy(moved[0].centre) + 3 * flat_rays(moved[0])[1]
    torch.testing.assert_close(there.to_world(there.from_world(points)), points)
    matrix = torch.tensor(there.rig_from_world, dtype=torch.float64)  # the slow way
    plain = replace(there, rig_from_world=())
    brought = points @ matrix[:, :3].T + matrix[:, 3]
    torch.testing.assert_close(there.from_world(points), plain.from_world(brought))


def test_a_space_without_a_way_into_its_rig_is_written_as_before_there_was_one():
    rig, moved = moved_rig()
    old = space_to_dict(ndc_space(camera()))
    assert set(old) == {"kind", "aabb", "near", "far", "scale", "skew", "offset"}
    assert space_from_dict(json.loads(json.dumps(old))) == ndc_space(camera())
    there = space_for(rig_ndc_bounds(moved, 0.8, 20.0), moved)
    tree = json.loads(json.dumps(space_to_dict(there)))
    assert space_from_dict(tree) == there != space_for(rig_ndc_bounds(rig, 0.8, 20.0), rig)
    for rows in ([[1, 0, 0, 0]], [[1, 0, 0]] * 3):
        with pytest.raises(ValueError, match="no rigid transform"):
            space_from_dict(tree | {"rig_from_world": rows})
