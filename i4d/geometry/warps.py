"""Carrying colours between views of one instant by depth (Instruct 4D-to-4D, key-frame editing).

Images are (channel, height, width), depths z-depths (height, width) in world units, points (height, width,
3). A pixel of the target matches a source where the target's 3D point, projected into the source, meets the
source's own 3D point within a threshold: that test alone sorts out occlusion, because an occluded point lands
on a nearer surface.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from i4d.geometry.cameras import project, unproject
from i4d.types import Camera


def warp_by_depth(
    target_points: torch.Tensor,
    source_image: torch.Tensor,
    source_depth: torch.Tensor,
    source_camera: Camera,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the source's colours at the target's pixels, and where they match.

    `target_points` (h, w, 3) is the target's unprojected depth; the source may have another size. `threshold`
    in world units. Returns the image (channel, h, w), zero where unmatched, and the mask (1, h, w), bool.
    Depths that are not finite or not positive match nothing.
    """
    where, z = project(target_points, source_camera)
    height, width = source_depth.shape
    size = torch.tensor([width, height], device=where.device, dtype=where.dtype)
    seen = (z > 0) & torch.isfinite(where).all(-1) & (where >= 0).all(-1) & (where <= size).all(-1)
    usable = torch.isfinite(source_depth) & (source_depth > 0)
    points = unproject(torch.where(usable, source_depth, torch.zeros_like(source_depth)), source_camera)
    grid = torch.where(seen[..., None], 2 * where / size - 1, torch.zeros_like(where))[None]
    stack = torch.cat([source_image, points.permute(2, 0, 1), usable[None].to(points.dtype)])
    # one bilinear lookup for colour, point and validity; points mixed across an edge lie on neither surface
    # and fail
    found = F.grid_sample(stack[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    colour, point, valid = found.split([len(source_image), 3, 1])
    distance = (target_points - point.permute(1, 2, 0)).norm(dim=-1)
    mask = (seen & (distance < threshold) & (valid[0] > 0.999))[None]
    return torch.where(mask, colour, torch.zeros_like(colour)), mask


def warp_average(
    target_points: torch.Tensor,
    images: Sequence[torch.Tensor],
    depths: Sequence[torch.Tensor],
    cameras: Sequence[Camera],
    threshold: float,
    own: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the average of source views warped into a target, and where any covers it.

    A source counts with the fraction of the target that it covers. `own` is the source that *is* the target:
    taken as it stands, everywhere, with weight 1. Returns the image (channel, h, w), zero where uncovered,
    and the mask (1, h, w).
    """
    total = images[0].new_zeros(len(images[0]), *target_points.shape[:2])
    weight = total.new_zeros(1, *target_points.shape[:2])
    for index, (image, depth, camera) in enumerate(zip(images, depths, cameras, strict=True)):
        if index == own:
            warped, mask = image, torch.ones_like(weight, dtype=torch.bool)
        else:
            warped, mask = warp_by_depth(target_points, image, depth, camera, threshold)
        share = mask.to(total.dtype).mean()
        total = total + share * warped * mask
        weight = weight + share * mask
    covered = weight > 0
    return torch.where(covered, total / weight.clamp_min(1e-12), torch.zeros_like(total)), covered
