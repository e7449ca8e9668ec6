"""One window of one view along time: pull the edited reference by flow, merge, repaint (Instruct 4D-to-4D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from i4d.edit.merge import merged, pull_by_flow
from i4d.edit.model import EditCost, EditorModel
from i4d.edit.repaint import AnchorTrace, repaint
from i4d.types import EditSettings, Strength


@dataclass(frozen=True, eq=False)
class WindowImages:
    """Pixels of a window: float [0, 1], (frames, 3, h, w); anchor and reference (1, 3, h, w).

    `forward` is the flow from the *unedited* reference to each unedited frame, `backward` from each frame to the
    reference, (frames, 2, h, w) in pixels; None: nothing is pulled and the reference is not looked at. `condition` and
    `anchor_condition` (frames and 1, channel, h, w) are the originals' latents where they are known already.
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


def merge_by_flow(
    current: torch.Tensor, reference: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor, use_mask: bool = True
) -> tuple[torch.Tensor, float]:
    """Return frames with the reference pulled into them, and the share of pixels that came from it.

    Where the flows disagree (`use_mask`), or where a pixel looks outside the reference, `current` stands.
    """
    return merged(current, [pull_by_flow(reference, forward, backward, use_mask)])


def padded_batch(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return images repeated at the end up to `size`, so that every window of a plan has one batch shape."""
    missing = size - len(images)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else images


def _padded(seeds: Sequence[int], size: int) -> list[int]:
    return [*seeds, *seeds[-1:] * (size - len(seeds))]


def uses_trace(settings: EditSettings) -> bool:
    """Return whether the anchor is denoised by itself: the mode says so, images are normalised one by one, somebody looks at it."""
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
    """Return the window's frames edited, (frames, 3, h, w), and the share of pixels explained by the warp (0 without flow).

    `seeds` one per frame; `anchor_seed` must be the one that `trace` was made with. `batch` is the number of images of an
    editor call, anchor included unless attention is "own". `trace` gives the anchor's keys and values where it can stand by
    itself; otherwise the anchor is slot 0 of the batch and its own output is dropped.
    """
    began, kept = images.current, 0.0
    if images.forward is not None and images.backward is not None:
        flow = images.forward, images.backward
        began, kept = merge_by_flow(images.current, images.reference_edited, *flow, settings.flow_mask)
    frames = len(began)
    if settings.attention == "own":  # nobody looks at an anchor
        originals, start = (padded_batch(x, batch) for x in (images.originals, began))
        condition = None if images.condition is None else padded_batch(images.condition, batch)
        out = repaint(model, originals, start, strength, settings, _padded(seeds, batch), cost, condition=condition)
        return out[:frames], kept
    if uses_trace(settings):
        originals, start = (padded_batch(x, batch - 1) for x in (images.originals, began))
        condition = None if images.condition is None else padded_batch(images.condition, batch - 1)
        padded = _padded(seeds, batch - 1)
        out = repaint(model, originals, start, strength, settings, padded, cost, anchor=trace(), condition=condition)
        return out[:frames], kept
    originals = padded_batch(torch.cat([images.anchor_original, images.originals]), batch)
    start = padded_batch(torch.cat([images.anchor_edited, began]), batch)
    condition = None
    if images.condition is not None and images.anchor_condition is not None:
        condition = padded_batch(torch.cat([images.anchor_condition, images.condition]), batch)
    padded = _padded([anchor_seed, *seeds], batch)
    out = repaint(model, originals, start, strength, settings, padded, cost, condition=condition)
    return out[1 : frames + 1], kept
