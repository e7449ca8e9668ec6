"""Agreement between views: how far colours differ where two cameras see the same surface point at one
instant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from i4d.geometry.cameras import unproject
from i4d.geometry.warps import warp_by_depth
from i4d.metrics.interval import Origin
from i4d.metrics.temporal import Unsteadiness, mean_gradient
from i4d.types import Camera


def cross_view_error(
    images: Sequence[torch.Tensor],
    depths: Sequence[torch.Tensor],
    cameras: Sequence[Camera],
    threshold: float,
) -> Unsteadiness:
    """Return the mean absolute colour difference over all ordered pairs of views, where their points match.

    `images` (3, h, w) in [0, 1] and z-depths (h, w) in world units, one per camera; sizes may differ. A pixel
    counts when the source sees the same 3D point within `threshold` (world units), so occluded points are
    left out.
    """
    total = weight = 0.0
    pixels = 0
    each, areas, origins = [], [], []
    points = [unproject(depth, camera) for depth, camera in zip(depths, cameras, strict=True)]
    for target, image in enumerate(images):
        for source, other in enumerate(images):
            if source == target:
                continue
            warped, mask = warp_by_depth(points[target], other, depths[source], cameras[source], threshold)
            found, area = (
                float(((image - warped).abs().mean(0, keepdim=True) * mask).sum()),
                float(mask.sum()),
            )
            total, weight, pixels = total + found, weight + area, pixels + mask.numel()
            if area:
                each.append(found / area)
                areas.append(area)
                origins.append(Origin(cameras=(target, source)))
    gradient = sum(mean_gradient(image) for image in images) / len(images)
    share = weight / max(pixels, 1)
    return Unsteadiness(total / max(weight, 1.0), gradient, share, tuple(each), tuple(areas), tuple(origins))
