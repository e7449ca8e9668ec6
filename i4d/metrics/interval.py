"""How sure a mean is: percentile bootstrap over frames (Efron 1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(
    values: Sequence[float], level: float = 0.95, seed: int = 0, weights: Sequence[float] | None = None
) -> tuple[float, float]:
    """Return the interval in which the mean of `values` lies with probability `level`, by resampling them.

    With `weights` (at least 0, not all 0), such as the pixels that each value is a mean of, values and
    weights are drawn together and the mean is the weighted one.

    Frames of a video resemble their neighbours, so the true interval is wider than this one; it says how far
    a figure hangs on single frames. ValueError without values. The same values and seed give the same
    interval.
    """
    if not len(values):
        raise ValueError("bootstrap_interval: no values")
    if not 0 < level < 1:
        raise ValueError(f"bootstrap_interval: level {level} is not between 0 and 1")
    sample = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))
    if weights is None:
        means = sample[drawn].mean(1)
    else:
        weight = np.asarray(weights, dtype=np.float64)
        if weight.shape != sample.shape or weight.min() < 0 or weight.max() == 0:
            raise ValueError("bootstrap_interval: one weight of at least 0 per value, not all 0")
        total = weight[drawn].sum(1)
        means = (sample * weight)[drawn].sum(1)[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
