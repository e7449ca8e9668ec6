"""How a fit stands, from few pixels: PSNR of cameras it has and has not seen, and whether neighbours agree
about depth.

Pixels are those of a regular grid, exactly as they were recorded: a smaller picture of the field would be
compared with averaged pixels and judged by aliasing. Renders take no part in the fit and draw no random
numbers, so looking changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from i4d.fields.protocol import TrainableField
from i4d.geometry.cameras import grid_step, in_picture, on_grid, project, unproject
from i4d.metrics.image import psnr
from i4d.types import Camera, FitFigures

MOST_PIXELS = 1600  # of one camera
WITHIN = 0.05  # of the depth: so near is agreement
SIDE_BY_SIDE = 2  # trained cameras that are looked at


def sampled(picture: np.ndarray, step: int, small: Camera) -> Tensor:
    """Return the pixels (height, width, 3) in [0, 1] of a picture that `on_grid`'s camera sees."""
    rows = picture[step // 2 :: step, step // 2 :: step][: small.height, : small.width]
    return torch.tensor(np.array(rows)).float() / 255


def agreement(depths: Sequence[Tensor], cameras: Sequence[Camera]) -> float:
    """Return the share of pixels whose depth agrees within 5 % with that of another camera that sees their
    point, over all ordered pairs; NaN where no camera sees another's points. `depths` (height, width) along
    the optical axis in world units. What is hidden from the other camera counts as not agreeing.
    """
    agree = seen = 0
    for i, (depth, camera) in enumerate(zip(depths, cameras, strict=True)):
        points = unproject(depth, camera)
        for j, (other, its) in enumerate(zip(depths, cameras, strict=True)):
            if i == j:
                continue
            where, z = project(points, its)
            inside = in_picture(where, z, its)
            x, y = where[inside].long().unbind(-1)
            agree += int(((other[y, x] - z[inside]).abs() < WITHIN * z[inside]).sum())
            seen += int(inside.sum())
    return agree / seen if seen else math.nan


def chosen(
    cameras: Sequence[Camera], trained: Sequence[int], held_out: Sequence[int]
) -> tuple[int | None, list[int]]:
    """Return the held-out view that has trained ones nearest to it (None: there is none), and these; without
    one, the trained view nearest to all others and its neighbours. Near in place and direction.
    """
    centres = np.stack([camera.centre for camera in cameras])
    axes = np.stack([camera.world_from_camera[:3, 2] for camera in cameras])
    spread = float(np.linalg.norm(centres - centres.mean(0), axis=1).mean()) or 1.0
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1) / spread - axes @ axes.T
    near = lambda view, count: sorted(trained, key=lambda v: (apart[view, v], v))[:count]
    if not trained:
        return None, []
    if not held_out:
        middle = min(trained, key=lambda v: (apart[v, list(trained)].max(), v))
        return None, near(middle, SIDE_BY_SIDE)
    cost = {view: sum(apart[view, v] for v in near(view, SIDE_BY_SIDE)) for view in held_out}
    view = min(held_out, key=lambda v: (cost[v], v))
    return view, near(view, SIDE_BY_SIDE)


def figures_of(
    field: TrainableField,
    cameras: Sequence[Camera],
    pictures: Mapping[int, np.ndarray],
    held_out: Sequence[int],
    unseen: Callable[[int], np.ndarray],
    frame: int,
) -> FitFigures:
    """Return how a field stands at a frame. `pictures` are those of the trained views (height, width, 3)
    uint8, and `unseen` reads that of a view of `held_out`.
    """
    at = [camera.at(frame) for camera in cameras]
    view, near = chosen(at, list(pictures), held_out)
    shown, truth, depths, small = [], [], [], []
    for v in near:
        step = grid_step(at[v], MOST_PIXELS)
        small.append(on_grid(field.corrected(at[v], v), step))
        image = field.image(small[-1], frame)
        shown.append(field.exposed(image.rgb, v).clamp(0, 1).reshape(-1, 3).cpu())
        truth.append(sampled(pictures[v], step, small[-1]).reshape(-1, 3))
        depths.append(image.depth_z)
    unknown = math.nan
    if view is not None:
        step = grid_step(at[view], MOST_PIXELS)
        camera = on_grid(at[view], step)
        seen = field.image(camera, frame).rgb.clamp(0, 1).cpu()
        unknown = psnr(seen, sampled(unseen(view), step, camera))
    known = psnr(torch.cat(shown), torch.cat(truth)) if shown else math.nan
    return FitFigures("" if view is None else cameras[view].name, unknown, known, agreement(depths, small))
