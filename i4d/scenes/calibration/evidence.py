"""How well assumed cameras explain the pictures, pair by pair, by what stands still and by what moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from i4d.scenes.calibration.epipolar import distances
from i4d.scenes.calibration.looks import Look
from i4d.scenes.calibration.matches import Pair, PairMatches
from i4d.scenes.calibration.motion import lag_curve
from i4d.types import Camera

SIGMA_PX = 1.0  # at this distance from its line a match counts half
REACH = 12  # frames of lag that are searched
FEWEST_FRAMES = 8  # that are compared at any lag
THIN = 6000  # moving pixels
MOTION_WEIGHT = 0.3  # of a pair judged by motion, beside one judged by matches


@dataclass(frozen=True, eq=False)
class Evidence:
    """Looks, matches and the pairs that are compared. `reach`: lags searched, in frames."""

    looks: Sequence[Look]
    matches: dict[Pair, PairMatches]
    _curves: dict = field(default_factory=dict)
    _whole: dict = field(default_factory=dict)
    _thin: list = field(default_factory=list)

    @property
    def pairs(self) -> list[Pair]:
        return list(self.matches)

    @property
    def reach(self) -> int:
        frames = min((look.energy.shape[1] for look in self.looks if len(look.energy)), default=0)
        return max(0, min(REACH, frames - max(FEWEST_FRAMES, frames // 2)))

    def of(self, views: Iterable[int]) -> list[Pair]:
        """Return the pairs that any of some views takes part in."""
        wanted = set(views)
        return [p for p in self.matches if wanted & set(p)]

    def by_matches(self, pair: Pair) -> bool:
        """Return whether a pair is judged by matches of what stands still; else by motion, where there is
        some.
        """
        return self.matches[pair].sure

    def distances(self, cameras: Sequence[Camera], pair: Pair) -> np.ndarray:
        """Return the epipolar distances (n,) of a pair's matches, in pixels of the working size."""
        found = self.matches[pair]
        return distances(cameras[pair[0]], cameras[pair[1]], found.xa, found.xb)

    def curve(self, cameras: Sequence[Camera], pair: Pair) -> np.ndarray | None:
        """Return `lag_curve` of a pair."""
        a, b = pair
        key = (a, b, _key(cameras[a]), _key(cameras[b]))
        if key not in self._whole:
            self._whole[key] = lag_curve(self.looks[a], self.looks[b], cameras[a], cameras[b], self.reach)
        return self._whole[key]

    def _alike(self, cameras: Sequence[Camera], pair: Pair) -> float | None:
        """Return how alike motion is at the best lag, from a part of the pixels: many cameras are tried."""
        a, b = pair
        key = (a, b, _key(cameras[a]), _key(cameras[b]))
        if key not in self._curves:
            self._thin.extend(_thinned(look) for look in self.looks[len(self._thin) :])
            curve = lag_curve(self._thin[a], self._thin[b], cameras[a], cameras[b], self.reach)
            self._curves[key] = None if curve is None else max(0.0, float(curve.max()))
        return self._curves[key]

    def quality(self, cameras: Sequence[Camera], pair: Pair) -> float | None:
        """Return how well a pair of assumed cameras explains its pictures, 0 to 1, or None where nothing can
        be said: 1 / (1 + (distance / 1 px)^2) on average over matches, or the best correlation of motion over
        lags.
        """
        if self.by_matches(pair):
            return float(np.mean(1 / (1 + (self.distances(cameras, pair) / SIGMA_PX) ** 2)))
        return self._alike(cameras, pair)

    def weight(self, pair: Pair) -> float:
        """Return how much a pair's quality counts."""
        return 1.0 if self.by_matches(pair) else MOTION_WEIGHT

    def qualities(self, cameras: Sequence[Camera], pairs: Iterable[Pair]) -> dict[Pair, float]:
        """Return the quality of those pairs of which something can be said."""
        all_ = {p: self.quality(cameras, p) for p in pairs}
        return {p: q for p, q in all_.items() if q is not None}


def _thinned(look: Look) -> Look:
    """Return a look with THIN moving pixels at most, evenly chosen."""
    step = max(1, len(look.moving) // THIN)
    return replace(look, moving=look.moving[::step], energy=look.energy[::step])


def _key(camera: Camera) -> tuple:
    return camera.K.tobytes(), camera.world_from_camera.tobytes(), camera.distortion
