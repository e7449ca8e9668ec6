"""Synchronisation: how many frames late each camera started, from motion alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i4d.scenes.calibration.evidence import Evidence
from i4d.scenes.calibration.matches import Pair
from i4d.types import Camera

ALIKE = 0.25  # correlation at its best lag, below which a pair says nothing
STEP = 0.05  # frames
ALIKE_FRAMES = 0.6
LEAST_SPREAD = 0.1  # frames
RIVAL = 0.92  # of the best sum: another lag this good leaves it open
SWEEPS = 8


@dataclass(frozen=True)
class Lag:
    """A camera started `frames` late (early: below 0), give or take `spread`; `certain` says whether that
    can be relied on. `pairs`: how many others it was compared with.
    """

    frames: float
    spread: float
    certain: bool
    pairs: int


def find_lags(evidence: Evidence, cameras: Sequence[Camera]) -> dict[int, Lag]:
    """Return the lag of every view whose motion says one, relative to the majority."""
    curves = {}
    for pair in evidence.pairs:
        curve = evidence.curve(cameras, pair)
        if curve is not None and evidence.reach >= 2 and curve.max() >= ALIKE:
            curves[pair] = _fine(curve)
    views = sorted({v for pair in curves for v in pair})
    if len(views) < 2:
        return {}
    late = _solved(curves, views, evidence.reach)
    return {view: _lag(curves, late, view, evidence.reach) for view in views}


def _fine(curve: np.ndarray) -> np.ndarray:
    """Return a curve of whole frames at steps of STEP: cubic between them (Catmull-Rom)."""
    per = round(1 / STEP)
    padded = np.concatenate([curve[:1], curve, curve[-1:]])
    t = np.arange(per) / per
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    cubic = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.append(cubic.ravel(), curve[-1])


def _summed(curves: dict[Pair, np.ndarray], late: dict[int, float], view: int, reach: int) -> np.ndarray:
    """Return how well each lag of a view fits the others' lags."""
    tried = np.arange(-2 * reach, 2 * reach + STEP / 2, STEP)
    total = np.zeros(len(tried))
    for (a, b), curve in curves.items():
        if view in (a, b):
            lag = tried - late[a] if view == b else late[b] - tried
            at = np.round((lag + reach) / STEP).astype(int)
            inside = (at >= 0) & (at < len(curve))
            total += np.where(inside, curve[np.clip(at, 0, len(curve) - 1)], -0.2)
    return total


def _solved(curves: dict[Pair, np.ndarray], views: list[int], reach: int) -> dict[int, float]:
    """Return lags whose pairs are most alike, by moving one view at a time; the lags that most views share
    are 0 on average.
    """
    tried = np.arange(-2 * reach, 2 * reach + STEP / 2, STEP)
    late = dict.fromkeys(views, 0.0)
    for _ in range(SWEEPS):
        before = dict(late)
        for view in views:
            late[view] = float(tried[_summed(curves, late, view, reach).argmax()])
        middle = _majority(np.array(list(late.values())))
        late = {v: lag - middle for v, lag in late.items()}
        if all(abs(late[v] - before[v]) < STEP for v in views):
            break
    return late


def _majority(lags: np.ndarray) -> float:
    """Return the mean of the most lags (n,) within ALIKE_FRAMES of one of them; of equal groups that of
    the earliest lag in the list.
    """
    near = np.abs(lags[:, None] - lags) <= ALIKE_FRAMES
    return float(lags[near[near.sum(1).argmax()]].mean()) if len(lags) > 2 else float(lags[0])


def _lag(curves: dict[Pair, np.ndarray], late: dict[int, float], view: int, reach: int) -> Lag:
    """Return a view's lag with how far its pairs disagree about it."""
    own = {pair: curve for pair, curve in curves.items() if view in pair}
    errors = np.array([curve.argmax() * STEP - reach - (late[b] - late[a]) for (a, b), curve in own.items()])
    spread = 1.4826 * float(np.median(np.abs(errors))) / len(errors) ** 0.5
    alike = float(np.median([curve.max() for curve in own.values()]))
    spread = max(spread, LEAST_SPREAD / alike**2)  # motion that is less alike has blunter peaks
    total = _summed(curves, late, view, reach)
    best = int(total.argmax())
    peaks = np.nonzero((total[1:-1] >= total[:-2]) & (total[1:-1] > total[2:]))[0] + 1
    rivals = [total[p] for p in peaks if abs(p - best) * STEP > 1.5]
    clear = not rivals or max(rivals) < RIVAL * total[best]
    inside = 0 < best < len(total) - 1
    return Lag(round(late[view], 2), round(spread, 2), clear and inside and spread <= 0.6, len(own))
