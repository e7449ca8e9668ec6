"""Steadiness in time: how much a video changes where the original says that nothing but motion happens.

Frame t-1 is pulled into frame t by the flow of the *originals*; what is left of the difference, where that
flow is consistent, is flicker (warp error, Lai et al., ECCV 2018). Divided by the video's mean gradient it
can be compared between videos of different contrast, such as a scene before and after an edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from i4d.flow.find import FlowEstimator
from i4d.flow.warp import consistency_mask, warp
from i4d.metrics.interval import Origin, Samples, bootstrap_interval, levels

FLOOR = 1 / 255  # one grey level: below it two 8-bit videos cannot be told apart


@dataclass(frozen=True)
class Unsteadiness:
    """An error of agreement, in [0, 1] units of colour, beside the mean gradient of the images it was found
    in.

    `compared` is the share of pixels that could be compared; `each` the errors of the frames (or pairs of
    views) by themselves, `areas` the pixels that each was found on: `error` is their mean, weighted so.
    `origins`: which frame, which pair (by position) each was found on; empty: frames in order.
    """

    error: float
    gradient: float
    compared: float
    each: tuple[float, ...] = ()
    areas: tuple[float, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def relative(self) -> float:
        """Return the error divided by the mean gradient: roughly, by how many pixels things seem to jump."""
        return self.error / max(self.gradient, 1e-8)

    def samples(self) -> Samples:
        """Return the relative errors of single frames or pairs and what each was found on."""
        origins = self.origins or tuple(Origin(i) for i in range(len(self.each)))
        return Samples(tuple(error / max(self.gradient, 1e-8) for error in self.each), origins)

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval of the relative error; None where single errors are not known,
        or are of one pair of cameras alone.
        """
        if not self.each:
            return None
        found = self.samples()
        if len(self.each) > 1 and not levels(found.origins):
            return None
        return bootstrap_interval(found.values, weights=self.areas or None, origins=found.origins)

    def ratio_to(self, unedited: Unsteadiness) -> float:
        """Return this relative error over that of the unedited scene, whose error counts as at least one grey
        level.
        """
        return self.relative / (max(unedited.error, FLOOR) / max(unedited.gradient, 1e-8))


def mean_gradient(images: torch.Tensor) -> float:
    """Return the mean length of the forward difference (dx, dy) per pixel and channel of images (..., h,
    w).
    """
    dx = images[..., :-1, 1:] - images[..., :-1, :-1]
    dy = images[..., 1:, :-1] - images[..., :-1, :-1]
    return float((dx**2 + dy**2).sqrt().mean())


FlowPair = tuple[torch.Tensor, torch.Tensor]


def neighbour_flows(originals: torch.Tensor, estimator: FlowEstimator) -> Iterator[FlowPair]:
    """Yield (forward, backward) flow (1, 2, h, w) between each frame t-1 and t of a video (time, 3, h, w), t
    = 1, 2, ...
    """
    for before, now in zip(originals[:-1], originals[1:], strict=True):
        both = estimator.estimate(torch.stack([before, now]), torch.stack([now, before]))
        yield both[:1], both[1:]


def temporal_warp_error(frames: torch.Tensor, flows: Iterable[FlowPair]) -> Unsteadiness:
    """Return the mean absolute difference of each frame and its predecessor pulled into it, where the flow is
    consistent.

    `frames` (time, 3, h, w) in [0, 1], two or more; `flows` one (forward, backward) pair (1, 2, h, w) for
    each frame from the second on, of the unedited video: `neighbour_flows(originals, estimator)`. All pixels
    count alike.
    """
    _require_two(frames)
    pulled = (
        (before, now, consistency_mask(forward, backward), backward)
        for before, now, (forward, backward) in zip(frames[:-1], frames[1:], flows, strict=True)
    )
    return _unsteadiness(frames, pulled)


def long_range_error(frames: torch.Tensor, originals: torch.Tensor, estimator: FlowEstimator) -> Unsteadiness:
    """Return the mean absolute difference of each frame t > 0 and frame 0 pulled into it by the originals'
    flow 0 <-> t.

    Drift that neighbouring frames hide shows here (Lai et al., ECCV 2018, long-term error). `frames`,
    `originals` (time, 3, h, w) in [0, 1], two or more. Pixels whose flow is inconsistent, such as occluded
    ones, do not count.
    """
    _require_two(frames)
    first = originals[:1]

    def pulled() -> Iterator[tuple[torch.Tensor, ...]]:
        for t in range(1, len(frames)):
            both = estimator.estimate(
                torch.cat([first, originals[t : t + 1]]), torch.cat([originals[t : t + 1], first])
            )
            yield frames[0], frames[t], consistency_mask(both[:1], both[1:]), both[1:]

    return _unsteadiness(frames, pulled())


def _unsteadiness(frames: torch.Tensor, pulled: Iterable[tuple[torch.Tensor, ...]]) -> Unsteadiness:
    """Return the mean difference over `pulled`: (reference, frame, mask (1, 1, h, w), flow (1, 2, h, w) from
    frame to reference) each.
    """
    total = weight = 0.0
    pixels = 0
    each, areas = [], []
    for reference, frame, consistent, backward in pulled:
        mask = consistent[0].to(frames.dtype)
        difference = (frame - warp(reference[None], backward)[0]).abs().mean(0, keepdim=True)
        found, area = float((difference * mask).sum()), float(mask.sum())
        total, weight, pixels = total + found, weight + area, pixels + mask.numel()
        if area:
            each.append(found / area)
            areas.append(area)
    return Unsteadiness(
        total / max(weight, 1.0), mean_gradient(frames), weight / pixels, tuple(each), tuple(areas)
    )


def _require_two(frames: torch.Tensor) -> None:
    if len(frames) < 2:
        raise ValueError(f"a video of {len(frames)} frames: two are needed to see a change")
