"""Volume rendering against closed forms and against its dense twin."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from i4d.fields.vector_matrix.render import (
    RenderSettings,
    coarse_map,
    composite,
    distortion,
    grouped,
    propose,
    render_dense,
    render_rays,
)
from i4d.fields.vector_matrix.spaces import BoxSpace

SPACE = BoxSpace(
    ((-1.0, -1.0, 2.0), (1.0, 1.0, 4.0)), near=0.1, far=100.0
)  # one field unit is one world unit


class Solid:
    """An analytic instant: constant density inside a shape, features are the point itself."""

    def __init__(self, inside, density):
        self.inside, self.value = inside, density

    def density(self, points):
        return self.inside(points).float() * self.value

    def features(self, points):
        return (points + 1) / 2

    def colour(self, features, directions):
        return features

    def behind(self, background):
        return torch.tensor(background)

    def coarse_density(self, cells):
        axes = [(torch.arange(n) + 0.5) / n * 2 - 1 for n in cells]
        z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
        return self.density(torch.stack([x, y, z], -1).view(-1, 3)).view(z.shape)


BLACK = (0.0, 0.0, 0.0)


def rays(count=64, spread=0.2):
    generator = torch.Generator().manual_seed(1)
    directions = torch.cat(
        [(torch.rand(count, 2, generator=generator) - 0.5) * spread, torch.ones(count, 1)], -1
    )
    return torch.zeros(count, 3), directions


def test_slab_opacity_and_depth():
    """A slab of density s and thickness d lets exp(-s d) through; its median depth follows from the same
    law.
    """
    slab = Solid(lambda p: (p[:, 2] > -0.5) & (p[:, 2] < 0.5), 3.0)
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    out, march = render_dense(slab, SPACE, origins, directions, 1000, BLACK)
    assert out.opacity.item() == pytest.approx(1 - math.exp(-3.0), abs=1e-3)
    median = SPACE.depth_z(march, out.median_t[:, None]).item()
    assert median == pytest.approx(2.5 + math.log(2) / 3, abs=5e-3)
    rest = math.exp(-3.0)
    mean_inside = 2.5 + (1 / 3 - rest * (1 + 1 / 3))  # integral of x * 3 exp(-3 x) over the slab
    expected = mean_inside - 2.5 * rest + rest * 4.0
    assert SPACE.depth_z(march, out.expected_t[:, None]).item() == pytest.approx(expected, abs=5e-3)


def test_weights_sum_to_the_opacity():
    density, lengths = torch.rand(5, 9) * 4, torch.rand(5, 9) * 0.3
    weights = composite(density, lengths)
    torch.testing.assert_close(weights.sum(-1), 1 - torch.exp(-(density * lengths).sum(-1)))
    alpha = 1 - torch.exp(-density * lengths)
    by_hand = alpha * torch.cumprod(torch.cat([torch.ones(5, 1), 1 - alpha[:, :-1]], -1), -1)
    torch.testing.assert_close(weights, by_hand)


def test_a_dense_sphere_is_where_geometry_says():
    sphere = Solid(lambda p: p.norm(dim=-1) < 0.5, 400.0)  # centre (0, 0, 3), radius 0.5 in the world
    origins, directions = rays(200, 0.2)
    settings = RenderSettings(proposals=128, samples=64, shaded=8)
    cells = coarse_map(sphere, (96, 96, 96), 48)
    out, march = render_rays(sphere, SPACE, cells, origins, directions, settings)
    a, b, c = directions.square().sum(-1), -3 * directions[:, 2], 9 - 0.25
    depth = (-b - (b * b - a * c).sqrt()) / a
    torch.testing.assert_close(out.opacity, torch.ones(200), atol=1e-3, rtol=0)
    found = SPACE.depth_z(march, out.median_t[:, None])[:, 0]
    assert (found - depth).abs().max() < 0.02


def test_a_ray_that_misses_shows_the_background():
    sphere = Solid(lambda p: p.norm(dim=-1) < 0.3, 100.0)
    settings = RenderSettings(background=(0.2, 0.4, 0.6))
    origins, directions = torch.zeros(2, 3), torch.tensor([[0.3, 0.0, 1.0], [0.0, 0.0, -1.0]])
    out, _ = render_rays(sphere, SPACE, coarse_map(sphere, (64, 64, 64), 32), origins, directions, settings)
    torch.testing.assert_close(out.rgb, torch.tensor([[0.2, 0.4, 0.6]] * 2))


def test_importance_sampling_equals_the_dense_twin():
    def blobs(p):
        return (torch.exp(-((p - 0.2) ** 2).sum(-1) * 30) + torch.exp(-((p + 0.3) ** 2).sum(-1) * 50)) * 20

    instant = Solid(lambda p: torch.ones(len(p)), 1.0)
    instant.density = blobs
    origins, directions = rays(256, 0.4)
    dense, _ = render_dense(instant, SPACE, origins, directions, 800, BLACK)
    settings = RenderSettings(proposals=96, samples=48, shaded=48, background=BLACK)
    fast, _ = render_rays(
        instant, SPACE, coarse_map(instant, (96, 96, 96), 48), origins, directions, settings
    )
    assert (fast.rgb - dense.rgb).abs().max() < 0.02
    assert (fast.opacity - dense.opacity).abs().max() < 0.02
    fewer = RenderSettings(proposals=96, samples=48, shaded=24, background=BLACK)
    some, _ = render_rays(instant, SPACE, coarse_map(instant, (96, 96, 96), 48), origins, directions, fewer)
    assert (some.rgb - fast.rgb).abs().max() < 0.03


def test_groups_equal_a_loop_over_their_intervals():
    """The plain twin: every interval joins the group in whose part of the weight its middle lies."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(40, 12, generator=generator) ** 4
    weights[0] = 0
    weights[1, 3:] = 0
    middles = torch.rand(40, 12, generator=generator).sort(-1).values
    weights.requires_grad_(True)
    shares, places = grouped(weights, middles, 5)
    for w, m, share, place in zip(
        weights.detach().double(), middles.double(), shares.detach(), places, strict=True
    ):
        mass, moment, total = [0.0] * 5, [0.0] * 5, float(w.sum())
        for i in range(12):
            group = min(4, int(5 * float(w[:i].sum() + w[i] / 2) / total)) if total else 0
            mass[group] += float(w[i])
            moment[group] += float(w[i] * m[i])
        assert share.tolist() == pytest.approx(mass, abs=1e-5)
        for k in range(5):
            assert mass[k] < 1e-3 or float(place[k]) == pytest.approx(moment[k] / mass[k], abs=1e-4)
    assert (shares >= 0).all() and (places >= 0).all() and (places <= 1).all()
    values = torch.rand(40, 5, generator=generator)
    (gradient,) = torch.autograd.grad((shares * values).sum(), weights)
    exact = torch.autograd.functional.jacobian(
        lambda w: grouped(w, middles[2:3], 5)[0], weights[2:3].detach()
    )[0, :, 0]
    torch.testing.assert_close(gradient[2], values[2] @ exact)
    assert (
        set(exact.flatten().tolist()) == {0.0, 1.0} and (exact.sum(0) == 1).all()
    )  # all of an interval counts in one group


def test_distortion_equals_the_sum_over_all_pairs():
    generator = torch.Generator().manual_seed(4)
    weights = torch.rand(7, 11, generator=generator, dtype=torch.float64) / 11
    edges = torch.rand(7, 12, generator=generator, dtype=torch.float64).sort(-1).values
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    apart = (middles[:, :, None] - middles[:, None, :]).abs()
    pairs = (weights[:, :, None] * weights[:, None, :] * apart).sum((1, 2))
    torch.testing.assert_close(
        distortion(weights, edges), pairs + (weights.square() * edges.diff(dim=-1)).sum(-1) / 3
    )
    assert torch.autograd.gradcheck(lambda w: distortion(w, edges), weights.requires_grad_(True))
    halves = torch.tensor([[0.5, 0.0, 0.5]])
    assert distortion(halves, torch.tensor([[0.0, 1e-6, 1 - 1e-6, 1.0]])).item() == pytest.approx(
        0.5, abs=1e-4
    )  # the most


def test_few_groups_see_what_all_intervals_see_where_density_is_spread():
    """A young field: fog along the ray whose colour changes. The heaviest intervals alone see the wrong part
    of it.
    """
    fog = Solid(lambda p: torch.ones(len(p), dtype=torch.bool), 0.6)
    fog.features = lambda p: torch.stack(
        [(p[:, 2] + 1) / 2, 0.5 + 0.5 * torch.sin(4 * p[:, 2]), 1 - (p[:, 2] + 1) / 2], -1
    )
    origins, directions = rays(64, 0.3)
    cells = coarse_map(fog, (64, 64, 64), 32)
    every = RenderSettings(proposals=64, samples=48, shaded=48, background=BLACK)
    whole, march = render_rays(fog, SPACE, cells, origins, directions, every)
    few, _ = render_rays(fog, SPACE, cells, origins, directions, replace(every, shaded=8))
    dense, _ = render_dense(fog, SPACE, origins, directions, 800, BLACK)
    assert (few.rgb - whole.rgb).abs().max() < 3e-3 and (few.rgb - dense.rgb).abs().max() < 5e-3
    edges = propose(SPACE, march, cells, every)
    points = SPACE.locate(march, (edges[:, 1:] + edges[:, :-1]) / 2)
    weights = composite(fog.density(points.view(-1, 3)).view(points.shape[:2]), SPACE.lengths(march, edges))
    kept, chosen = weights.topk(8)
    heaviest = fog.features(points.gather(1, chosen[..., None].expand(-1, -1, 3)).reshape(-1, 3)).view(
        64, 8, 3
    )
    heaviest = (heaviest * (kept / kept.sum(-1, keepdim=True))[..., None]).sum(1) * weights.sum(-1)[:, None]
    assert (heaviest - whole.rgb).abs().max() > 10 * (few.rgb - whole.rgb).abs().max()


def test_edges_cover_the_ray_and_crowd_where_density_lies():
    slab = Solid(lambda p: (p[:, 2] > 0.4) & (p[:, 2] < 0.6), 50.0)
    origins, directions = rays(32)
    march = SPACE.march(origins, directions)
    settings = RenderSettings(proposals=64, samples=32, uniform=0.1)
    for offsets in (None, torch.rand(32, 31, generator=torch.Generator().manual_seed(0))):
        edges = propose(SPACE, march, coarse_map(slab, (64, 64, 64), 32), settings, offsets)
        assert (edges[:, 0] == 0).all() and (edges[:, -1] == 1).all() and (edges.diff(dim=-1) >= 0).all()
        assert ((edges > 0.6) & (edges < 0.85)).float().sum(-1).min() > 16
    even = propose(SPACE, march, coarse_map(slab, (64, 64, 64), 32), RenderSettings(uniform=1.0, samples=9))
    np.testing.assert_allclose(even[0, 1:-1].numpy(), (np.arange(8) + 0.5) / 8, atol=1e-5)


def test_without_background_the_far_end_takes_what_is_left():
    slab = Solid(lambda p: (p[:, 2] > -0.5) & (p[:, 2] < 0.5), 1.0)
    origins, directions = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    for out, _ in (
        render_dense(slab, SPACE, origins, directions, 400),
        render_rays(
            slab, SPACE, coarse_map(slab, (64, 64, 64), 32), origins, directions, RenderSettings(shaded=24)
        ),
    ):
        assert out.opacity.tolist() == pytest.approx([1.0, 0.0])  # the second ray looks away from the field
        assert out.rgb[1].abs().max() == 0
        left = math.exp(-1.0)
        mean_inside = 2.5 + (1 - left * 2) / (1 - left)  # of the light that the slab stops
        expected = ((1 - left) * (mean_inside - 3) + left * 1.0 + 1) / 2  # blue is z; the far end has z = 1
        assert out.rgb[0, 2].item() == pytest.approx(expected, abs=0.02)
