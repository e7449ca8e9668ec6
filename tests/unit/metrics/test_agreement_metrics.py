"""Temporal and cross-view error: zero where nothing is wrong, and exactly what was put in where something
is.
"""

import numpy as np
import pytest
import torch

from i4d.flow.classical import DisFlow
from i4d.geometry.cameras import camera_rays
from i4d.metrics.cross_view import cross_view_error
from i4d.metrics.temporal import FLOOR, Unsteadiness, mean_gradient, neighbour_flows, temporal_warp_error
from i4d.types import Camera


def smooth_video(frames=4, shift=2):
    """A smooth picture that moves `shift` pixels to the left each frame, with its exact flows."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0 + frames * shift), indexing="ij")
    wide = torch.stack([0.5 + 0.2 * torch.sin(x / 9 + k) + 0.2 * torch.cos(y / 7 - k) for k in range(3)])
    video = torch.stack([wide[..., f * shift : f * shift + 60] for f in range(frames)])
    flow = torch.zeros(1, 2, 40, 60)
    flow[:, 0] = -shift  # what frame t-1 shows at x stands in frame t at x - shift
    return video, [(flow, -flow)] * (frames - 1)


def test_a_video_that_only_moves_has_no_error():
    video, flows = smooth_video()
    found = temporal_warp_error(video, flows)
    assert found.error < 1e-5 and found.compared == pytest.approx(58 / 60)


def test_injected_flicker_is_what_is_measured():
    video, flows = smooth_video()
    flicker = torch.tensor([0.0, 0.04, 0.0, 0.04]).view(-1, 1, 1, 1)
    found = temporal_warp_error(video + flicker, flows)
    assert found.error == pytest.approx(0.04, rel=1e-3)
    assert found.relative == pytest.approx(0.04 / mean_gradient(video), rel=1e-3)


def test_what_appears_where_the_flow_breaks_is_not_counted():
    video, flows = smooth_video()
    broken = [(f.clone(), b) for f, b in flows]
    for forward, _ in broken:
        forward[:, :, :, 40:] = 30.0  # the flows disagree there
    video = video.clone()
    video[1::2, :, :, 45:] = 1.0
    assert temporal_warp_error(video, broken).error < 1e-5
    assert temporal_warp_error(video, flows).error > 0.05


def test_flow_of_the_originals_makes_it_small_on_an_estimated_motion():
    video, _ = smooth_video()
    flows = list(neighbour_flows(video, DisFlow()))
    assert len(flows) == 3 and flows[0][0].shape == (1, 2, 40, 60)
    still = temporal_warp_error(video, [(f * 0, b * 0) for f, b in flows])
    assert temporal_warp_error(video, flows).error < 0.25 * still.error


def test_the_gradient_of_a_ramp_is_its_slope():
    ramp = torch.arange(50.0).expand(3, 20, 50) * 0.01
    assert mean_gradient(ramp) == pytest.approx(0.01, rel=1e-4)
    assert mean_gradient(torch.full((3, 5, 5), 0.3)) == 0.0


def test_the_ratio_has_a_floor_of_one_grey_level():
    edited, clean = Unsteadiness(0.02, 0.1, 1.0), Unsteadiness(1e-6, 0.05, 1.0)
    assert edited.ratio_to(clean) == pytest.approx(0.2 / (FLOOR / 0.05))
    assert edited.ratio_to(Unsteadiness(0.02, 0.05, 1.0)) == pytest.approx(0.5)


def test_the_interval_holds_the_figure_and_closes_where_all_frames_agree():
    frames = torch.zeros(5, 3, 12, 20)
    frames[:, :, :, 10:] = 1.0
    still = [(torch.zeros(1, 2, 12, 20), torch.zeros(1, 2, 12, 20))] * 4
    steps = frames + torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])[:, None, None, None]
    even = temporal_warp_error(steps, still)
    assert even.each == pytest.approx([0.1] * 4, rel=1e-4) and even.interval() == pytest.approx(
        (even.relative, even.relative), rel=1e-4
    )
    steps[4] += 0.3
    uneven = temporal_warp_error(steps, still)
    low, high = uneven.interval()
    assert low < uneven.relative < high and high <= max(uneven.each) / uneven.gradient + 1e-6
    assert Unsteadiness(0.1, 0.1, 1.0).interval() is None


def two_views(paint):
    cameras, images = [], []
    for x in (0.0, 0.6):
        pose = np.eye(4)
        pose[0, 3] = x
        cameras.append(Camera(str(x), 60, 40, np.array([[50.0, 0, 30], [0, 50.0, 20], [0, 0, 1]]), pose))
        origins, directions = camera_rays(cameras[-1])
        images.append(paint(origins + 4 * directions))
    return images, [torch.full((40, 60), 4.0)] * 2, cameras


def on_the_plane(points):
    return torch.stack([0.5 + 0.3 * torch.sin(points[..., 0] + k * points[..., 1]) for k in range(3)])


def test_views_of_one_painted_plane_agree():
    found = cross_view_error(*two_views(on_the_plane), 0.02)
    assert found.error < 2e-3 and 0.7 < found.compared < 0.95 and found.gradient > 0


def test_a_tint_of_one_view_is_what_is_measured():
    images, depths, cameras = two_views(on_the_plane)
    found = cross_view_error([images[0], images[1] + 0.1], depths, cameras, 0.02)
    assert found.error == pytest.approx(0.1, abs=3e-3)


def test_occluded_surfaces_are_left_out():
    images, depths, cameras = two_views(on_the_plane)
    images = [images[0], images[1].clone()]
    near = depths[1].clone()
    images[1][:, :, 20:40], near[:, 20:40] = 0.0, 1.5  # something black stands before the second camera only
    assert cross_view_error(images, [depths[0], near], cameras, 0.02).error < 3e-3
