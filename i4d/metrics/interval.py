"""How sure a mean is: a percentile bootstrap (Efron 1979) that draws anew what was drawn in the first place.

Frames of a video resemble their neighbours, pictures of one camera resemble each other, and pairs of cameras
share cameras; drawn one by one as if they were independent, they make an interval that is far too narrow. So
whole levels are drawn instead: seeds of the editor, then cameras (a pair of cameras is drawn as often as both
of its cameras are; Snijders and Borgatti 1999), then stretches of time (circular blocks; Politis and Romano
1992), the same stretches for all cameras, which see the same motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
FEWEST_CAMERAS = 3  # of pairs: with two there is one pair, which is drawn or not


@dataclass(frozen=True)
class Origin:
    """What a value was measured on: an instant, the cameras (one, or a pair), the seed of the editor."""

    time: int = 0
    cameras: tuple[int, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """Values and where each comes from."""

    values: tuple[float, ...]
    origins: tuple[Origin, ...]

    def to_json(self, digits: int = 4) -> dict:
        """Return lists of values, instants and cameras."""
        return {
            "values": [round(value, digits) for value in self.values],
            "times": [origin.time for origin in self.origins],
            "cameras": [list(origin.cameras) for origin in self.origins],
        }

    @classmethod
    def from_json(cls, tree: dict, seed: int = 0) -> Samples:
        """Return what `to_json` wrote, as of a run with this seed."""
        places = zip(tree["times"], tree["cameras"], strict=True)
        return cls(
            tuple(tree["values"]), tuple(Origin(time, tuple(cameras), seed) for time, cameras in places)
        )

    def minus(self, other: Samples) -> Samples | None:
        """Return the differences, value by value; None where they were not measured on the same things."""
        if self.origins != other.origins:
            return None
        return Samples(tuple(a - b for a, b in zip(self.values, other.values, strict=True)), self.origins)

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.values + other.values, self.origins + other.origins)


def bootstrap_interval(
    values: Sequence[float],
    level: float = 0.95,
    seed: int = 0,
    weights: Sequence[float] | None = None,
    origins: Sequence[Origin] | None = None,
) -> tuple[float, float]:
    """Return the interval in which the mean of `values` lies with probability `level`.

    `origins` say what each value was measured on; None: one camera's frames, in order. With `weights` (at
    least 0, not all 0), such as the pixels that each value is a mean of, the mean is the weighted one.
    ValueError without values. The same input and seed give the same interval. Where nothing can be drawn (one
    value, one pair of cameras) it is the mean itself: `levels` tells.
    """
    if not len(values):
        raise ValueError("bootstrap_interval: no values")
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval: level {level} is not between 0 and 1")
    sample = np.asarray(values, dtype=np.float64)
    weight = np.ones(len(sample)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != sample.shape or weight.min() < 0 or weight.max() == 0:
        raise ValueError("bootstrap_interval: one weight of at least 0 per value, not all 0")
    places = [Origin(i) for i in range(len(sample))] if origins is None else list(origins)
    if len(places) != len(sample):
        raise ValueError("bootstrap_interval: one origin per value")
    drawn, widen = _times_drawn(places, sample, weight, np.random.default_rng(seed))
    drawn *= weight
    total, mean = drawn.sum(1), float((sample * weight).sum() / weight.sum())
    means = (drawn * sample).sum(1)[total > 0] / total[total > 0]
    low, high = np.quantile(mean + widen * (means - mean), [(1 - level) / 2, (1 + level) / 2])
    if sample.min() >= 0:  # an error, a share: widening must not take it below what it can be
        low = max(low, 0.0)
    return float(low), float(high)


def levels(origins: Sequence[Origin]) -> tuple[str, ...]:
    """Return what an interval over values of these origins draws anew: of "seed", "camera", "time"."""
    cameras, paired = _cameras(origins)
    found = {
        "seed": len({o.seed for o in origins}) > 1,
        "camera": len(cameras) >= (FEWEST_CAMERAS if paired else 2),
        "time": len({o.time for o in origins}) > 1,
    }
    return tuple(name for name, there in found.items() if there)


def _cameras(origins: Sequence[Origin]) -> tuple[list[int], bool]:
    """Return the cameras that take part, and whether values are of pairs of them."""
    return sorted({c for o in origins for c in o.cameras}), any(len(o.cameras) > 1 for o in origins)


def _times_drawn(
    origins: list[Origin], sample: np.ndarray, weight: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Return how often each value is drawn (RESAMPLES, value), and by how much means of so few draws spread
    too little: k independent things drawn k times have a variance of (k - 1) / k of the true one.
    """
    drawn, redrawn, fewest = np.ones((RESAMPLES, len(origins))), levels(origins), float("inf")
    if "seed" in redrawn:
        seeds = sorted({o.seed for o in origins})
        drawn *= _counts(len(seeds), random)[:, [seeds.index(o.seed) for o in origins]]
        fewest = min(fewest, len(seeds))
    if "camera" in redrawn:
        cameras, _ = _cameras(origins)
        counts = _counts(len(cameras), random)
        fewest = min(fewest, len(cameras))
        for place in range(max(len(o.cameras) for o in origins)):
            drawn *= counts[:, [cameras.index(o.cameras[place]) for o in origins]]
    if "time" in redrawn:
        times = sorted({o.time for o in origins})
        at = np.array([times.index(o.time) for o in origins])
        area = np.bincount(at, weight, len(times))
        series = np.bincount(at, weight * sample, len(times)) / np.maximum(area, 1e-300)
        block = block_length(series)
        drawn *= _block_counts(len(times), block, random)[:, at]
        fewest = min(fewest, len(times) / block)
    return drawn, (fewest / (fewest - 1)) ** 0.5 if 1 < fewest < float("inf") else 1.0


def _counts(things: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each of some things is drawn when as many are drawn (RESAMPLES, thing)."""
    return random.multinomial(things, [1 / things] * things, RESAMPLES).astype(np.float64)


def _block_counts(length: int, block: int, random: np.random.Generator) -> np.ndarray:
    """Return how often each instant is drawn in circular blocks (RESAMPLES, instant)."""
    blocks = -(-length // block)
    starts = random.integers(0, length, (RESAMPLES, blocks, 1))
    drawn = ((starts + np.arange(block)) % length).reshape(RESAMPLES, -1)[:, :length]
    rows = np.arange(RESAMPLES)[:, None] * length
    return np.bincount((rows + drawn).ravel(), minlength=RESAMPLES * length).reshape(RESAMPLES, length) * 1.0


def block_length(series: Sequence[float] | np.ndarray) -> int:
    """Return how many neighbouring values to draw together: until they no longer resemble each other.

    Twice the first lag at which the autocorrelation is within what noise gives (1 / sqrt(n)), at most a third
    of n; 1 where neighbours do not resemble each other at all.
    """
    away = np.asarray(series, dtype=np.float64) - np.mean(series)
    n, power = len(away), float((away**2).sum())
    if n < 6 or power <= 1e-12 * n:
        return 1
    for lag in range(1, n // 3 + 1):
        if float((away[:-lag] * away[lag:]).sum()) / power < 1 / np.sqrt(n):
            return 1 if lag == 1 else min(n // 3, 2 * lag)
    return n // 3
