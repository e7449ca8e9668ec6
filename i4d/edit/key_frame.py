"""One instant, all views: joint edit of a sample, then agreement by depth (Instruct 4D-to-4D, key-frame
editing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from i4d.edit.model import EditCost, EditorModel
from i4d.edit.repaint import repaint
from i4d.geometry.cameras import unproject
from i4d.geometry.warps import warp_average
from i4d.types import Camera, EditSettings, Strength


@dataclass(frozen=True, eq=False)
class InstantImages:
    """All edited views at one instant: images (view, 3, h, w) in [0, 1], z-depths (view, h, w) in world
    units.
    """

    originals: torch.Tensor
    current: torch.Tensor
    depths: torch.Tensor
    cameras: Sequence[Camera]


def edit_key_frame(
    model: EditorModel,
    images: InstantImages,
    sample: Sequence[int],
    strength: Strength,
    settings: EditSettings,
    seeds: Sequence[int],
    match_threshold: float,
    fill_threshold: float,
    cost: EditCost,
    condition: torch.Tensor | None = None,
    region: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return all views (view, 3, h, w) after one step: `sample` (rows, anchor first) edited, the others
    filled.

    `seeds` one per sampled view; thresholds in world units; `condition` the sampled originals' latents where
    they are known already; `region` (view, 1, h, w) of all views: where the sample is edited.
    """
    rows = list(sample)
    inside = None if region is None else region[rows]
    given = images.originals[rows], images.current[rows]
    edited = repaint(model, *given, strength, settings, seeds, cost, condition=condition, region=inside)
    return agree(images, rows, edited, match_threshold, fill_threshold)


def agree(
    images: InstantImages,
    sample: Sequence[int],
    edited: torch.Tensor,
    match_threshold: float,
    fill_threshold: float,
    fill_share: float = 0.5,
) -> torch.Tensor:
    """Return all views with the sampled ones averaged over each other and the others mixed with them.

    1. Each edited view becomes the average of all edited views warped into it (match within
       `match_threshold`).
    2. Each other view takes 0.5 (`fill_share`) * warped average + the rest of itself where covered (within
       `fill_threshold`).
    """
    points = [unproject(depth, camera) for depth, camera in zip(images.depths, images.cameras, strict=True)]
    depths = [images.depths[v] for v in sample]
    cameras = [images.cameras[v] for v in sample]
    averaged = [
        warp_average(points[view], list(edited), depths, cameras, match_threshold, own=slot)[0]
        for slot, view in enumerate(sample)
    ]
    out = images.current.clone()
    for view in range(len(out)):
        if view in sample:
            out[view] = averaged[list(sample).index(view)]
            continue
        warped, covered = warp_average(points[view], averaged, depths, cameras, fill_threshold)
        out[view] = torch.where(covered, fill_share * warped + (1 - fill_share) * out[view], out[view])
    return out
