"""Whole images of a field from any camera: colour and depth along the optical axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from i4d.fields.protocol import FieldImage
from i4d.fields.vector_matrix.channels import frame_channels
from i4d.fields.vector_matrix.fused import FusedMoment, render_fused
from i4d.fields.vector_matrix.kernels import kernels_run_on
from i4d.fields.vector_matrix.model import Mapped, StreamingField
from i4d.fields.vector_matrix.render import Rendered, RenderSettings, coarse_map, render_rays
from i4d.fields.vector_matrix.spaces import March
from i4d.fields.workers import Workers
from i4d.geometry.cameras import camera_rays
from i4d.types import Camera

RAYS_PER_CALL = {"cpu": 2048, "cuda": 65536}  # bounds the temporaries: about 30 MB and 1 GB


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
