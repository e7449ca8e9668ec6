"""Volume rendering of one instant of a field.

Two ways to place samples. `render_dense` takes the same number of intervals along every ray and reads density
and features in all of them: slow, plain, the twin of the other in the tests. `render_rays` first reads a
coarse map of where density lies (made afresh from the factors, `Instant.coarse_density`), draws the intervals
from it, and reads features at `shaded` places only: neighbouring intervals are taken together into groups of
about equal weight.

Weights follow the usual quadrature (Max 1995; NeRF, eq. 3): alpha = 1 - exp(-density * length), weight =
alpha * product of (1 - alpha) before. Features are averaged along the ray and coloured once (deferred
shading): one network call a ray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from i4d.fields.vector_matrix.model import Instant, Mapped
from i4d.fields.vector_matrix.spaces import March, Space

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class RenderSettings:
    """How rays are sampled: `proposals` looks at the coarse map, `samples` intervals, colour at `shaded`
    places.

    `map_cells` bounds the coarse map's cells per axis; `uniform` is the share of intervals spread evenly
    whatever the map says, so that density can grow where there is none yet.

    `background` is the colour behind the field, unless the field has learned its own. None makes the field's
    far end opaque: what light is left meets the last interval, as in NeRF. That fits scenes without an
    outside, and it keeps a young fit from raising density at the near end only because anything is better
    than a black background.

    `distortion` is the weight that `Rendered.distortion` has in the loss of a fit; at 0 it is not computed.
    """

    proposals: int = 64
    samples: int = 24
    shaded: int = 8
    map_cells: int = 64
    uniform: float = 0.1
    background: Colour | None = None
    distortion: float = 0.0


@dataclass(frozen=True)
class Rendered:
    """Colours (ray, 3) in [0, 1], opacity (ray,), the march parameters of expected and median depth (ray,),
    and the distortion (ray,) if it was asked for."""

    rgb: Tensor
    opacity: Tensor
    expected_t: Tensor
    median_t: Tensor
    distortion: Tensor | None = None


def composite(density: Tensor, lengths: Tensor) -> Tensor:
    """Return weights (ray, sample) of densities and interval lengths (ray, sample)."""
    optical = density * lengths
    before = F.pad(optical.cumsum(-1)[:, :-1], (1, 0))
    return torch.exp(-before) * -torch.expm1(-optical)


def _close(weights: Tensor, valid: Tensor, background: Colour | None) -> Tensor:
    """Return weights with the rest of the light given to the last interval, where nothing lies behind the
    field.
    """
    if background is not None:
        return weights
    rest = (1 - weights.sum(-1)).clamp_min(0) * valid
    return torch.cat([weights[:, :-1], weights[:, -1:] + rest[:, None]], -1)


def coarse_map(instant: Mapped, grid: tuple[int, int, int], limit: int) -> Tensor:
    """Return the density map (z, y, x) of an instant: at most `limit` cells an axis and half of the grid's
    vertices.
    """
    x, y, z = (max(2, min(limit, n // 2)) for n in grid)
    return instant.coarse_density((x, y, z))


def _look_up(cells: Tensor, points: Tensor) -> Tensor:
    """Return the map's value at points (..., 3) in [-1, 1]^3, nearest cell."""
    depth, height, width = cells.shape
    size = torch.tensor([width, height, depth], device=points.device, dtype=points.dtype)
    index = ((points + 1) * (0.5 * size)).long()
    x = index[..., 0].clamp_(0, width - 1)
    y = index[..., 1].clamp_(0, height - 1)
    z = index[..., 2].clamp_(0, depth - 1)
    return cells.view(-1)[(z * height + y) * width + x]


def propose(
    space: Space, march: March, cells: Tensor, settings: RenderSettings, offsets: Tensor | None = None
) -> Tensor:
    """Return increasing interval edges (ray, samples + 1) in [0, 1], dense where the map's weights are high.

    `offsets` (ray, samples - 1) in [0, 1) say where in its stratum an edge lies; None takes the strata's
    centres. The first edge is 0 and the last 1: no part of a ray goes unread.
    """
    rays, device = len(march.start), march.start.device
    edges = torch.linspace(0, 1, settings.proposals + 1, device=device).expand(rays, -1)
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    density = _look_up(cells, space.locate(march, middles))
    weights = _close(composite(density, space.lengths(march, edges)), march.valid, settings.background)
    # a surface on the border of two cells must not be missed; widening the weights, not the density: a
    # widened surface
    # would hide the true one behind it
    reach = 1 + settings.proposals // max(cells.shape)
    weights = F.max_pool1d(weights[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
    share = weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)
    share = (1 - settings.uniform) * share + settings.uniform / settings.proposals
    cdf = F.pad(share.cumsum(-1), (1, 0))
    cdf = cdf / cdf[:, -1:]
    count = settings.samples - 1
    u = (torch.arange(count, device=device) + (0.5 if offsets is None else offsets)) / count
    u = u.expand(rays, count).contiguous()
    right = torch.searchsorted(cdf, u, right=True).clamp_(1, settings.proposals)
    low, high = cdf.gather(1, right - 1), cdf.gather(1, right)
    inner = (right - 1 + (u - low) / (high - low).clamp_min(1e-9)) / settings.proposals
    return F.pad(F.pad(inner, (1, 0)), (0, 1), value=1.0)


def distortion(weights: Tensor, edges: Tensor) -> Tensor:
    """Return how far apart the weight of each ray lies (ray,), from 0 to 1/2 (Barron et al., CVPR 2022, eq.
    15).

    The sum over all pairs of intervals of w_i w_j |m_i - m_j|, with m the middles in march parameters, and of
    w_i^2 times a third of the interval. Sums of all intervals before each one make that one pass: |m_i - m_j|
    is m_i - m_j for j before i.
    """
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    moments = weights * middles
    before, moment = weights.cumsum(-1) - weights, moments.cumsum(-1) - moments
    between = 2 * (moments * before - weights * moment).sum(-1)
    return between + (weights.square() * edges.diff(dim=-1)).sum(-1) / 3


def depths(weights: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return expected and median march parameter (ray,); rays that meet nothing get their end."""
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    total = weights.sum(-1)
    rest = (1 - total).clamp_min(0)
    expected = (weights * middles).sum(-1) + rest
    passed = weights.cumsum(-1)
    index = (passed < 0.5).sum(-1, keepdim=True).clamp_max(weights.shape[1] - 1)
    before = (passed - weights).gather(1, index)
    inside = ((0.5 - before) / weights.gather(1, index).clamp_min(1e-6)).clamp(0, 1)
    median = torch.lerp(edges.gather(1, index), edges.gather(1, index + 1), inside)
    return expected, torch.where(total[:, None] >= 0.5, median, torch.ones_like(median))[:, 0]


def grouped(weights: Tensor, middles: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return shares and march parameters (ray, count) of `count` groups of neighbouring intervals (ray,
    sample).

    An interval belongs to the group in whose part of the ray's weight, cut into `count` equal ones, its own
    middle lies. A group has its intervals' weight (gradients go on to all of them) and lies at their centre
    of mass, so the average along the ray of anything that is linear within groups is exact. Reading the
    heaviest intervals alone leaves out a third of a young field, whose weight is spread along the ray, and
    what is left out is not taught either. A heavy interval is a group by itself; a group without intervals
    has no share, and its place means nothing.
    """
    passed = F.pad(weights.cumsum(-1), (1, 0))
    with torch.no_grad():
        at = passed[:, 1:] - weights / 2
        levels = torch.arange(1, count, device=weights.device) / count * passed[:, -1:]
        ends = F.pad(torch.searchsorted(at, levels), (1, 0))
        ends = F.pad(ends, (0, 1), value=weights.shape[1])
        moments = F.pad((weights * middles).cumsum(-1), (1, 0)).gather(1, ends).diff(dim=-1)
    shares = passed.gather(1, ends).diff(dim=-1)
    # sums of tiny weights are all rounding: no place outside the field may come of them
    return shares, (moments / shares.detach().clamp_min(1e-9)).clamp_(0, 1)


def _finish(
    instant: Instant,
    weights: Tensor,
    features: Tensor,
    directions: Tensor,
    edges: Tensor,
    shares: Tensor,
    background: Colour | None,
) -> Rendered:
    """Colour the averaged features once a ray; `shares` (ray, shaded) are the weights of the features
    read.
    """
    opacity = weights.sum(-1)
    scale = shares / shares.sum(-1, keepdim=True).clamp_min(1e-6)
    mean = (features * scale[..., None]).sum(1)
    colour = instant.colour(mean, F.normalize(directions, dim=-1))
    rgb = colour * opacity[:, None]
    if background is not None:
        rgb = rgb + instant.behind(background) * (1 - opacity)[:, None]
    expected, median = depths(weights.detach(), edges)
    return Rendered(rgb, opacity, expected, median)


def render_rays(
    instant: Instant,
    space: Space,
    cells: Tensor,
    origins: Tensor,
    directions: Tensor,
    settings: RenderSettings,
    offsets: Tensor | None = None,
) -> tuple[Rendered, March]:
    """Return what world rays (ray, 3) see, sampled where the coarse map `cells` shows density."""
    march = space.march(origins, directions)
    with torch.no_grad():
        edges = propose(space, march, cells, settings, offsets)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        points = space.locate(march, middles)
        lengths = space.lengths(march, edges)
    rays, samples = middles.shape
    density = instant.density(points.view(-1, 3)).view(rays, samples)
    weights = _close(composite(density, lengths), march.valid, settings.background)
    shares, shaded = weights, min(settings.shaded, samples)
    if shaded < samples:
        shares, places = grouped(weights, middles, shaded)
        points = space.locate(march, places)
    features = instant.features(points.reshape(-1, 3)).view(rays, shaded, -1)
    seen = _finish(instant, weights, features, directions, edges, shares, settings.background)
    return (replace(seen, distortion=distortion(weights, edges)) if settings.distortion else seen), march


def render_dense(
    instant: Instant,
    space: Space,
    origins: Tensor,
    directions: Tensor,
    samples: int,
    background: Colour | None = None,
) -> tuple[Rendered, March]:
    """Return what world rays (ray, 3) see with `samples` equal intervals each: the plain twin of
    `render_rays`.
    """
    march = space.march(origins, directions)
    edges = torch.linspace(0, 1, samples + 1, device=origins.device).expand(len(origins), -1)
    points = space.locate(march, (edges[:, 1:] + edges[:, :-1]) / 2)
    density = instant.density(points.reshape(-1, 3)).view(len(origins), samples)
    weights = _close(composite(density, space.lengths(march, edges)), march.valid, background)
    features = instant.features(points.reshape(-1, 3)).view(len(origins), samples, -1)
    return _finish(instant, weights, features, directions, edges, weights, background), march
