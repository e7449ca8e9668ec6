"""A picture of two cameras: their matches, and the epipolar lines that matched points should lie on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from i4d.scenes.calibration.check import Check, PairFigure, Seen
from i4d.scenes.calibration.epipolar import distances, fundamental
from i4d.types import Camera

SHOWN = 14  # matches
HEIGHT = 560  # pixels of each view
GOOD_PX, BAD_PX = 1.0, 4.0
INK, PAPER = (30, 30, 30), (250, 250, 250)


def worst_pair(check: Check) -> PairFigure | None:
    """Return the pair whose matches lie farthest from their lines, else the one whose motion is least
    alike.
    """
    by_px = [p for p in check.pairs if p.median_px is not None]
    if by_px:
        return max(by_px, key=lambda p: p.median_px or 0.0)
    by_motion = [p for p in check.pairs if p.alike is not None]
    return min(by_motion, key=lambda p: p.alike or 0.0) if by_motion else None


def picture(check: Check, seen: Seen) -> np.ndarray:
    """Return the worst pair side by side, uint8 (height, width, 3): matched points in one colour each, and
    through the other picture the line that each belongs on. A point that is off its line has a stroke to it.
    """
    worst = worst_pair(check)
    names = [c.name for c in seen.cameras]
    a, b = (names.index(worst.a), names.index(worst.b)) if worst else (0, 1)
    m = seen.evidence.matches[min(a, b), max(a, b)]
    xa, xb = m.xa, m.xb
    cams = seen.cameras[a], seen.cameras[b]
    chosen = _spread(xa) if len(xa) else np.zeros(0, int)
    colours = [_colour(i, len(chosen)) for i in range(len(chosen))]
    away = distances(*cams, xa[chosen], xb[chosen])
    F = fundamental(*cams)
    views = []
    for side, (x, lines) in enumerate(((xa, _lines(F.T, xb[chosen])), (xb, _lines(F, xa[chosen])))):
        image, scale = _enlarged(seen.looks[(a, b)[side]].still)
        for point, line, colour in zip(x[chosen], lines, colours, strict=True):
            _draw(image, point * scale, line / [1, 1, 1 / scale], colour)
        views.append(_titled(image, cams[side]))
    gap = np.full((views[0].shape[0], 12, 3), PAPER, np.uint8)
    return np.vstack([_heading(np.hstack([views[0], gap, views[1]]).shape[1], worst, away), _beside(views)])


def _lines(F: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.hstack([points, np.ones((len(points), 1))]) @ F.T


def _spread(points: np.ndarray) -> np.ndarray:
    """Return the indices of SHOWN points that lie far from each other, by always taking the farthest."""
    chosen = [int(np.argmin(np.linalg.norm(points - points.mean(0), axis=1)))]
    far = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(SHOWN, len(points)):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def _colour(i: int, count: int) -> tuple[int, int, int]:
    hsv = np.array([[[round(179 * i / max(1, count)), 200, 255]]], np.uint8)
    red, green, blue = (int(v) for v in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])
    return red, green, blue


def _enlarged(image: np.ndarray) -> tuple[np.ndarray, float]:
    scale = HEIGHT / image.shape[0]
    size = round(image.shape[1] * scale), HEIGHT
    grown = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    grey = cv2.cvtColor(grown, cv2.COLOR_RGB2GRAY)[..., None]
    return np.ascontiguousarray((0.45 * grown + 0.3 * grey + 40).astype(np.uint8)), scale


def _draw(image: np.ndarray, point: np.ndarray, line: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the line a x + b y + c = 0, the point, and a stroke from the point to the line."""
    height, width = image.shape[:2]
    a, b, c = line / max(float(np.hypot(line[0], line[1])), 1e-12)
    foot = point - (a * point[0] + b * point[1] + c) * np.array([a, b])
    along = np.array([-b, a]) * 2 * (width + height)
    cv2.line(image, _at(foot - along), _at(foot + along), colour, 1, cv2.LINE_AA, _BITS)
    if np.linalg.norm(point - foot) > 3:
        cv2.line(image, _at(point), _at(foot), (255, 255, 255), 2, cv2.LINE_AA, _BITS)
    for radius, ink, filled in ((6, INK, -1), (5, colour, -1)):
        cv2.circle(image, _at(point), radius << _BITS, ink, filled, cv2.LINE_AA, _BITS)


_BITS = 4  # of sub-pixel drawing


def _at(xy: np.ndarray) -> tuple[int, int]:
    limit = 1 << 24
    x, y = np.clip(np.round((xy - 0.5) * (1 << _BITS)), -limit, limit)
    return int(x), int(y)


def _titled(image: np.ndarray, camera: Camera) -> np.ndarray:
    cv2.rectangle(image, (0, 0), (14 + 13 * len(camera.name), 34), INK, -1)
    cv2.putText(image, camera.name, (8, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.7, PAPER, 1, cv2.LINE_AA)
    return image


def _beside(views: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((views[0].shape[0], 12, 3), PAPER, np.uint8)
    return np.hstack([views[0], gap, views[1]])


def _heading(width: int, worst: PairFigure | None, away: np.ndarray) -> np.ndarray:
    strip = np.full((64, width, 3), PAPER, np.uint8)
    if worst is None or worst.median_px is None:
        title = "no pair with enough matches"
        below = "points that match by chance, and their lines" if len(away) else "nothing matches"
    else:
        title = f"{worst.a} and {worst.b}: {worst.median_px:.2f} px from the epipolar lines"
        below = f"median of {worst.matches} matches; each point belongs on the line of its colour"
    for text, y, size, ink in ((title, 28, 0.65, INK), (below, 53, 0.5, (110, 110, 110))):
        cv2.putText(strip, text, (10, y), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
    return strip
