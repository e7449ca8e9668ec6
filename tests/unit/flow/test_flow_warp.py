"""Laws of warp and of the consistency mask."""

import math

import pytest
import torch

from i4d.flow.warp import consistency_mask, inside, warp


def slow_warp(image, flow):
    """Bilinear pull, pixel by pixel, clamped to the border."""
    _, channels, height, width = image.shape
    out = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            sx = min(max(x + float(flow[0, 0, y, x]), 0.0), width - 1.0)
            sy = min(max(y + float(flow[0, 1, y, x]), 0.0), height - 1.0)
            x0, y0 = min(int(math.floor(sx)), width - 2), min(int(math.floor(sy)), height - 2)
            fx, fy = sx - x0, sy - y0
            top = image[0, :, y0, x0] * (1 - fx) + image[0, :, y0, x0 + 1] * fx
            low = image[0, :, y0 + 1, x0] * (1 - fx) + image[0, :, y0 + 1, x0 + 1] * fx
            out[0, :, y, x] = top * (1 - fy) + low * fy
    return out


def test_warp_equals_its_slow_twin():
    gen = torch.Generator().manual_seed(0)
    image, flow = torch.rand(1, 3, 9, 12, generator=gen), 6 * torch.randn(1, 2, 9, 12, generator=gen)
    torch.testing.assert_close(warp(image, flow), slow_warp(image, flow), atol=1e-5, rtol=0)


def test_integer_flow_moves_pixels_exactly():
    image = torch.rand(1, 3, 20, 33, generator=torch.Generator().manual_seed(1))
    flow = torch.tensor([3.0, -2.0])[None, :, None, None].expand(1, 2, 20, 33)
    out = warp(image, flow)
    torch.testing.assert_close(out[..., 2:, :30], image[..., :18, 3:], atol=1e-5, rtol=0)


def test_zero_flow_is_the_identity_and_consistent():
    image, flow = torch.rand(2, 3, 16, 17), torch.zeros(2, 2, 16, 17)
    torch.testing.assert_close(warp(image, flow), image, atol=1e-5, rtol=0)
    assert consistency_mask(flow, flow).all()


def test_opposite_translations_agree_where_they_see_the_image():
    shift = torch.tensor([5.0, 0.0])[None, :, None, None].expand(1, 2, 20, 40)
    mask = consistency_mask(-shift, shift)
    assert mask[..., :35].all() and not mask[..., 35:].any()


@pytest.mark.parametrize("gap", [1.0, 3.0, 4.0, 12.0])
def test_the_mask_draws_the_line_where_the_formula_does(gap):
    backward, forward = torch.zeros(1, 2, 30, 30), torch.zeros(1, 2, 30, 30)
    backward[:, 1], forward[:, 1] = 2.5, -2.5
    forward[:, 0] = gap  # so |b + f| = gap and |f| = hypot(2.5, gap)
    expected = gap < 0.5 * (2.5 + math.hypot(2.5, gap)) + 0.5
    assert bool(consistency_mask(forward, backward)[0, 0, 10, 10]) == expected


def test_the_formula_has_two_sides():
    assert 3.0 < 0.5 * (2.5 + math.hypot(2.5, 3.0)) + 0.5 and 12.0 > 0.5 * (2.5 + math.hypot(2.5, 12.0)) + 0.5


def test_looking_outside_is_never_consistent():
    flow = torch.full((1, 2, 8, 8), 100.0)
    assert not inside(flow).any() and not consistency_mask(-flow, flow).any()
