"""Means over images, with their intervals; and the PSNR that most of them are means of."""

from __future__ import annotations

import math

import numpy as np

from i4d.metrics.interval import bootstrap_interval


class Mean:
    """Collects PSNRs (or any figure) image by image."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        self._values.append(value)

    def value(self, digits: int = 4) -> float | None:
        """Return the mean, or None where nothing was added."""
        return round(float(np.mean(self._values)), digits) if self._values else None

    def interval(self, digits: int = 4) -> list[float] | None:
        """Return the 95 % bootstrap interval of the mean, or None where nothing was added."""
        return [round(bound, digits) for bound in bootstrap_interval(self._values)] if self._values else None

    def each(self, digits: int = 4) -> list[float]:
        """Return what was added, in order."""
        return [round(value, digits) for value in self._values]


def image_psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the PSNR in dB of two uint8 images, inside a mask (height, width) where given; at most 100."""
    error = (image.astype(np.float64) - reference) / 255
    error = (error if mask is None else error[mask]) ** 2
    return min(100.0, -10 * math.log10(max(float(error.mean()), 1e-12)))
