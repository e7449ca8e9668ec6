"""How the pictures look: learned distances, words and pictures, drift, sharpness. Every figure is a cell of a
table.

A cell is {"value", "interval", "frames"}: mean over frames, 95 % bootstrap interval, how many frames. A
figure that cannot be had is a cell too: {"value": null, "reason"}; nothing is silently left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from i4d.errors import WeightsError
from i4d.flow.classical import DisFlow
from i4d.metrics.interval import Origin, Samples, bootstrap_interval
from i4d.metrics.perceptual import Lpips, find_lpips
from i4d.metrics.sharpness import gradient_psnr, sharpness_kept
from i4d.metrics.steadiness import planes
from i4d.metrics.temporal import long_range_error
from i4d.metrics.text_image import (
    ClipEmbedder,
    caption_pair,
    directional_similarity,
    find_clip,
    frame_consistency,
)

MOST_FRAMES = 16  # of a video that learned networks look at, evenly spread
Reader = Callable[[int], np.ndarray]
Cell = dict[str, Any]


def cell(values: Sequence[float], digits: int = 4) -> Cell:
    """Return the mean of one video's figures, in order of time, with its bootstrap interval."""
    low, high = bootstrap_interval(values)
    return {
        "value": round(float(np.mean(values)), digits),
        "interval": [round(low, digits), round(high, digits)],
        "frames": len(values),
        "each": Samples(tuple(map(float, values)), tuple(Origin(i) for i in range(len(values)))).to_json(),
    }


@cache
def device() -> torch.device:
    """Return where pictures are looked at: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def missing(reason: str) -> Cell:
    """Return the cell of a figure that cannot be had."""
    return {"value": None, "reason": reason}


def spread(count: int, most: int = MOST_FRAMES) -> list[int]:
    """Return at most `most` indices of 0 .. count - 1, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def batch(read: Reader, indices: Sequence[int]) -> torch.Tensor:
    """Return frames as (n, 3, h, w) float32 in [0, 1]."""
    return torch.stack([planes(read(i)) for i in indices])


# ------------------------------------------------------------------------------------------------ networks
@cache
def lpips() -> Lpips:
    """Return the network of LPIPS, found once; WeightsError without its weights."""
    return find_lpips(device())


@cache
def clip() -> ClipEmbedder:
    """Return CLIP, found once; WeightsError where there is none."""
    return find_clip(device())


# ------------------------------------------------------------------------------------------------ figures
def lpips_cell(read: Reader, reference: Reader, count: int) -> Cell:
    """Return the LPIPS of two videos' frames; missing without weights or under 35 pixels a side."""
    try:
        network = lpips()
    except WeightsError as err:
        return missing(str(err))
    values = []
    with torch.inference_mode():
        for i in spread(count):
            try:
                values.append(float(network(*(batch(r, [i]).to(device()) for r in (read, reference)))))
            except ValueError as err:
                return missing(str(err))
    return cell(values)


def word_cells(
    after: Reader, before: Reader, count: int, prompt: str, captions: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return CLIP directional similarity and frame consistency of an edit; `captions` describe the scene
    before and after.
    """
    names = ("clip_directional_similarity", "clip_frame_consistency")
    try:
        network = clip()
    except WeightsError as err:
        return {name: missing(str(err)) for name in names}
    first, second = captions or caption_pair(prompt)
    chosen = spread(count)
    edited, original = (network.images(batch(read, chosen)) for read in (after, before))
    words = network.sentences([first, second])
    direction = directional_similarity(original, edited, words[0], words[1]).tolist()
    neighbours = network.images(
        batch(after, range(min(count, MOST_FRAMES)))
    )  # next to each other: spread frames would say less
    consistency = frame_consistency(neighbours).tolist()
    enough = cell(consistency) if consistency else missing("one frame has no neighbour")
    return {
        names[0]: {
            **cell(direction),
            "captions": [first, second],
            "captions_given": captions is not None,
            "model": network.source,
        },
        names[1]: {**enough, "model": network.source},
    }


def drift(originals: Reader, videos: Mapping[str, Reader], count: int) -> dict[str, Any]:
    """Return the long-range error (frame 0 against the others) of each video, relative to its mean
    gradient.
    """
    if count < 2:
        return {name: missing("a video of one frame has no drift") for name in videos}
    chosen = spread(count)
    source, estimator = batch(originals, chosen), DisFlow()
    out = {}
    for name, read in videos.items():
        found = long_range_error(batch(read, chosen), source, estimator)
        out[name] = {
            "value": round(found.relative, 4),
            "error": round(found.error, 6),
            "compared": round(found.compared, 4),
            "frames": len(chosen),
            "interval": [round(bound, 4) for bound in found.interval() or ()] or None,
        }
    return out


def sharpness_cell(read: Reader, reference: Reader, count: int) -> Cell:
    """Return the Laplacian energy of a video's frames over that of a reference's; missing where that one is
    flat.
    """
    try:
        return cell([sharpness_kept(batch(read, [i]), batch(reference, [i])) for i in spread(count)])
    except ValueError as err:
        return missing(str(err))


def gradient_cell(read: Reader, reference: Reader, count: int) -> Cell:
    """Return the PSNR in dB of image gradients against a reference's; at most 100 a frame."""
    return cell(
        [min(100.0, gradient_psnr(batch(read, [i]), batch(reference, [i]))) for i in spread(count)], 3
    )
