"""Motion along epipolar planes: what two cameras see alike however far apart they stand.

Every plane through two cameras' centres cuts both pictures in a line, and what moves in the plane moves on
both lines. How much moves on each line over time is therefore the same signal for both but for its scale
(motion barcodes: Ben-Artzi, Kasten, Peleg, Werman, CVPR 2016). It needs no matches, so it works where the
views have nothing else in common; over lags it gives the synchronisation.
"""

from __future__ import annotations

import numpy as np

from i4d.scenes.calibration.epipolar import directions
from i4d.scenes.calibration.looks import Look
from i4d.types import Camera

LINES = 48  # epipolar planes across what moves
FEWEST_LINES = 12  # seen by both, below which nothing is said
FEWEST_PIXELS = 40  # that move
SEEN_GRID = 33


def lag_curve(a: Look, b: Look, cam_a: Camera, cam_b: Camera, reach: int) -> np.ndarray | None:
    """Return how alike two cameras' motion is, as a correlation in [-1, 1], with b lagging -reach..reach
    frames behind a (2 reach + 1,); None where too little moves or they share no planes.

    At lag L, frame i of a is compared with frame i - L of b: b started L frames late. `cam_a`, `cam_b`: the
    cameras as assumed, for the pictures of the looks.
    """
    signals = line_signals(a, b, cam_a, cam_b)
    if signals is None:
        return None
    first, second = signals
    frames = first.shape[1]
    out = np.zeros(2 * reach + 1)
    for i, lag in enumerate(range(-reach, reach + 1)):
        count = frames - abs(lag)
        x, y = first[:, max(0, lag) :][:, :count], second[:, max(0, -lag) :][:, :count]
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
        out[i] = (x * y).sum() / scale if scale > 1e-9 else 0.0
    return out


def line_signals(a: Look, b: Look, cam_a: Camera, cam_b: Camera) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the logarithm of the motion (planes, frames - 1) on the planes that both cameras see, or None
    where there is too little.
    """
    if min(len(a.moving), len(b.moving)) < FEWEST_PIXELS:
        return None
    baseline = cam_b.centre - cam_a.centre
    length = float(np.linalg.norm(baseline))
    if length < 1e-9:
        return None
    baseline = baseline / length
    moving = [directions(cam_a, a.moving), directions(cam_b, b.moving)]
    middle = sum(_across(d, baseline).mean(0) for d in moving)  # the cut at +-180 degrees lies opposite
    zero = middle / max(float(np.linalg.norm(middle)), 1e-12)
    axes = zero, np.cross(baseline, zero)
    angles = [_angle(d, *axes) for d in moving]
    both = np.concatenate(angles)
    low, high = np.percentile(both, [0.5, 99.5])
    if high - low < 1e-6:
        return None
    seen = _seen(cam_a, axes, low, high) & _seen(cam_b, axes, low, high)
    if seen.sum() < FEWEST_LINES:
        return None
    first, second = (
        _summed(angle, look.energy, low, high)[seen] for angle, look in zip(angles, (a, b), strict=True)
    )
    frames = min(first.shape[1], second.shape[1])
    return np.log1p(first[:, :frames]), np.log1p(second[:, :frames])


def _across(rays: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    across = rays - (rays @ baseline)[:, None] * baseline
    return across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)


def _angle(rays: np.ndarray, zero: np.ndarray, quarter: np.ndarray) -> np.ndarray:
    return np.arctan2(rays @ quarter, rays @ zero)


def _seen(camera: Camera, axes: tuple[np.ndarray, np.ndarray], low: float, high: float) -> np.ndarray:
    """Return which planes (LINES,) a camera sees a line of."""
    x, y = np.meshgrid(
        np.linspace(0, camera.width, SEEN_GRID), np.linspace(0, camera.height, SEEN_GRID), indexing="ij"
    )
    angle = _angle(directions(camera, np.stack([x.ravel(), y.ravel()], 1)), *axes).reshape(x.shape)
    seen = np.zeros(LINES + 1, int)
    for p, q in ((angle[1:], angle[:-1]), (angle[:, 1:], angle[:, :-1])):
        p, q = p.ravel(), q.ravel()
        whole = np.abs(p - q) < np.pi  # an edge across the cut would fill everything
        ends = (np.stack([np.minimum(p, q), np.maximum(p, q)])[:, whole] - low) / (high - low) * LINES
        first, last = np.clip(np.floor(ends[0]), 0, LINES), np.clip(np.ceil(ends[1]), 0, LINES)
        np.add.at(seen, first.astype(int), 1)
        np.add.at(seen, last.astype(int), -1)
    return np.cumsum(seen)[:LINES] > 0


def _summed(angle: np.ndarray, energy: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the motion (LINES, frames - 1) of pixels (m,) gathered by plane."""
    line = np.floor((angle - low) / (high - low) * LINES).astype(int)
    order = np.argsort(line, kind="stable")
    order = order[(line[order] >= 0) & (line[order] < LINES)]
    line = line[order]
    out = np.zeros((LINES, energy.shape[1]))
    if len(order):
        starts = np.nonzero(np.diff(line, prepend=-1))[0]
        out[line[starts]] = np.add.reduceat(energy[order], starts, axis=0)
    return out
