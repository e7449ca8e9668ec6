"""Pixels, rays and points. Camera axes are OpenCV's (x right, y down, z forward); pixel centres lie at +0.5.

Shapes: `K` (..., 3, 3), `world_from_camera` (..., 4, 4); points (..., 3). Directions are *not* normalised:
they have unit length along the optical axis, so `origin + depth_z * direction` is the point at that z depth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from i4d.types import Camera


def camera_tensors(camera: Camera, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return K (3, 3) and world_from_camera (4, 4) as float32."""
    K = torch.as_tensor(camera.K.copy(), dtype=torch.float32, device=device)
    pose = torch.as_tensor(camera.world_from_camera.copy(), dtype=torch.float32, device=device)
    return K, pose


def on_grid(camera: Camera, step: int) -> Camera:
    """Return a camera whose pixel centres are those of every `step`-th pixel of another in both directions,
    beginning with pixel `step` // 2.
    """
    width, height = max(1, camera.width // step), max(1, camera.height // step)
    return replace(camera, width=width, height=height, K=camera.K * np.array([[1 / step], [1 / step], [1.0]]))


def grid_step(camera: Camera, most: int) -> int:
    """Return the smallest odd step whose grid (`on_grid`) leaves at most `most` pixels of a camera: odd,
    so that the middle of a cell is the centre of a pixel.
    """
    step = 1
    while (camera.width // step) * (camera.height // step) > most:
        step += 2
    return step


def pixel_centres(width: int, height: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the (height, width, 2) grid of pixel centres (x, y), in pixels."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    return torch.stack([x, y], -1)


def rays_through(
    xy: torch.Tensor, K: torch.Tensor, world_from_camera: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins and directions (..., 3) in world axes of the rays through image points (..., 2)."""
    x = (xy[..., 0] - K[..., 0, 2] - K[..., 0, 1] * (xy[..., 1] - K[..., 1, 2]) / K[..., 1, 1]) / K[..., 0, 0]
    y = (xy[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
    in_camera = torch.stack([x, y, torch.ones_like(x)], -1)
    directions = (world_from_camera[..., :3, :3] @ in_camera[..., None])[..., 0]
    origins = world_from_camera[..., :3, 3].expand(directions.shape)
    return origins, directions


def camera_rays(camera: Camera, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins and directions (height, width, 3) through every pixel centre of a camera."""
    K, pose = camera_tensors(camera, device)
    return rays_through(pixel_centres(camera.width, camera.height, device), K, pose)


def unproject(depth_z: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Return the world points (height, width, 3) of a z-depth image (height, width)."""
    origins, directions = camera_rays(camera, depth_z.device)
    return origins + depth_z[..., None] * directions


def project(points: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image points (..., 2) in pixels and z depth (...) of world points; depth <= 0 lies behind the
    camera.
    """
    K, pose = camera_tensors(camera, points.device)
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    z = in_camera[..., 2]
    safe = torch.where(z.abs() < 1e-8, torch.full_like(z, 1e-8), z)
    image = in_camera @ K.T
    return image[..., :2] / safe[..., None], z


def in_picture(where: torch.Tensor, z: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Return which projected points (`project`: pixels (..., 2), depths (...)) lie before a camera and on
    one of its pixels.
    """
    size = torch.tensor([camera.width, camera.height], device=where.device)
    return (z > 0) & torch.isfinite(where).all(-1) & (where >= 0).all(-1) & (where < size).all(-1)
