"""What the check sees of every camera: a few frames at a working size, and what moves in a burst of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.scenes.prepare import undistortion
from i4d.scenes.timeline import Timeline
from i4d.types import Camera, Scene

WIDTH = 640  # pixels: features are found and distances told at this width, or the source's where it is less
MOTION_PIXELS = 80_000  # of the picture in which motion is looked for
STILLS = 7  # frames of a burst whose median shows what stands still
PIXELS = 1.7e9  # source pixels decoded for the whole rig: a few seconds on two cores
BURST = 18, 96  # frames of a burst, at least and at most


@dataclass(frozen=True, eq=False)
class Look:
    """One camera at the working size, undistorted.

    `still` (height, width, 3) uint8 is the median over the burst, `moving` (m, 2) are the centres of pixels
    that move, in pixels of the working size, and `energy` (m, frames - 1) says how much each does between two
    frames. `frames` were looked at. `per_px`: source pixels in one pixel of the working size.
    """

    camera: Camera
    still: np.ndarray
    moving: np.ndarray
    energy: np.ndarray
    frames: int
    per_px: float


def burst(scene: Scene, config: SceneConfig) -> tuple[int, int]:
    """Return the first of the neighbouring source frames that are looked at, and how many: from where all
    cameras have begun (what stands in for missing frames does not move), also past those that the scene uses,
    since a lag shows in motion and a short stretch has little of it.
    """
    pixels = sum(c.width * c.height for c in scene.source_cameras)
    first, there = scene.first, (scene.num_frames - 1) * config.stride + 1
    if isinstance(scene.source, Timeline):
        first = min(scene.source.begin, scene.first + there - 1)
        there = max(there + scene.first - first, scene.source.end - first)
    return first, int(min(there, max(BURST[0], min(BURST[1], PIXELS / pixels))))


def read_looks(
    scene: Scene, config: SceneConfig, progress: Callable[[int, int], None] | None = None
) -> list[Look]:
    """Return a look at every camera of a scene whose cameras stand still; `progress`: cameras done, in all.

    SceneError where a video cannot be read.
    """
    (first, count), looks = burst(scene, config), []
    with side_by_side() as pool:
        for look in pool.map(lambda camera: _look(scene, camera, first, count), scene.source_cameras):
            looks.append(look)
            if progress:
                progress(len(looks), len(scene.source_cameras))
    return looks


def side_by_side() -> ThreadPoolExecutor:
    """Return a pool with a thread for every core, four at most: decoders and OpenCV let go of the
    interpreter.
    """
    return ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0))))


def _look(scene: Scene, original: Camera, first: int, count: int) -> Look:
    width = min(WIDTH, original.width)
    camera = original.resized(width, round(width * original.height / original.width))
    maps = undistortion(camera) if camera.distortion else None
    shrink = min(1.0, (MOTION_PIXELS / (camera.width * camera.height)) ** 0.5)
    grey_width = max(1, round(shrink * width))
    grey_size = grey_width, round(grey_width * camera.height / width)
    kept = set(np.linspace(0, count - 1, min(STILLS, count)).round().astype(int).tolist())
    stills, greys = [], []
    size = camera.width, camera.height
    for i, small in enumerate(scene.source.read(original.name, first, first + count, size=size)):
        if maps is not None:
            small = cv2.remap(small, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        if i in kept:
            stills.append(small)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        greys.append(cv2.resize(grey, grey_size, interpolation=cv2.INTER_AREA))
    moving, energy = moving_pixels(np.stack(greys))
    return Look(
        replace(camera, distortion=()),
        np.partition(np.stack(stills), len(stills) // 2, axis=0)[len(stills) // 2],
        moving * (camera.width / grey_width),
        energy,
        len(greys),
        original.width / camera.width,
    )


def moving_pixels(greys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (m, 2) of the pixels of grey frames (frames, height, width) that ever move, and how
    much they do from frame to frame (m, frames - 1) beyond four times the noise.
    """
    if len(greys) < 2:
        return np.zeros((0, 2)), np.zeros((0, 0), np.float32)
    smooth = np.stack([cv2.GaussianBlur(g.astype(np.float32), (0, 0), 1.0) for g in greys])
    change = np.abs(np.diff(smooth, axis=0))
    noise = 1.4826 * float(np.median(change)) + 0.5
    change = np.clip(change - 4 * noise, 0, 30)
    y, x = np.nonzero(change.max(0) > 0)
    return np.stack([x + 0.5, y + 0.5], 1), np.ascontiguousarray(change[:, y, x].T)
