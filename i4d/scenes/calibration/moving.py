"""A moving camera's frames against each other: what of the check remains where no two pictures are of one
instant.
"""

from __future__ import annotations

import cv2
import numpy as np

from i4d.scenes.calibration.epipolar import distances
from i4d.scenes.calibration.looks import WIDTH
from i4d.scenes.calibration.matches import PairMatches, features, matched
from i4d.scenes.prepare import undistortion
from i4d.types import Camera, Scene

PICTURES = 7  # over the film; neighbours of them are compared

Compared = tuple[int, int, PairMatches, float | None]


def moving_pairs(scene: Scene, original: Camera, stride: int) -> list[Compared]:
    """Return (frame, later frame, matches, median distance from the epipolar lines in pixels of the working
    size, None where matches are too few or the camera hardly moved) over a film. What moves itself lies off
    its lines, so the median is that of the background. `stride`: of the scene.
    """
    step = max(1, (scene.num_frames - 1) // (PICTURES - 1))
    frames = list(range(0, scene.num_frames, step))[:PICTURES]
    width = min(WIDTH, original.width)
    camera = original.resized(width, round(width * original.height / original.width))
    maps = undistortion(camera) if camera.distortion else None
    stop = scene.first + frames[-1] * stride + 1
    found = []
    for image in scene.source.read(
        original.name, scene.first, stop, stride * step, size=(camera.width, camera.height)
    ):
        if maps is not None:
            image = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        found.append(features(image))
    out: list[Compared] = []
    for i, (a, b) in enumerate(zip(frames, frames[1:], strict=False)):
        first, second = camera.at(a), camera.at(b)
        m = matched(found[i], found[i + 1])
        moved = float(np.linalg.norm(first.centre - second.centre))
        px = None
        if m.sure and moved > 1e-6:
            px = round(float(np.median(distances(first, second, m.xa, m.xb))), 2)
        out.append((a, b, m, px))
    return out
