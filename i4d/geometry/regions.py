"""The region of a local edit as a picture: 1 inside, 0 outside, in between where its edge fades.

Shares are float (height, width) in [0, 1]; points (height, width, 3) in world units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from i4d.geometry.warps import warp_average
from i4d.types import Camera

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


def in_box(points: torch.Tensor, box: Box) -> torch.Tensor:
    """Return 1 where a surface point lies in an axis-aligned box (low, high), borders included, else 0;
    points not finite lie outside.
    """
    low, high = (torch.tensor(corner, dtype=points.dtype, device=points.device) for corner in box)
    return ((points >= low) & (points <= high)).all(-1).to(points.dtype)


def carried(
    points: torch.Tensor,
    shares: Sequence[torch.Tensor],
    depths: Sequence[torch.Tensor],
    cameras: Sequence[Camera],
    threshold: float,
) -> torch.Tensor:
    """Return the region seen by a camera whose surface points are given: the mean of what other cameras say
    of the same points.

    A point that none of the others sees (nothing within `threshold` of it, world units) lies outside.
    """
    images = [share[None] for share in shares]
    return warp_average(points, images, depths, cameras, threshold)[0][0]


def with_soft_edge(share: torch.Tensor, feather_px: int) -> torch.Tensor:
    """Return a region whose edge fades outwards: the mean of its dilations by 0 to `feather_px` pixels.

    What was inside stays wholly inside; a pixel d pixels (in the larger of rows and columns) from it counts 1
    - d / (feather_px + 1).
    """
    image = share[None, None]
    dilated = [
        image if r == 0 else F.max_pool2d(image, 2 * r + 1, stride=1, padding=r)
        for r in range(feather_px + 1)
    ]
    return torch.stack(dilated).mean(0)[0, 0]


def inside_of(edited: torch.Tensor, original: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return the edited picture inside a region and the original outside; all three of one shape, or
    broadcast to it.
    """
    return original + share * (edited - original)
