"""Points that two still pictures have in common. No pose is asked: what fits is for the check to say."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from i4d.scenes.calibration.looks import Look, side_by_side
from i4d.types import Camera

FEATURES = 1500
RATIO = 0.8  # Lowe's: the best match beside the second
SURE = 12  # matches that agree with one fundamental matrix, for a pair to count
SURE_SHARE = 0.5  # and their share; below, RANSAC finds as many among chance matches
MANY, MANY_SHARE = 40, 0.35
ALL_PAIRS_UP_TO = 12  # cameras; beyond, every camera with its NEIGHBOURS nearest
NEIGHBOURS = 6

Pair = tuple[int, int]
Features = tuple[np.ndarray, np.ndarray]  # points (n, 2) and descriptors (n, 128)


@dataclass(frozen=True, eq=False)
class PairMatches:
    """Matched pixels (n, 2) of two cameras at the working size, those that agree among themselves; `found`
    says of how many. `sure`: they are enough to judge poses by.
    """

    xa: np.ndarray
    xb: np.ndarray
    found: int

    @property
    def sure(self) -> bool:
        n = len(self.xa)
        return (n >= SURE and n >= SURE_SHARE * self.found) or (n >= MANY and n >= MANY_SHARE * self.found)


def features(image: np.ndarray) -> Features:
    """Return SIFT points (n, 2) of an RGB image and their descriptors (n, 128) of unit length (square roots,
    Arandjelovic and Zisserman 2012).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    points, found = cv2.SIFT.create(nfeatures=FEATURES, contrastThreshold=0.02).detectAndCompute(grey, None)
    if found is None:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    xy = np.array([p.pt for p in points]) + 0.5
    return xy, np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-9))


def mutual(a: Features, b: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return which features (n,) of a and of b are each other's best, clearly before the second: none where
    either has fewer than eight.
    """
    (xa, da), (xb, db) = a, b
    if min(len(xa), len(xb)) < 8:
        return np.zeros(0, int), np.zeros(0, int)
    apart = 2 - 2 * da @ db.T
    best = apart.argmin(1)
    two = np.partition(apart, 1, axis=1)[:, :2]
    both = apart.argmin(0)[best] == np.arange(len(xa))
    good = np.nonzero(both & (two[:, 0] < RATIO**2 * two[:, 1]))[0]
    return good, best[good]


def matched(a: Features, b: Features) -> PairMatches:
    """Return the mutual matches of two sets of features that agree with one fundamental matrix."""
    in_a, in_b = mutual(a, b)
    xa, xb, found = a[0][in_a], b[0][in_b], len(in_a)
    inliers = np.zeros(found, bool)
    if found >= 8:
        cv2.setRNGSeed(0)  # RANSAC gives the same answer every time
        try:
            mask = cv2.findFundamentalMat(xa, xb, cv2.USAC_MAGSAC, 1.0, 0.999, 5000)[1]
        except cv2.error:  # it stumbles where no model fits a handful of chance matches
            mask = None
        inliers = inliers if mask is None else mask.ravel().astype(bool)
    return PairMatches(xa[inliers], xb[inliers], found)


def pairs_of(cameras: list[Camera]) -> list[Pair]:
    """Return the pairs that are compared: all of a small rig, else each camera with its nearest."""
    n = len(cameras)
    if n <= ALL_PAIRS_UP_TO:
        return list(combinations(range(n), 2))
    centres = np.stack([c.centre for c in cameras])
    axes = np.stack([c.world_from_camera[:3, 2] for c in cameras])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)
    apart = apart / np.median(apart) + np.arccos(np.clip(axes @ axes.T, -1, 1))
    near = np.argsort(apart, axis=1)[:, 1 : NEIGHBOURS + 1]
    return sorted({(min(a, int(b)), max(a, int(b))) for a in range(n) for b in near[a]})


def all_matches(looks: list[Look], pairs: list[Pair]) -> dict[Pair, PairMatches]:
    """Return what the pairs have in common, of what stands still."""
    with side_by_side() as pool:
        found = list(pool.map(features, [look.still for look in looks]))
        return dict(zip(pairs, pool.map(lambda p: matched(found[p[0]], found[p[1]]), pairs), strict=True))
