"""One instant, all views: joint edit of a sample, then agreement by depth (Instruct 4D-to-4D, key-frame
editing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from i4d.editors.protocol import Conditions, EditCost, Editor
from i4d.geometry.cameras import unproject
from i4d.geometry.warps import warp_average
from i4d.method.call import Call
from i4d.method.result import finished
from i4d.types import Camera, EditSettings, Strength


@dataclass(frozen=True, eq=False)
class InstantImages:
    """All edited views at one instant: images (view, 3, h, w) in [0, 1], z-depths (view, h, w) in world
    units; `region` (view, 1, h, w) in [0, 1] where anything may change, `earlier` the mean of the edits of
    the rounds before.
    """

    originals: torch.Tensor
    current: torch.Tensor
    depths: torch.Tensor
    cameras: Sequence[Camera]
    region: torch.Tensor | None = None
    earlier: torch.Tensor | None = None


@dataclass(frozen=True)
class Agreement:
    """How views are made to agree: depths match within `match`, in views that were not edited within `fill`
    (world units); these take `fill_share` of what is carried over.
    """

    match: float
    fill: float
    fill_share: float = 0.5


def edit_key_frame(
    editor: Editor,
    images: InstantImages,
    sample: Sequence[int],
    strength: Strength,
    settings: EditSettings,
    seeds: Sequence[int],
    agreement: Agreement,
    cost: EditCost,
    conditions: Conditions | None = None,
    round_index: int = 1,
) -> torch.Tensor:
    """Return all views (view, 3, h, w) after one step: `sample` (rows, anchor first) edited, the others
    filled.

    `seeds` one per sampled view; `conditions` the sampled originals' where they are known already.
    """
    rows = list(sample)
    region = None if images.region is None else images.region[rows]
    given = images.originals[rows], images.current[rows]
    edited = editor.repaint(*given, strength, settings, seeds, cost, conditions=conditions, region=region)
    return spread_over_views(images, rows, edited, agreement, round_index)


def spread_over_views(
    images: InstantImages,
    sample: Sequence[int],
    edited: torch.Tensor,
    agreement: Agreement,
    round_index: int = 1,
) -> torch.Tensor:
    """Return all views after a joint edit of some was carried over to the others."""
    out = agree(images, sample, edited, agreement)
    return finished(out, images.originals, images.region, images.earlier, round_index)


def agree(
    images: InstantImages, sample: Sequence[int], edited: torch.Tensor, agreement: Agreement
) -> torch.Tensor:
    """Return all views with the sampled ones averaged over each other and the others mixed with them.

    1. Each edited view becomes the average of all edited views warped into it (match within `match`).
    2. Each other view takes `fill_share` * warped average + the rest of itself where covered (within `fill`).
    """
    points = [unproject(depth, camera) for depth, camera in zip(images.depths, images.cameras, strict=True)]
    depths = [images.depths[v] for v in sample]
    cameras = [images.cameras[v] for v in sample]
    averaged = [
        warp_average(points[view], list(edited), depths, cameras, agreement.match, own=slot)[0]
        for slot, view in enumerate(sample)
    ]
    out, taken = images.current.clone(), agreement.fill_share
    for view in range(len(out)):
        if view in sample:
            out[view] = averaged[list(sample).index(view)]
            continue
        warped, covered = warp_average(points[view], averaged, depths, cameras, agreement.fill)
        out[view] = torch.where(covered, taken * warped + (1 - taken) * out[view], out[view])
    return out


def repaint_views(
    editor: Editor,
    originals: torch.Tensor,
    current: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seeds: Sequence[int],
    batch: int,
    cost: EditCost,
    conditions: Conditions,
    region: torch.Tensor | None = None,
    earlier: torch.Tensor | None = None,
    round_index: int = 1,
) -> torch.Tensor:
    """Return some views of an instant repainted together, anchored on the first, (view, 3, h, w); padded to
    `batch` images.
    """
    call = Call(originals, current, seeds, conditions, region)
    out = call.repainted(editor, strength, settings, batch, cost)
    return finished(out, originals, region, earlier, round_index)
