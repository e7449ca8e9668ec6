"""Differences in exposure and white balance between cameras, from matched points."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from i4d.scenes.calibration.looks import Look
from i4d.scenes.calibration.matches import Pair, PairMatches

FEWEST = 10  # matched points that are neither dark nor burnt out
RANGE = 16, 240  # of 255, in every channel


def stops(looks: Sequence[Look], matches: dict[Pair, PairMatches]) -> dict[int, tuple[float, float]]:
    """Return, per view that is tied to others by matches, how much brighter it is than the rig's median in
    stops (factors of two of linear light), and how much redder than blue, likewise.
    """
    smooth = [cv2.blur(look.still, (5, 5)) for look in looks]
    rows, values, weights = [], [], []
    for (a, b), found in matches.items():
        if not found.sure:
            continue
        ca, cb = _colours(smooth[a], found.xa), _colours(smooth[b], found.xb)
        lit = np.all((np.minimum(ca, cb) >= RANGE[0]) & (np.maximum(ca, cb) <= RANGE[1]), axis=1)
        if lit.sum() < FEWEST:
            continue
        ratio = np.median(np.log2(_linear(cb[lit])) - np.log2(_linear(ca[lit])), axis=0)
        row = np.zeros(len(looks))
        row[a], row[b] = -1, 1
        rows.append(row)
        values.append((ratio.mean(), ratio[0] - ratio[2]))
        weights.append(lit.sum() ** 0.5)
    if not rows:
        return {}
    A, y, w = np.stack(rows), np.array(values), np.array(weights)[:, None]
    solved = np.linalg.lstsq(A * w, y * w, rcond=None)[0]
    tied = [v for v in range(len(looks)) if A[:, v].any()]
    solved = solved - np.median(solved[tied], axis=0)
    return {v: (round(float(solved[v, 0]), 2), round(float(solved[v, 1]), 2)) for v in tied}


def _colours(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    x = np.clip(xy[:, 0].astype(int), 0, image.shape[1] - 1)
    y = np.clip(xy[:, 1].astype(int), 0, image.shape[0] - 1)
    return image[y, x].astype(np.float64)


def _linear(colour: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB in 0..255 (IEC 61966-2-1)."""
    c = colour / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
