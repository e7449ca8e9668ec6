"""One frame of a streaming field through Triton kernels: the same numbers as `model.Moment`, in far fewer
passes.

Nothing is cut out or copied: kernels read the field's whole tensors through a table of the channels that the
frame reads, gradients go into buffers of these channels alone, and the optimiser moves them in place. The
table is padded to one length for all frames (weight 0), so that shapes, and with them compiled kernels, never
change.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from i4d.fields.vector_matrix.channels import Channels, Gradients
from i4d.fields.vector_matrix.factors import PAIRS
from i4d.fields.vector_matrix.model import StreamingField, activate, background_of, shade
from i4d.fields.vector_matrix.render import Rendered, RenderSettings, depths, distortion, grouped
from i4d.fields.vector_matrix.spaces import March, Space

POINTS = 128  # a program of the density kernels


def _power(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


class FusedMoment:
    """One frame of a field on a device with kernels. `gradients` None: for rendering only."""

    def __init__(
        self, field: StreamingField, channels: dict[str, Channels], gradients: Gradients | None = None
    ) -> None:
        self.field, self.shape, self.gradients = field, field.shape, gradients
        self.channels = channels
        self._lines: dict[str, list[Tensor]] = {}
        self.mlp = {name: field.tensors[name].detach() for name in field.network_names}
        if gradients is not None:
            for leaf in self.mlp.values():
                leaf.requires_grad_(True)
        self.cells = field.cells

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Gradient buffers by name, of a moment that is fitted."""
        assert self.gradients is not None, "made for rendering only"
        return self.gradients.of

    def planes(self, kind: str) -> list[Tensor]:
        """Return the whole planes of the three pairs."""
        return [self.field.tensors[f"{kind}{p}.plane"] for p in range(3)]

    def lines(self, kind: str) -> list[Tensor]:
        """Return what this frame reads as lines, by pair: (channel of the table, length), contiguous."""
        if kind not in self._lines:
            self._lines[kind] = [self._lines_of(kind, pair) for pair in range(3)]
        return self._lines[kind]

    @torch.no_grad()
    def _lines_of(self, kind: str, pair: int) -> Tensor:
        chosen, tensors = self.channels[kind], self.field.tensors
        first, size = sum(chosen.sizes[:pair]), chosen.sizes[pair]
        line = tensors[f"{kind}{pair}.line"].index_select(0, chosen.table[first : first + size].long())
        if not self.shape.frame_lines or not size:
            return line
        own = tensors[f"{kind}{pair}.own"].index_select(0, chosen.frame)
        return line + torch.lerp(own[0], own[1], chosen.part).index_select(0, chosen.slots_of(pair))

    def gradient(self, kind: str, part: str) -> list[Tensor]:
        """Return the gradient buffers of the three pairs' planes or lines."""
        return [self.buffers[f"{kind}{p}.{part}"] for p in range(3)]

    @torch.no_grad()
    def coarse_density(self, cells: tuple[int, int, int]) -> Tensor:
        """Return density on a lattice of `cells` = (x, y, z) cells, axes (z, y, x)."""
        parts: list[Tensor] = []
        first = 0
        chosen = self.channels["density"]
        for pair, (plane, line) in enumerate(zip(self.planes("density"), self.lines("density"), strict=True)):
            size = chosen.sizes[pair]
            if not size:
                continue
            table, weight = chosen.table[first : first + size], chosen.weight[first : first + size]
            parts.append(_lattice(plane, line, table, weight, pair, cells))
            first += size
        return activate(self.shape, sum(parts[1:], parts[0])).contiguous()

    def ray_weights(self, points: Tensor, lengths: Tensor, march: March, closed: bool) -> Tensor:
        """Return weights (ray, sample) of points (ray, sample, 3) with interval lengths (ray, sample)."""
        gate = self.mlp["basis"]
        return _RayWeights.apply(gate, self, points, lengths, march.valid, closed)

    def mean_features(self, points: Tensor, shares: Tensor) -> Tensor:
        """Return features (ray, feature_dim) averaged over points (ray, sample, 3) with shares (ray,
        sample).
        """
        products = _MeanProducts.apply(shares, self.mlp["basis"], self, points)
        return products @ self.mlp["basis"].index_select(0, self.channels["colour"].slots)

    def colour(self, features: Tensor, directions: Tensor) -> Tensor:
        """Return sRGB (point, 3) in [0, 1], as `Moment.colour`."""
        return shade(self.shape, self.mlp, features, directions, self.field.network_dtype)

    def behind(self, background: tuple[float, float, float]) -> Tensor:
        """Return the colour (3,) behind the field, as `Moment.behind`."""
        return background_of(self.mlp, background)


def _lattice(
    plane: Tensor, line: Tensor, table: Tensor, weight: Tensor, pair: int, shape: tuple[int, int, int]
) -> Tensor:
    """`factors.lattice` of the channels in a table."""
    from i4d.fields.vector_matrix.kernels import lookup

    width_axis, height_axis, line_axis = PAIRS[pair]
    rows, columns = shape[height_axis], shape[width_axis]
    height, width = plane.shape[1:]
    small = torch.empty((len(table), rows * columns), device=plane.device)
    lookup.pool[(_ceil(rows * columns, 256), len(table))](
        plane,
        small,
        table,
        height,
        width,
        rows,
        columns,
        _ceil(height, rows) + 1,
        _ceil(width, columns) + 1,
        256,
    )
    thin = F.adaptive_avg_pool1d(line[None], shape[line_axis])[0] * weight[:, None]
    cells = (thin.T @ small).view(shape[line_axis], rows, columns)
    names = [line_axis, height_axis, width_axis]
    return cells.permute(names.index(2), names.index(1), names.index(0))


class _RayWeights(torch.autograd.Function):
    """Density lookup and quadrature; gradients of the factors go to the moment's buffers, not through
    autograd.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        moment: FusedMoment,
        points: Tensor,
        lengths: Tensor,
        valid: Tensor,
        closed: bool,
    ) -> Tensor:
        from i4d.fields.vector_matrix.kernels import lookup, march

        rays, samples = lengths.shape
        raw, weights = torch.empty_like(lengths), torch.empty_like(lengths)
        chosen, shape = moment.channels["density"], moment.shape
        planes, lines = moment.planes("density"), moment.lines("density")
        lookup.density_forward[(_ceil(rays * samples, POINTS),)](
            points,
            raw,
            *planes,
            *lines,
            chosen.table,
            chosen.weight,
            rays * samples,
            *moment.cells,
            *chosen.sizes,
            POINTS,
        )
        march.weights_forward[(rays,)](
            raw,
            lengths,
            valid,
            weights,
            shape.density_scale,
            shape.density_shift,
            samples,
            shape.density == "softplus",
            closed,
            _power(samples),
        )
        ctx.save_for_backward(points, lengths, valid, raw, weights)
        ctx.moment, ctx.closed = moment, closed
        return weights

    @staticmethod
    def backward(ctx: Any, dweights: Tensor) -> tuple[None, ...]:
        from i4d.fields.vector_matrix.kernels import lookup, march

        points, lengths, valid, raw, weights = ctx.saved_tensors
        moment, shape = ctx.moment, ctx.moment.shape
        rays, samples = lengths.shape
        draw = torch.empty_like(raw)
        march.weights_backward[(rays,)](
            raw,
            lengths,
            valid,
            weights,
            dweights.contiguous(),
            draw,
            shape.density_scale,
            shape.density_shift,
            samples,
            shape.density == "softplus",
            ctx.closed,
            _power(samples),
        )
        chosen = moment.channels["density"]
        planes, lines = moment.planes("density"), moment.lines("density")
        lookup.density_backward[(_ceil(rays * samples, POINTS),)](
            points,
            draw,
            *planes,
            *lines,
            *moment.gradient("density", "plane"),
            *moment.gradient("density", "line"),
            chosen.table,
            chosen.weight,
            rays,
            samples,
            *moment.cells,
            *chosen.sizes,
            POINTS,
        )
        return None, None, None, None, None, None


class _MeanProducts(torch.autograd.Function):
    """Plane times line of the colour factors, averaged along rays: (ray, channels of all pairs)."""

    @staticmethod
    def forward(ctx: Any, shares: Tensor, gate: Tensor, moment: FusedMoment, points: Tensor) -> Tensor:
        from i4d.fields.vector_matrix.kernels import lookup

        shares = shares.contiguous()
        rays, samples = shares.shape
        total = sum(moment.channels["colour"].sizes)
        out = torch.empty((rays, total), device=points.device)
        for plane, line, _, _, first, size, geometry, axes in _colour_pairs(moment):
            lookup.features_forward[(rays, _ceil(size, 16))](
                points,
                shares,
                out[:, first:],
                plane,
                line,
                moment.channels["colour"].table[first:],
                moment.channels["colour"].weight[first:],
                total,
                *geometry,
                samples,
                size,
                *axes,
                16,
                16,
                num_warps=2,
            )
        ctx.save_for_backward(shares, points)
        ctx.moment = moment
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None, None, None]:
        from i4d.fields.vector_matrix.kernels import lookup

        shares, points = ctx.saved_tensors
        rays, samples = shares.shape
        dshares, dout, moment = torch.zeros_like(shares), dout.contiguous(), ctx.moment
        for plane, line, dplane, dline, first, size, geometry, axes in _colour_pairs(moment):
            lookup.features_backward[(rays, _ceil(size, 16))](
                points,
                shares,
                dout[:, first:],
                dshares,
                plane,
                line,
                dplane,
                dline,
                moment.channels["colour"].table[first:],
                moment.channels["colour"].weight[first:],
                dout.shape[1],
                *geometry,
                samples,
                size,
                *axes,
                16,
                16,
                num_warps=2,
            )
        return dshares, None, None, None


def _colour_pairs(moment: FusedMoment) -> list[tuple]:
    """Return by pair: plane, line, their gradients, first column, channels, (width, height, length), axes."""
    planes, lines = moment.planes("colour"), moment.lines("colour")
    none = [None] * 3
    dplanes, dlines = (moment.gradient("colour", p) if moment.gradients else none for p in ("plane", "line"))
    out, first = [], 0
    for pair, size in enumerate(moment.channels["colour"].sizes):
        if size:
            geometry = tuple(moment.cells[axis] for axis in PAIRS[pair])
            out.append(
                (planes[pair], lines[pair], dplanes[pair], dlines[pair], first, size, geometry, PAIRS[pair])
            )
        first += size
    return out


@torch.no_grad()
def propose_fused(
    space: Space,
    march: March,
    cells: Tensor,
    settings: RenderSettings,
    offsets: Tensor | None = None,
    uniform: Tensor | None = None,
) -> Tensor:
    """`render.propose` in two kernels. `uniform` (1,) on the device goes before the settings'."""
    from i4d.fields.vector_matrix.kernels import march as kernels

    rays, count, samples = len(march.start), settings.proposals, settings.samples
    even = torch.linspace(0, 1, count + 1, device=march.start.device)
    t = even.expand(rays, -1)
    points = space.locate(march, ((even[1:] + even[:-1]) / 2).expand(rays, -1))
    lengths = space.lengths(march, t)
    depth, height, width = cells.shape
    weights = torch.empty_like(lengths)
    edges = torch.empty((rays, samples + 1), device=t.device)
    kernels.map_weights[(rays,)](
        points,
        lengths,
        march.valid,
        cells,
        weights,
        count,
        width,
        height,
        depth,
        settings.background is None,
        _power(count),
    )
    kernels.draw_edges[(rays,)](
        weights,
        weights if offsets is None else offsets,
        edges,
        count,
        torch.full((1,), settings.uniform, device=t.device) if uniform is None else uniform,
        samples,
        1 + count // max(cells.shape),
        offsets is not None,
        _power(count),
        16,
    )
    return edges


def render_fused(
    moment: FusedMoment,
    space: Space,
    cells: Tensor | None,
    origins: Tensor,
    directions: Tensor,
    settings: RenderSettings,
    offsets: Tensor | None = None,
    want_depth: bool = True,
    uniform: Tensor | None = None,
) -> tuple[Rendered, March]:
    """`render.render_rays` through kernels; `cells` None takes even intervals."""
    with torch.no_grad():
        march = space.march(origins, directions)
        if cells is None:
            edges = torch.linspace(0, 1, settings.samples + 1, device=origins.device).expand(len(origins), -1)
        else:
            edges = propose_fused(space, march, cells, settings, offsets, uniform)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        points = space.locate(march, middles)
        lengths = space.lengths(march, edges)
    weights = moment.ray_weights(points, lengths, march, settings.background is None)
    shares = weights
    if settings.shaded < settings.samples:
        shares, places = grouped(weights, middles, settings.shaded)
        points = space.locate(march, places)
    opacity = weights.sum(-1)
    scale = shares / shares.sum(-1, keepdim=True).clamp_min(1e-6)
    colour = moment.colour(moment.mean_features(points, scale), F.normalize(directions, dim=-1))
    rgb = colour * opacity[:, None]
    if settings.background is not None:
        rgb = rgb + moment.behind(settings.background) * (1 - opacity)[:, None]
    expected, median = depths(weights.detach(), edges) if want_depth else (opacity, opacity)
    spread = distortion(weights, edges) if settings.distortion else None
    return Rendered(rgb, opacity, expected, median, spread), march
