"""A field's depth against exact depth: at edges, and as the matches between cameras that it makes.

Depths are z depths (height, width), in one unit; what is not finite or not positive in the exact depth counts
nowhere. Warps of the key frame carry colours between cameras by depth (`i4d/geometry/warps.py`), so what
matters is less the mean error than whether the points that pass their test are the same surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i4d.geometry.cameras import in_picture, project, unproject
from i4d.geometry.warps import warp_by_depth
from i4d.types import Camera

JUMP = 0.05  # of the nearer depth: neighbouring pixels that differ by more lie on two surfaces
NEAR_PX = 3  # of such a pair, along rows and columns
SAME = 0.05  # relative error below which a depth means the same surface


@dataclass(frozen=True)
class View:
    """A camera at one instant: `depth` (height, width) of the field; `exact` likewise, where it is known."""

    camera: Camera
    depth: Tensor
    exact: Tensor | None = None


def near_edges(exact: Tensor) -> Tensor:
    """Return which pixels (height, width) lie within NEAR_PX of a depth discontinuity."""
    known = _known(exact)
    edge = torch.zeros_like(known)
    for dim in (0, 1):
        count = exact.shape[dim] - 1
        first, second = exact.narrow(dim, 0, count), exact.narrow(dim, 1, count)
        both = known.narrow(dim, 0, count) & known.narrow(dim, 1, count)
        apart = both & ((first - second).abs() > JUMP * torch.minimum(first, second))
        edge.narrow(dim, 0, count).logical_or_(apart)
        edge.narrow(dim, 1, count).logical_or_(apart)
    side = 2 * NEAR_PX + 1
    return (F.max_pool2d(edge[None].float(), side, 1, NEAR_PX)[0] > 0) & known


def edge_figures(depth: Tensor, exact: Tensor) -> dict[str, float]:
    """Return, over the pixels near depth edges, `edges_within_5_percent` (the share whose relative error is
    under 5 %) and `edges_median_error` (relative); empty where the picture has no depth edge.
    """
    near = near_edges(exact)
    if not near.any():
        return {}
    error = _relative_error(depth, exact)[near]
    return {
        "edges_within_5_percent": float((error < SAME).float().mean()),
        "edges_median_error": float(error.median()),
    }


def matches(target: View, sources: Sequence[View], threshold: float) -> tuple[int, int, int]:
    """Return how many pixels of a target were looked up in the sources, how many of them matched, and how
    many of those rightly.

    A pixel is lifted by the target's depth and looked up where it falls in a source: it counts once for each
    source whose image it falls into. It matches by the test of the key frame's warps: the source's own point
    there lies within `threshold` (world units). The match is right where the target's depth errs by less than
    SAME of its exact depth and, for sources with exact depth, where the lifted point's depth in the source
    errs by less than SAME of what the source exactly sees there (points hidden from it are wrong).
    ValueError without exact depth of the target.
    """
    if target.exact is None:
        raise ValueError("matches: the target has no exact depth")
    known, points = _known(target.exact), unproject(target.depth, target.camera)
    surface = known & (_relative_error(target.depth, target.exact) < SAME)
    looked_up = matched = right = 0
    for source in sources:
        where, z = project(points, source.camera)
        height, width = source.depth.shape
        seen = known & in_picture(where, z, source.camera)
        empty = source.depth.new_zeros(1, height, width)
        mask = warp_by_depth(points, empty, source.depth, source.camera, threshold)[1][0] & seen
        same = mask & surface
        if source.exact is not None:
            x, y = (torch.where(seen, where[..., i], torch.zeros_like(z)).long() for i in (0, 1))
            shown = source.exact[y, x]
            same = same & _known(shown) & (_relative_error(z, shown) < SAME)
        looked_up += int(seen.sum())
        matched += int(mask.sum())
        right += int(same.sum())
    return looked_up, matched, right


def _known(exact: Tensor) -> Tensor:
    return torch.isfinite(exact) & (exact > 0)


def _relative_error(depth: Tensor, exact: Tensor) -> Tensor:
    """Return |depth / exact - 1|; infinite where it is no number."""
    return torch.nan_to_num((depth / exact - 1).abs(), nan=torch.inf, posinf=torch.inf)
