"""Two-view geometry of declared cameras (Hartley and Zisserman, chapter 9). Pixel centres lie at +0.5."""

from __future__ import annotations

import cv2
import numpy as np

from i4d.types import Camera


def straightened(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Return image points (n, 2) as a pinhole of the same K has them; the same points without distortion."""
    if not camera.distortion or not len(xy):
        return xy
    flat = cv2.undistortPoints(
        xy.reshape(-1, 1, 2).astype(np.float64), camera.K, np.array(camera.distortion), P=camera.K
    )
    return flat.reshape(-1, 2)


def fundamental(a: Camera, b: Camera) -> np.ndarray:
    """Return F (3, 3) with x_b^T F x_a = 0 for pixels of two cameras."""
    b_from_a = np.linalg.inv(b.world_from_camera) @ a.world_from_camera
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.inv(b.K).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(a.K)


def distances(a: Camera, b: Camera, xa: np.ndarray, xb: np.ndarray) -> np.ndarray:
    """Return the symmetric epipolar distance (n,) in pixels of matched points (n, 2): the mean of each
    point's distance from the other's line.
    """
    F = fundamental(a, b)
    one = np.ones((len(xa), 1))
    pa, pb = np.hstack([straightened(a, xa), one]), np.hstack([straightened(b, xb), one])
    lines_b, lines_a = pa @ F.T, pb @ F
    off = np.abs((pb * lines_b).sum(1))
    lengths = [np.maximum(np.hypot(line[:, 0], line[:, 1]), 1e-12) for line in (lines_a, lines_b)]
    return 0.5 * (off / lengths[0] + off / lengths[1])


def directions(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Return the directions (n, 3) in world axes of the rays through pixels (n, 2)."""
    points = np.hstack([straightened(camera, xy), np.ones((len(xy), 1))])
    return points @ np.linalg.inv(camera.K).T @ camera.world_from_camera[:3, :3].T


def triangulated(a: Camera, b: Camera, xa: np.ndarray, xb: np.ndarray) -> np.ndarray:
    """Return the world points (n, 3) midway between the rays of matched pixels (n, 2)."""
    u, v = directions(a, xa), directions(b, xb)
    u, v = (d / np.linalg.norm(d, axis=1, keepdims=True) for d in (u, v))
    base, dot = b.centre - a.centre, (u * v).sum(1)
    wide = np.maximum(1 - dot**2, 1e-9)
    s = (u @ base - dot * (v @ base)) / wide
    t = (dot * (u @ base) - v @ base) / wide
    return 0.5 * (a.centre + s[:, None] * u + b.centre + t[:, None] * v)
