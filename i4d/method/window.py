"""One window of one view along time (Instruct 4D-to-4D, section 4): pull what is edited already along flow
and depth, repaint anchored on the key frame, average with neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from i4d.editors.protocol import Conditions, EditCost, Editor, Memory
from i4d.editors.unchanged import BLENDED_COPY_ERROR, with_unchanged_given_back
from i4d.errors import EditError
from i4d.method.call import Call
from i4d.method.merge import FlowPair, Warp, adapted, blended, merged, warp_by_flow, warp_from_view
from i4d.method.result import finished
from i4d.types import Camera, EditSettings, Strength


@dataclass(frozen=True, eq=False)
class Edited:
    """One frame before and after its edit, (1, 3, h, w) each."""

    original: torch.Tensor
    edited: torch.Tensor


@dataclass(frozen=True, eq=False)
class FlowSource:
    """An edited frame (1, 3, h, w) that flow pulls into a window, and by frame of the window the flow
    (2, h, w) in pixels from its *unedited* original to the frame's and back.
    """

    edited: torch.Tensor
    flows: Sequence[FlowPair]


@dataclass(frozen=True, eq=False)
class CrossViewSource:
    """Another camera's edited frames at the window's instants, (frames, 3, h, w), its z depths (frames, h',
    w') in world units and its camera at each instant.
    """

    frames: torch.Tensor
    depths: torch.Tensor
    cameras: Sequence[Camera]


@dataclass(frozen=True, eq=False)
class WindowImages:
    """Pixels of a window: float [0, 1], (frames, 3, h, w).

    `pulled` are frames that flow pulls into the window. `averaged` has, by pairs (i, j) of the window's
    frames (-1: the `reference`, the frame before the window, then needed) that are averaged after the
    repaint, the flow from one original to the other and back, as of FlowSource. `views` are other cameras
    whose edits are carried over by depth; `depths` and `cameras` are then the window's own, and points match
    within `match_threshold` (world units). `conditions` and `anchor_conditions` are the originals' where they
    are known already. `region` (frames, 1, h, w) in [0, 1]: where anything may change. `earlier`: the mean of
    the edits of the rounds before, which this one joins.
    """

    originals: torch.Tensor
    current: torch.Tensor
    anchor: Edited
    reference: Edited | None = None
    pulled: Sequence[FlowSource] = ()
    averaged: Mapping[tuple[int, int], FlowPair] = field(default_factory=dict)
    conditions: Conditions | None = None
    anchor_conditions: Conditions | None = None
    region: torch.Tensor | None = None
    views: Sequence[CrossViewSource] = ()
    depths: torch.Tensor | None = None
    cameras: Sequence[Camera] = ()
    match_threshold: float = 0.0
    earlier: torch.Tensor | None = None


@dataclass(frozen=True)
class WindowSeeds:
    """Seeds of the anchor's noise and of each frame's."""

    anchor: int
    frames: tuple[int, ...]


Recall = Callable[[Strength], Memory]


def edit_window(
    editor: Editor,
    images: WindowImages,
    strength: Strength,
    settings: EditSettings,
    seeds: WindowSeeds,
    batch: int,
    cost: EditCost,
    recall: Recall,
    round_index: int = 1,
) -> tuple[torch.Tensor, float]:
    """Return the window's frames edited, (frames, 3, h, w), and the share of pixels that warps explained.

    `batch` is the number of images of an editor call, anchor included unless nobody looks at it. `recall`
    gives the editor's memory of the anchor for a strength, made with `seeds.anchor`.
    """
    began, coverage = warped(images, settings)
    if settings.adaptive:
        strength = adapted(strength, coverage, editor.traits.least_steps)
    # first average, then see what was left unchanged: giving originals back twice draws the edit towards them
    alone = replace(settings, keep_unchanged=False) if settings.blend else settings
    out = repaint_window(editor, images, began, strength, alone, seeds, batch, cost, recall)
    if settings.blend:
        out = _averaged(out, images, settings)
    return finished(out, images.originals, images.region, images.earlier, round_index), coverage


def warped(images: WindowImages, settings: EditSettings) -> tuple[torch.Tensor, float]:
    """Return what the frames start from, (frames, 3, h, w), and the share of their pixels that was pulled
    from elsewhere.
    """
    warps: list[Warp] = []
    count = len(images.originals)
    for source in images.pulled:
        forward, backward = (torch.stack([pair[way] for pair in source.flows]) for way in (0, 1))
        warps.append(warp_by_flow(source.edited, forward, backward, settings.flow_mask))
    if images.views and (images.depths is None or len(images.depths) != count):
        raise EditError("a window that sees other views needs its own camera and depths")
    for view in images.views:
        assert images.depths is not None
        other = view.frames, view.depths, view.cameras
        warps.append(warp_from_view(*other, images.depths, images.cameras, images.match_threshold))
    return merged(images.current, warps)


def repaint_window(
    editor: Editor,
    images: WindowImages,
    began: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seeds: WindowSeeds,
    batch: int,
    cost: EditCost,
    recall: Recall,
) -> torch.Tensor:
    """Return frames repainted from `began`, (frames, 3, h, w), a batch at a time.

    An editor that remembers its anchor is given the memory; else the anchor is slot 0 of each batch and its
    own output is dropped.
    """
    own = settings.attention == "own"  # nobody looks at an anchor
    alone = own or editor.remembers(settings)
    size = batch if own else batch - 1  # new frames of a call
    if len(began) > size and not editor.separable(settings):
        raise EditError(f"{len(began)} frames that look at one another, {size} a call", "edit them together")
    memory = recall(strength) if alone and not own else None
    out = []
    for first in range(0, len(began), size):
        rows = slice(first, first + size)
        call = Call(
            images.originals[rows],
            began[rows],
            seeds.frames[rows],
            None if images.conditions is None else images.conditions[rows],
            None if images.region is None else images.region[rows],
        )
        if not alone:
            anchor = images.anchor
            call = call.behind(anchor.original, anchor.edited, seeds.anchor, images.anchor_conditions)
        edited = call.repainted(editor, strength, settings, size + (not alone), cost, memory)
        out.append(edited[not alone :])
    return torch.cat(out)


def _averaged(edited: torch.Tensor, images: WindowImages, settings: EditSettings) -> torch.Tensor:
    """Return edited frames averaged with their neighbours, and what the edit left unchanged as it was."""
    assert images.reference is not None, "averaged windows come with the frame before them"
    unedited = torch.cat([images.reference.original, images.originals])
    how = settings.flow_mask, settings.blend_sigma, settings.blend_detail
    out = blended(edited, images.reference.edited, unedited, images.averaged, *how).clamp(0, 1)
    if settings.keep_unchanged:
        return with_unchanged_given_back(out, images.originals, BLENDED_COPY_ERROR)
    return out
