"""Merging and averaging of a window's frames: by flow, by depth, where both are trusted; and the strength
that follows.
"""

import numpy as np
import pytest
import torch

from i4d.method.merge import (
    Warp,
    adapted,
    blended,
    merged,
    resemblance,
    slope_over_luma,
    warp_by_flow,
    warp_from_view,
)
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
    out, share = merged(current, [Warp(a, left), Warp(b, middle)])
    torch.testing.assert_close(out[..., :4], a[..., :4])
    torch.testing.assert_close(out[..., 4:6], (a + b)[..., 4:6] / 2)
    torch.testing.assert_close(out[..., 6:10], b[..., 6:10])
    assert torch.equal(out[..., 10:], current[..., 10:]) and share == pytest.approx(10 / W)
    assert merged(current, [])[0] is current


def shifting(frames, shift):
    """A picture that moves `shift` pixels to the left per frame, and flows between any two of its frames (-1:
    the one before).
    """
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
    out = blended(noisy, reference, torch.cat([reference, video]), flows)
    inner = (..., slice(3, -3))
    before, after = ((x - video)[inner].square().mean().sqrt() for x in (noisy, out))
    assert after < 0.75 * before
    assert torch.equal(blended(noisy, reference, torch.cat([reference, video]), {}), noisy)


def test_blending_equals_a_plain_loop():
    video, reference, flow = shifting(3, 2)
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(3, 1)}
    out = blended(video, reference, torch.cat([reference, video]), flows)
    for j in range(3):
        near = [(i, reference[0] if i < 0 else video[i]) for i in (j - 1, j + 1) if i < 3]
        total, weight = video[j].clone(), torch.ones(1, H, W)
        for i, source in near:
            pull = warp_by_flow(source[None], flow(i, j)[None], flow(j, i)[None])
            total += pull.frames[0] * pull.mask[0]
            weight += pull.mask[0]
        torch.testing.assert_close(out[j], total / weight)


def test_blending_with_resemblance_equals_a_plain_loop():
    video, reference, flow = shifting(3, 1)
    originals = noise(4, 3, H, W, seed=5) * 0.1 + torch.cat([reference, video])
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(3, 2)}
    out = blended(video, reference, originals, flows, sigma=0.05)
    for j in range(3):
        total, weight = video[j].clone(), torch.ones(1, H, W)
        for i in range(-1, 3):
            if i == j or (i < 0 and j > 1):
                continue
            source = (reference[0] if i < 0 else video[i])[None]
            pull, unedited = (
                warp_by_flow(x, flow(i, j)[None], flow(j, i)[None])
                for x in (source, originals[i + 1 : i + 2])
            )
            share = pull.mask[0] * resemblance(unedited.frames, originals[j + 1 : j + 2], 0.05)[0]
            total, weight = total + share * pull.frames[0], weight + share
        torch.testing.assert_close(out[j], total / weight)


def test_flow_that_is_wrong_where_the_originals_tell_blends_hardly_anything():
    video, reference, flow = shifting(4, 1)
    originals = torch.cat([reference, video])
    still = {
        (i, j): (torch.zeros(2, H, W), torch.zeros(2, H, W)) for i, j in pairs_within(4, 2)
    }  # consistent, and wrong
    error = {
        sigma: (blended(video, reference, originals, still, sigma=sigma) - video).abs().mean()
        for sigma in (0.0, 0.04)
    }
    assert error[0.04] < 0.02 * error[0.0]


def test_detail_follows_the_frame_when_the_light_changes():
    video, reference, flow = shifting(4, 1)
    light = torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6]).view(5, 1, 1, 1)
    originals = torch.cat([reference, video]) * light
    tone = torch.tensor([0.8, 0.5, 0.3]).view(1, 3, 1, 1)
    edited = tone * (originals * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    flows = {(i, j): (flow(i, j), flow(j, i)) for i, j in pairs_within(4, 2)}
    error = {
        detail: (blended(edited[1:], edited[:1], originals, flows, detail=detail) - edited[1:])[..., 3:-3]
        .abs()
        .mean()
        for detail in (False, True)
    }
    assert error[True] < 0.05 * error[False], "an edit that is a function of luma is carried over exactly"


def test_the_slope_is_that_of_a_plain_regression():
    edited, originals = noise(2, 3, 9, 9, seed=3), noise(2, 3, 9, 9, seed=4)
    found = slope_over_luma(edited, originals)
    bright = (originals[1] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)[2:7, 3:8].flatten()
    for channel in range(3):
        part = edited[1, channel, 2:7, 3:8].flatten()
        covariance = (part * bright).mean() - part.mean() * bright.mean()
        assert found[1, channel, 4, 5].item() == pytest.approx(
            (covariance / (bright.var(correction=0) + 1e-4)).item(), abs=1e-4
        )
    flat = slope_over_luma(edited, torch.full_like(originals, 0.5))
    assert flat.abs().max() < 1e-3, "a flat original says nothing about slopes"


def test_resemblance_is_the_gaussian_it_says():
    a = torch.full((1, 3, 6, 6), 0.5)
    assert torch.equal(resemblance(a, a, 0.04), torch.ones(1, 1, 6, 6))
    torch.testing.assert_close(resemblance(a + 0.04, a, 0.04), torch.full((1, 1, 6, 6), np.exp(-0.5)).float())
    dot = a.clone()
    dot[..., 2, 2] += 0.3
    near = resemblance(dot, a, 0.04)
    torch.testing.assert_close(
        near[0, 0, 1:4, 1:4], torch.full((3, 3), np.exp(-(0.3**2) / 9 / (2 * 0.04**2))).float()
    )
    assert near[0, 0, 4, 4] == 1


def test_inconsistent_flow_blends_nothing():
    video, reference, flow = shifting(2, 1)
    broken = {(0, 1): (flow(0, 1) + 9.0, flow(1, 0))}
    assert torch.equal(blended(video, reference, torch.cat([reference, video]), broken), video)


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
    pull = warp_from_view(
        frames, depth, [beside(1.0)] * 2, depth, [beside(0.0)] * 2, 0.05
    )  # 1 unit at depth 4 and focal 16: 4 pixels
    torch.testing.assert_close(pull.frames[..., 4:], frames[..., :-4], atol=1e-4, rtol=0)
    assert pull.mask[..., 4:].all() and not pull.mask[..., :3].any()


def test_points_that_do_not_meet_are_not_carried():
    depth = torch.full((1, H, W), 4.0)
    assert not warp_from_view(
        noise(1, 3, H, W), depth, [beside(1.0)], depth + 0.5, [beside(0.0)], 0.05
    ).mask.any()


def test_the_less_is_unexplained_the_weaker_the_repaint():
    full = Strength(900, 4)
    assert adapted(full, 0.0) == adapted(full, 0.75) == full
    assert adapted(full, 1.0) == Strength(450, 1)
    assert adapted(full, 1.0, least_steps=2) == Strength(450, 2)
    assert adapted(Strength(900, 1), 1.0, least_steps=2) == Strength(450, 1), (
        "never more steps than the full strength has"
    )
    assert adapted(full, 0.97) == Strength(900, 1), (
        "a few pixels that start unedited need all of T, but not many steps"
    )
    found = [adapted(full, share) for share in (1.0, 0.995, 0.99, 0.95, 0.9, 0.85, 0.8, 0.7)]
    assert [s.n for s in found] == sorted(s.n for s in found) and [s.T for s in found] == sorted(
        s.T for s in found
    )
    assert found[1].T < found[2].T


def test_every_frame_of_a_moving_camera_has_its_own_pose():
    depth = torch.full((2, H, W), 4.0)
    frames = noise(2, 3, H, W)
    pull = warp_from_view(frames, depth, [beside(1.0), beside(2.0)], depth, [beside(0.0)] * 2, 0.05)
    torch.testing.assert_close(pull.frames[0, ..., 4:], frames[0, ..., :-4], atol=1e-4, rtol=0)
    torch.testing.assert_close(pull.frames[1, ..., 8:], frames[1, ..., :-8], atol=1e-4, rtol=0)
