"""Merging and averaging of a window's frames: by flow, by depth, where both are trusted; and the strength that follows."""

import numpy as np
import pytest
import torch

from i4d.edit.merge import Pull, adapted, blended, merged, pull_by_depth, pull_by_flow, smoothed
from i4d.pairs import pairs_within
from i4d.types import Camera, Strength

pytestmark = pytest.mark.usefixtures("one_thread")
H, W = 12, 16


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_pixels_that_several_explain_are_averaged_and_the_rest_stands():
    a, b, current = noise(3, 2, 3, H, W)
    left = torch.zeros(2, 1, H, W, dtype=torch.bool)
    left[..., :6] = True
    middle = torch.zeros_like(left)
    middle[..., 4:10] = True
    out, share = merged(current, [Pull(a, left), Pull(b, middle)])
    torch.testing.assert_close(out[..., :4], a[..., :4])
    torch.testing.assert_close(out[..., 4:6], (a + b)[..., 4:6] / 2)
    torch.testing.assert_close(out[..., 6:10], b[..., 6:10])
    assert torch.equal(out[..., 10:], current[..., 10:]) and share == pytest.approx(10 / W)
    assert merged(current, [])[0] is current


def shifting(frames, shift):
    """A picture that moves `shift` pixels to the left per frame, and flows between any two of its frames (-1: the one before)."""
    wide = noise(3, H, W + shift * frames)
    video = torch.stack([wide[:, :, f * shift : f * shift + W] for f in range(frames + 1)])

    def flow(i, j):
        out = torch.zeros(2, H, W)
        out[0] = shift * (i - j)
        return out

    return video[1:], video[:1], flow


def test_blending_averages_noise_away_where_the_flow_is_right():
    video, reference, flow = shifting(4, 1)
    noisy = video + 0.2 * (noise(4, 3, H, W, seed=1) - 0.5)
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(4, 2)}
    out = blended(noisy, reference, flows)
    inner = (..., slice(3, -3))
    before, after = ((x - video)[inner].square().mean().sqrt() for x in (noisy, out))
    assert after < 0.75 * before
    assert torch.equal(blended(noisy, reference, {}), noisy)


def test_blending_equals_a_plain_loop():
    video, reference, flow = shifting(3, 2)
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(3, 1)}
    out = blended(video, reference, flows)
    for j in range(3):
        near = [(i, reference[0] if i < 0 else video[i]) for i in (j - 1, j + 1) if i < 3]
        total, weight = video[j].clone(), torch.ones(1, H, W)
        for i, source in near:
            pull = pull_by_flow(source[None], flow(i, j)[None], flow(j, i)[None])
            total += pull.frames[0] * pull.mask[0]
            weight += pull.mask[0]
        torch.testing.assert_close(out[j], total / weight)


def test_blending_leaves_a_frame_its_own_detail_and_takes_flicker_away():
    video, reference, flow = shifting(4, 1)
    flicker = torch.tensor([0.1, -0.1, 0.1, -0.1]).view(4, 1, 1, 1)
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(4, 2)}
    out = blended(video + flicker, reference, flows, detail=0.1)
    inner = (..., slice(3, -3))
    assert (out - video)[inner].mean((1, 2, 3)).abs().max() < 0.06 < 0.1
    fine = lambda x: (x - smoothed(x, 0.8))[inner]  # noqa: E731
    torch.testing.assert_close(fine(out), fine(video), atol=0.02, rtol=0)


def test_smoothing_is_the_gaussian_it_says():
    dot = torch.zeros(1, 3, 25, 25)
    dot[..., 12, 12] = 1
    out = smoothed(dot, 2.0)
    assert out.sum((-1, -2)) == pytest.approx(1.0, abs=1e-5)
    spread = (out[0, 1].sum(0) * (torch.arange(25) - 12.0) ** 2).sum()
    assert spread.item() == pytest.approx(4.0, rel=0.05)
    torch.testing.assert_close(out, out.transpose(-1, -2))
    torch.testing.assert_close(smoothed(torch.ones(1, 3, 9, 9), 3.0), torch.ones(1, 3, 9, 9))


def test_inconsistent_flow_blends_nothing():
    video, reference, flow = shifting(2, 1)
    broken = {(0, 1): (flow(0, 1) + 9.0, flow(1, 0))}
    assert torch.equal(blended(video, reference, broken), video)


def test_pairs_are_those_within_the_radius_each_once():
    assert pairs_within(3, 1) == [(-1, 0), (0, 1), (1, 2)]
    assert pairs_within(3, 2) == [(-1, 0), (-1, 1), (0, 1), (0, 2), (1, 2)]


def beside(shift):
    K = np.array([[float(W), 0, W / 2], [0, W, H / 2], [0, 0, 1]])
    pose = np.eye(4)
    pose[0, 3] = shift
    return Camera(f"at {shift}", W, H, K, pose)


@pytest.mark.parametrize("coarse", [1, 2])
def test_a_wall_is_carried_between_cameras_whatever_the_size_of_the_depths(coarse):
    depth = torch.full((2, H // coarse, W // coarse), 4.0)
    frames = noise(2, 3, H, W)
    pull = pull_by_depth(frames, depth, [beside(1.0)] * 2, depth, [beside(0.0)] * 2, 0.05)  # 1 unit at depth 4 and focal 16: 4 pixels
    torch.testing.assert_close(pull.frames[..., 4:], frames[..., :-4], atol=1e-4, rtol=0)
    assert pull.mask[..., 4:].all() and not pull.mask[..., :3].any()


def test_points_that_do_not_meet_are_not_carried():
    depth = torch.full((1, H, W), 4.0)
    assert not pull_by_depth(noise(1, 3, H, W), depth, [beside(1.0)], depth + 0.5, [beside(0.0)], 0.05).mask.any()


def test_the_less_is_unexplained_the_weaker_the_repaint():
    full = Strength(900, 4)
    assert adapted(full, 0.0) == adapted(full, 0.75) == full
    assert adapted(full, 1.0) == Strength(450, 1)
    assert adapted(full, 1.0, least_steps=2) == Strength(450, 2)
    assert adapted(Strength(900, 1), 1.0, least_steps=2) == Strength(450, 1), "never more steps than the full strength has"
    assert adapted(full, 0.97) == Strength(900, 1), "a few pixels that start unedited need all of T, but not many steps"
    found = [adapted(full, share) for share in (1.0, 0.995, 0.99, 0.95, 0.9, 0.85, 0.8, 0.7)]
    assert [s.n for s in found] == sorted(s.n for s in found) and [s.T for s in found] == sorted(s.T for s in found)
    assert found[1].T < found[2].T


def test_every_frame_of_a_moving_camera_has_its_own_pose():
    depth = torch.full((2, H, W), 4.0)
    frames = noise(2, 3, H, W)
    pull = pull_by_depth(frames, depth, [beside(1.0), beside(2.0)], depth, [beside(0.0)] * 2, 0.05)
    torch.testing.assert_close(pull.frames[0, ..., 4:], frames[0, ..., :-4], atol=1e-4, rtol=0)
    torch.testing.assert_close(pull.frames[1, ..., 8:], frames[1, ..., :-8], atol=1e-4, rtol=0)
