"""Whole images of a field from any camera: colour and depth along the optical axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from i4d.field.channels import frame_channels
from i4d.field.fused import FusedMoment, render_fused
from i4d.field.kernels import kernels_run_on
from i4d.field.model import Mapped, StreamingField
from i4d.field.render import Rendered, RenderSettings, coarse_map, render_rays
from i4d.field.spaces import March
from i4d.field.workers import Workers
from i4d.geometry.cameras import camera_rays
from i4d.types import Camera

RAYS_PER_CALL = {"cpu": 2048, "cuda": 65536}  # bounds the temporaries: about 30 MB and 1 GB


@dataclass(frozen=True)
class FieldImage:
    """`rgb` (height, width, 3) in [0, 1]; `depth_z` (height, width) in world units, the median along each
    ray; `opacity` (height, width) in [0, 1]."""

    rgb: Tensor
    depth_z: Tensor
    opacity: Tensor


@torch.no_grad()
def render_image(
    field: StreamingField,
    settings: RenderSettings,
    camera: Camera,
    frame: float,
    workers: Workers | None = None,
    kernels: bool = True,
) -> FieldImage:
    """Return what a camera sees of a field at a frame. Deterministic; rays that meet nothing have the
    farthest depth.

    `kernels`: use them where they run.
    """
    instant: Mapped
    render: Callable[..., tuple[Rendered, March]]
    if kernels and kernels_run_on(field.device):
        instant = fused = FusedMoment(field, frame_channels(field, frame))
        render = partial(render_fused, fused)
    else:
        instant = moment = field.at(frame)
        render = partial(render_rays, moment)
    cells = coarse_map(instant, field.cells, settings.map_cells)
    origins, directions = (t.reshape(-1, 3) for t in camera_rays(camera, field.device))
    step = RAYS_PER_CALL[field.device.type]

    @torch.no_grad()
    def part(start: int) -> tuple[Tensor, Tensor, Tensor]:
        rays = slice(start, start + step)
        seen, march = render(field.space, cells, origins[rays], directions[rays], settings)
        return seen.rgb, field.space.depth_z(march, seen.median_t[:, None])[:, 0], seen.opacity

    parts = (workers or Workers()).map(part, range(0, len(origins), step))
    rgb, depth, opacity = (torch.cat(column) for column in zip(*parts, strict=True))
    size = (camera.height, camera.width)
    return FieldImage(rgb.view(*size, 3), depth.view(size), opacity.view(size))
