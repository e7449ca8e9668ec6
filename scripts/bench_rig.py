"""The procedural rig in the field's own coordinates, for measurements without files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from i4d.fields.vector_matrix.spaces import space_for
from i4d.geometry.cameras import camera_tensors
from i4d.scenes.bounds import average_pose, ndc_bounds
from i4d.scenes.procedural.demo import demo_cameras
from i4d.scenes.procedural.render import exact
from i4d.scenes.procedural.world import demo_world
from i4d.scenes.readers.n3dv import NEAR_MARGIN
from i4d.types import Camera


def rig(width: int, height: int, count: int, device: str) -> tuple[tuple[Camera, ...], Any]:
    """Return the procedural rig, normalised as the N3DV reader does it, and its NDC space."""
    cameras = demo_cameras(width, height, count)
    average = np.linalg.inv(average_pose([c.world_from_camera for c in cameras]))
    depths = []
    for camera in cameras[:: max(1, count // 4)]:
        small = camera.resized(160, 120)
        K, pose = (t[None] for t in camera_tensors(small, device))
        seen = exact(demo_world(torch.tensor([0.5], device=device)), K, pose, small.width, small.height).depth
        depths += [0.9 * float(seen.min()), 1.05 * float(seen.max())]
    unit = NEAR_MARGIN * min(depths)
    moved = []
    for camera in cameras:
        pose = average @ camera.world_from_camera
        pose[:3, 3] /= unit
        moved.append(replace(camera, world_from_camera=pose))
    return tuple(moved), space_for(ndc_bounds(moved, 1.0, max(depths) / unit), moved)
