"""Vector-matrix factors (TensoRF, section 4.2): a volume as a sum of plane times line, on three axis pairs.

Pair 0 has a plane over (x, y) and a line along z, pair 1 (x, z) and y, pair 2 (y, z) and x. Planes are
(channel, height, width) with the pair's first axis along the width, lines (channel, length); vertices lie at
-1 and 1 and evenly between. `plane_line` is the one lookup that everything passes through: a fused kernel
would replace it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # (plane's width axis, plane's height axis, line's axis)


def resolution(num_voxels: int, extents: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return vertices along x, y, z of a grid of about `num_voxels` cubic voxels over a box of these side
    lengths.
    """
    voxel = (math.prod(extents) / num_voxels) ** (1 / 3)
    x, y, z = (max(4, int(side / voxel + 1e-9)) for side in extents)
    return x, y, z


def factor_size(vertices: Sequence[int], pair: int) -> tuple[int, int, int]:
    """Return plane height, plane width and line length of a pair on a grid of `vertices` along x, y, z."""
    width_axis, height_axis, line_axis = PAIRS[pair]
    return vertices[height_axis], vertices[width_axis], vertices[line_axis]


def plane_line(plane: Tensor, line: Tensor, points: Tensor, pair: int) -> Tensor:
    """Return plane * line (channel, point) at points (point, 3) in [-1, 1]^3; outside, the border's value
    holds.
    """
    width_axis, height_axis, line_axis = PAIRS[pair]
    on_plane = torch.stack([points[:, width_axis], points[:, height_axis]], -1)[None, None]
    along = points[:, line_axis]
    on_line = torch.stack([torch.zeros_like(along), along], -1)[None, None]
    sampled = F.grid_sample(plane[None], on_plane.to(plane.dtype), "bilinear", "border", align_corners=True)
    stretched = F.grid_sample(
        line[None, :, :, None], on_line.to(line.dtype), "bilinear", "border", align_corners=True
    )
    return (sampled * stretched)[0, :, 0]


def lattice(plane: Tensor, line: Tensor, pair: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the sum over channels of plane x line on a lattice of `shape` = (x, y, z) cells, axes (z, y, x).

    Factors are averaged over the cells first. A product of sums over channels on a regular lattice is one
    matrix product per pair, no lookup: that makes a fresh map of where density lies cheaper than keeping an
    old one.
    """
    width_axis, height_axis, line_axis = PAIRS[pair]
    small = F.adaptive_avg_pool2d(plane[None], (shape[height_axis], shape[width_axis]))[0]
    thin = F.adaptive_avg_pool1d(line[None], shape[line_axis])[0]
    cells = torch.einsum("chw,cl->lhw", small, thin)  # axes (line, height, width)
    names = [line_axis, height_axis, width_axis]
    return cells.permute(names.index(2), names.index(1), names.index(0))


def grow_plane(plane: Tensor, height: int, width: int) -> Tensor:
    """Return planes (channel, height', width') resampled to other vertex counts; values at kept vertices
    stay.
    """
    return F.interpolate(plane[None], (height, width), mode="bilinear", align_corners=True)[0]


def grow_line(line: Tensor, length: int) -> Tensor:
    """Return lines (channel, length), or those of every frame (frame, slot, length), resampled to another
    vertex count.
    """
    if line.numel() == 0:
        return line.new_zeros(*line.shape[:-1], length)
    lines = line if line.dim() == 3 else line[None]
    grown = F.interpolate(lines, length, mode="linear", align_corners=True)
    return grown if line.dim() == 3 else grown[0]


def total_variation(planes: list[Tensor], lines: list[Tensor]) -> Tensor:
    """Return mean squared differences of neighbours, planes x 1e-2 and lines x 1e-3 (method, section 6)."""
    total = planes[0].new_zeros(())
    for plane in planes:
        total = total + 1e-2 * (plane.diff(dim=1).square().mean() + plane.diff(dim=2).square().mean())
    for line in lines:
        total = total + 1e-3 * line.diff(dim=1).square().mean()
    return total


def add_plane_variation_grad(grad: Tensor, plane: Tensor, weight: float) -> None:
    """Add the gradient of `weight` * (both directions' mean squared differences) of a plane to `grad`, in
    place.

    In closed form: autograd would keep the differences and walk through them again (twin: `total_variation`).
    """
    if plane.numel() == 0:
        return
    for dim in (1, 2):
        step = plane.diff(dim=dim)
        step.mul_(2 * weight / step.numel())
        length = plane.shape[dim]
        grad.narrow(dim, 1, length - 1).add_(step)
        grad.narrow(dim, 0, length - 1).sub_(step)


def add_line_variation_grad(grad: Tensor, line: Tensor, weight: float) -> None:
    """Add the gradient of `weight` * mean squared difference of a line to `grad`, in place."""
    if line.numel() == 0:
        return
    step = line.diff(dim=1)
    step.mul_(2 * weight / step.numel())
    grad[:, 1:].add_(step)
    grad[:, :-1].sub_(step)
