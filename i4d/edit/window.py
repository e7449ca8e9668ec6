"""One window of one view along time: pull the edited reference by flow, merge, repaint (Instruct
4D-to-4D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from i4d.edit.merge import merged, pull_by_flow
from i4d.edit.model import EditCost, EditorModel
from i4d.edit.repaint import AnchorTrace, repaint
from i4d.errors import EditError
from i4d.types import EditSettings, Strength


@dataclass(frozen=True, eq=False)
class WindowImages:
    """Pixels of a window: float [0, 1], (frames, 3, h, w); anchor and reference (1, 3, h, w).

    `forward` is the flow from the *unedited* reference to each unedited frame, `backward` from each frame to
    the reference, (frames, 2, h, w) in pixels; None: nothing is pulled and the reference is not looked at.
    `condition` and `anchor_condition` (frames and 1, channel, h, w) are the originals' latents where they are
    known already.
    """

    originals: torch.Tensor
    current: torch.Tensor
    anchor_original: torch.Tensor
    anchor_edited: torch.Tensor
    reference_edited: torch.Tensor
    forward: torch.Tensor | None
    backward: torch.Tensor | None
    condition: torch.Tensor | None = None
    anchor_condition: torch.Tensor | None = None
    region: torch.Tensor | None = None  # (frames, 1, h, w) in [0, 1]: where anything may change


def merge_by_flow(
    current: torch.Tensor,
    reference: torch.Tensor,
    forward: torch.Tensor,
    backward: torch.Tensor,
    use_mask: bool = True,
) -> tuple[torch.Tensor, float]:
    """Return frames with the reference pulled into them, and the share of pixels that came from it.

    Where the flows disagree (`use_mask`), or where a pixel looks outside the reference, `current` stands.
    """
    return merged(current, [pull_by_flow(reference, forward, backward, use_mask)])


def padded_batch(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return images repeated at the end up to `size`, so that every window of a plan has one batch shape."""
    missing = size - len(images)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else images


def _behind(anchor: torch.Tensor | None, images: torch.Tensor | None) -> torch.Tensor | None:
    return None if anchor is None or images is None else torch.cat([anchor, images])


def _padded(seeds: Sequence[int], size: int) -> list[int]:
    return [*seeds, *list(seeds[-1:]) * (size - len(seeds))]


def separable(settings: EditSettings) -> bool:
    """Return whether frames of a window look at nothing but themselves and the anchor, so that they may be
    edited a few at a time.
    """
    return settings.norm == "frame" and settings.attention != "sparse_causal"


def uses_trace(settings: EditSettings) -> bool:
    """Return whether the anchor is denoised by itself: the mode says so, images are normalised one by one,
    somebody looks at it.
    """
    return settings.mode in ("exact", "turbo") and settings.norm == "frame" and settings.attention != "own"


def edit_window(
    model: EditorModel,
    images: WindowImages,
    strength: Strength,
    settings: EditSettings,
    anchor_seed: int,
    seeds: Sequence[int],
    batch: int,
    cost: EditCost,
    trace: Callable[[], AnchorTrace],
) -> tuple[torch.Tensor, float]:
    """Return the window's frames edited, (frames, 3, h, w), and the share of pixels explained by the warp (0
    without flow).

    `seeds` one per frame; `anchor_seed` must be the one that `trace` was made with. `batch` is the number of
    images of an editor call, anchor included unless attention is "own"; longer windows take several calls.
    `trace` gives the anchor's keys and values where it can stand by itself; otherwise the anchor is slot 0 of
    each batch and its own output is dropped.
    """
    began, kept = images.current, 0.0
    if images.forward is not None and images.backward is not None:
        flow = images.forward, images.backward
        began, kept = merge_by_flow(images.current, images.reference_edited, *flow, settings.flow_mask)
    own = settings.attention == "own"  # nobody looks at an anchor
    alone = own or uses_trace(settings)
    size = batch if own else batch - 1  # new frames of a call
    if len(began) > size and not separable(settings):
        raise EditError(f"{len(began)} frames that look at one another, {size} a call", "edit them together")
    anchor = trace() if alone and not own else None
    out = []
    for first in range(0, len(began), size):
        rows = slice(first, first + size)
        originals, start = images.originals[rows], began[rows]
        condition = None if images.condition is None else images.condition[rows]
        region = None if images.region is None else images.region[rows]
        if not alone:
            everywhere = torch.ones_like(images.anchor_original[:, :1])
            originals = torch.cat([images.anchor_original, originals])
            start = torch.cat([images.anchor_edited, start])
            condition = _behind(images.anchor_condition, condition)
            region = _behind(everywhere, region)
        count, whole = len(originals), size + (not alone)
        originals, start = padded_batch(originals, whole), padded_batch(start, whole)
        condition, region = (None if x is None else padded_batch(x, whole) for x in (condition, region))
        padded = _padded([*([] if alone else [anchor_seed]), *seeds[rows]], whole)
        edited = repaint(
            model,
            originals,
            start,
            strength,
            settings,
            padded,
            cost,
            anchor=anchor,
            condition=condition,
            region=region,
        )
        out.append(edited[not alone : count])
    return torch.cat(out), kept
