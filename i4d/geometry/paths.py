"""Novel camera paths: a slow loop near the rig, always looking at the same place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from i4d.types import Camera


def looking_at(centre: np.ndarray, target: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return world_from_camera (4, 4) of a camera at `centre` that looks at `target`, its y axis near `down`
    (all (3,)).
    """
    forward = target - centre
    forward = forward / np.linalg.norm(forward)
    right = np.cross(down, forward)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, centre], 1)
    return pose


def standing(cameras: Sequence[Camera], num_frames: int) -> list[Camera]:
    """Return every camera as it stands: one that moves once a frame, one that does not once."""
    return [c.at(f) for c in cameras for f in range(1 if c.path is None else num_frames)]


def spiral(
    cameras: Sequence[Camera],
    target: np.ndarray,
    num: int,
    forward_facing: bool,
    turns: float = 1.0,
    share: float = 0.6,
) -> tuple[Camera, ...]:
    """Return `num` cameras on a loop, all with the image size and K of the first camera.

    Forward-facing rigs: an ellipse about the mean position with `share` of the cameras' mean offsets from it
    as half-axes (right and down), after the render path of LLFF (Mildenhall et al. 2019). Rigs that stand
    around a scene: a circle about the first camera with a tenth of its distance to the target as radius,
    because between such cameras nothing is known.
    """
    first = cameras[0]
    middle = np.mean([c.centre for c in cameras], 0) if forward_facing else first.centre
    down = (
        np.mean([c.world_from_camera[:3, 1] for c in cameras], 0)
        if forward_facing
        else first.world_from_camera[:3, 1]
    )
    axes = looking_at(middle, target, down)
    if forward_facing:
        offsets = np.abs(np.stack([(c.centre - middle) @ axes[:3, :2] for c in cameras]))
        radii = 2 * share * offsets.mean(0)
    else:
        radii = np.full(2, 0.1 * np.linalg.norm(target - middle))
    path = []
    for i in range(num):
        angle = 2 * math.pi * turns * i / num
        centre = middle + axes[:3, :2] @ (radii * [math.sin(angle), -0.7 * math.cos(angle)])
        path.append(
            Camera(
                f"path{i:03d}", first.width, first.height, first.K.copy(), looking_at(centre, target, down)
            )
        )
    return tuple(path)
