"""Depth warps: identity, a plane seen by two cameras, occlusion, invalid depth, and the weighted average."""

import numpy as np
import torch

from i4d.geometry.cameras import camera_rays, unproject
from i4d.geometry.warps import warp_average, warp_by_depth
from i4d.types import Camera


def camera(x, width=48, height=32, focal=40.0):
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    pose = np.eye(4)
    pose[0, 3] = x
    return Camera(f"x{x}", width, height, K, pose)


def painted_plane(cam, z=4.0):
    """A smooth picture on the plane z, as seen by `cam`: image (3, h, w), depth (h, w)."""
    origins, directions = camera_rays(cam)
    points = origins + directions * z
    x, y = points[..., 0], points[..., 1]
    image = torch.stack(
        [0.5 + 0.3 * torch.sin(x), 0.5 + 0.3 * torch.cos(1.3 * y), 0.5 + 0.2 * torch.sin(x + y)]
    )
    return image, torch.full((cam.height, cam.width), z)


def test_a_view_warped_into_itself_is_itself():
    cam = camera(0.0)
    image, depth = painted_plane(cam)
    out, mask = warp_by_depth(unproject(depth, cam), image, depth, cam, 0.01)
    assert mask.all()
    torch.testing.assert_close(out, image, atol=1e-4, rtol=0)


def test_a_plane_seen_from_the_side_warps_to_what_the_target_sees():
    target, source = camera(0.0), camera(0.8, width=60, height=40)  # sizes may differ
    (seen, depth), (image, source_depth) = painted_plane(target), painted_plane(source)
    out, mask = warp_by_depth(unproject(depth, target), image, source_depth, source, 0.02)
    assert 0.6 < mask.float().mean() < 0.97  # part of the target lies outside the source
    assert (out - seen).abs()[:, mask[0]].max() < 5e-3
    assert (out[:, ~mask[0]] == 0).all()


def test_an_occluded_surface_does_not_match():
    target, source = camera(0.0), camera(0.8)
    _, depth = painted_plane(target, 4.0)
    image, _ = painted_plane(source, 4.0)
    wall_depth = torch.full((32, 48), 4.0)
    wall_depth[:, :24] = 2.0  # something stands in the left half of the source
    _, mask = warp_by_depth(unproject(depth, target), image, wall_depth, source, 0.05)
    disparity = 40.0 * 0.8 / 4.0  # target column c shows what source column c - disparity shows
    columns = torch.arange(48) - disparity
    assert not mask[0, :, columns < 23].any() and mask[0, :, (columns > 25) & (columns < 47)].all()


def test_invalid_depth_matches_nothing_and_leaves_no_nan():
    cam = camera(0.0)
    image, depth = painted_plane(cam)
    broken = depth.clone()
    broken[4, 5], broken[6, 7], broken[8, 9] = float("nan"), float("inf"), 0.0
    out, mask = warp_by_depth(unproject(broken, cam), image, broken, cam, 0.05)
    assert not mask[0, 4, 5] and not mask[0, 6, 7] and not mask[0, 8, 9] and torch.isfinite(out).all()
    assert mask.float().mean() > 0.97


def test_the_average_weighs_each_source_by_what_it_covers():
    target, near, far = camera(0.0), camera(0.2), camera(0.9)
    points = unproject(painted_plane(target)[1], target)
    depths = [painted_plane(c)[1] for c in (near, far)]
    images = [torch.full((3, 32, 48), 0.2), torch.full((3, 32, 48), 0.8)]
    out, covered = warp_average(points, images, depths, (near, far), 0.05)
    masks = [
        warp_by_depth(points, i, d, c, 0.05)[1] for i, d, c in zip(images, depths, (near, far), strict=True)
    ]
    shares = [m.float().mean() for m in masks]
    both = (masks[0] & masks[1])[0]
    expected = (shares[0] * 0.2 + shares[1] * 0.8) / (shares[0] + shares[1])
    torch.testing.assert_close(out[0, both], expected.expand(int(both.sum())), atol=1e-5, rtol=0)
    only = (masks[0] & ~masks[1])[0]
    assert only.any() and (out[:, only] - 0.2).abs().max() < 1e-5
    assert torch.equal(covered, masks[0] | masks[1])


def test_the_targets_own_image_counts_whole():
    cam = camera(0.0)
    image, depth = painted_plane(cam)
    out, covered = warp_average(unproject(depth, cam) * float("nan"), [image], [depth], [cam], 0.05, own=0)
    assert covered.all() and torch.equal(out, image)
