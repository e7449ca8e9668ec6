"""How many cameras see a point of the scene, and how far apart they stand around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from i4d.errors import SceneError
from i4d.scenes.bounds import scene_middle
from i4d.scenes.calibration.epipolar import distances, triangulated
from i4d.scenes.calibration.matches import Pair, PairMatches
from i4d.types import Camera

ENOUGH = 60  # matched points that stand for the scene; below, a ball around its middle does
NEAR_PX = 1.5
GRID = 9


@dataclass(frozen=True)
class Coverage:
    """`seen_by`: median number of edited cameras that look at a point of the scene; `by_two`: share of points
    that at least two do. `apart_deg`: angle at the scene's middle between a camera and its nearest neighbour,
    median over the cameras. `from_matches`: points are matched ones.
    """

    cameras: int
    seen_by: float
    by_two: float
    apart_deg: float
    from_matches: bool


def coverage(
    cameras: Sequence[Camera], edited: Sequence[int], matches: dict[Pair, PairMatches]
) -> Coverage | None:
    """Return how the edited views cover the scene; None where the cameras look at nothing in common."""
    points = _matched_points(cameras, matches)
    try:
        middle = np.median(points, 0) if len(points) >= ENOUGH else scene_middle(cameras)[0]
    except SceneError:
        return None
    from_matches = len(points) >= ENOUGH
    if not from_matches:
        points = _ball(cameras, middle)
    seen = np.sum([_sees(cameras[v], points) for v in edited], axis=0)
    rays = np.stack([cameras[v].centre - middle for v in edited])
    rays = rays / np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    angles = np.degrees(np.arccos(np.clip(rays @ rays.T, -1, 1)))
    np.fill_diagonal(angles, np.inf)
    apart = float(np.median(angles.min(1))) if len(edited) > 1 else 0.0
    return Coverage(
        len(edited), float(np.median(seen)), float(np.mean(seen >= 2)), round(apart, 1), from_matches
    )


def _matched_points(cameras: Sequence[Camera], matches: dict[Pair, PairMatches]) -> np.ndarray:
    found = [np.zeros((0, 3))]
    for (a, b), m in matches.items():
        if m.sure:
            keep = distances(cameras[a], cameras[b], m.xa, m.xb) < NEAR_PX
            points = triangulated(cameras[a], cameras[b], m.xa[keep], m.xb[keep])
            found.append(points[_ahead(cameras[a], points) & _ahead(cameras[b], points)])
    return np.concatenate(found)


def _ball(cameras: Sequence[Camera], middle: np.ndarray) -> np.ndarray:
    """Return points (n, 3) within a third of the median camera's distance from the middle."""
    radius = float(np.median([np.linalg.norm(c.centre - middle) for c in cameras])) / 3
    axis = np.linspace(-1, 1, GRID)
    ball = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return middle + radius * ball[np.linalg.norm(ball, axis=1) <= 1]


def _ahead(camera: Camera, points: np.ndarray) -> np.ndarray:
    return (points - camera.centre) @ camera.world_from_camera[:3, 2] > 0


def _sees(camera: Camera, points: np.ndarray) -> np.ndarray:
    image = (points - camera.centre) @ camera.world_from_camera[:3, :3] @ camera.K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = image[:, :2] / image[:, 2:]
    return (image[:, 2] > 0) & (xy >= 0).all(1) & (xy < [camera.width, camera.height]).all(1)
