"""Means over images, with their intervals."""

from __future__ import annotations

import numpy as np

from i4d.metrics.interval import Origin, Samples, bootstrap_interval


class Mean:
    """Collects PSNRs (or any figure) image by image, with the camera and the frame that each is of."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._origins: list[Origin] = []

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float, camera: int, frame: int) -> None:
        self._values.append(value)
        self._origins.append(Origin(frame, (camera,)))

    def value(self, digits: int = 4) -> float | None:
        """Return the mean, or None where nothing was added."""
        return round(float(np.mean(self._values)), digits) if self._values else None

    def interval(self, digits: int = 4) -> list[float] | None:
        """Return the 95 % bootstrap interval of the mean over cameras and stretches of time, or None where
        nothing was added.
        """
        if not self._values:
            return None
        found = bootstrap_interval(self._values, origins=self._origins)
        return [round(bound, digits) for bound in found]

    def each(self, digits: int = 4) -> dict:
        """Return what was added, with its origins."""
        return Samples(tuple(self._values), tuple(self._origins)).to_json(digits)
