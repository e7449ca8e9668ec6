"""Camera refinement: small corrections of the trained cameras' poses and focal lengths, found while a field
is fitted (docs/method.md, section 6).

A few times in a fit every trained camera is aligned to what the other cameras have made of the scene. The
field shows its picture and depth at pixels of a grid, at some instants; the points seen there lie somewhere
else in the recorded picture if the camera is not where it was said to be. Where, a Gauss-Newton search over
the seven numbers of a correction finds, with the recorded picture's gradient times the derivatives of the
projection (direct image alignment: Lucas and Kanade 1981; of a camera to a dense map: Newcombe et al., DTAM,
ICCV 2011, section 2.3). The field is rendered once per alignment and no gradient goes through it, so any kind
of field will do. Robust weights leave aside what the field does not show yet; a prior holds corrections near
the given cameras; what all corrections have in common is removed, since a field can move with its cameras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from i4d.fields.frames import FrameBank
from i4d.fields.protocol import FieldImage
from i4d.geometry.cameras import camera_tensors, grid_step, on_grid, unproject
from i4d.geometry.corrections import UNKNOWNS, corrected, image_points, without_common
from i4d.types import Camera

AT = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of a fit's steps: when cameras are aligned
INSTANTS = 4  # that a camera is compared at
MOST_PIXELS = 4800  # of one instant
# expected of corrections: radians, of the median depth, of the focal length
TURN, SHIFT, FOCAL = math.radians(0.2), 5e-4, 3e-3
BLURS = (2.0, 1.0)  # pixels, standard deviation: how the recorded pictures are smoothed, coarse to fine
SEARCHES = 4  # Gauss-Newton steps at each
ALIKE = 100.0  # pixels whose errors are one: neighbours err together
HUBER = 1.5  # standard deviations from where on an error counts linearly
SOLID = 0.5  # opacity below which a pixel shows no surface


class Shown(Protocol):
    """What is asked of a field: pictures with depth, and their colours as a trained camera records them."""

    def image(self, camera: Camera, frame: float) -> FieldImage: ...

    def exposed(self, rgb: Tensor, view: int) -> Tensor: ...


@dataclass(frozen=True)
class Compared:
    """Pixels of one camera at some instants: where the points they show lie in the axes of the camera as
    given (point, 3), their colours in the field (point, 3), and how many belong to each instant."""

    points: Tensor
    colours: Tensor
    counts: tuple[int, ...]


def due(step: int, total_steps: int) -> bool:
    """Return whether cameras are aligned before a step of a fit."""
    return step in {round(share * total_steps) for share in AT}


def spread_of(unit: float) -> Tensor:
    """Return the standard deviations (7,) of corrections, in a scene whose median depth
    is `unit`.
    """
    return torch.tensor([TURN] * 3 + [SHIFT * unit] * 3 + [FOCAL], dtype=torch.float64)


def align_cameras(field: Shown, bank: FrameBank, corrections: Tensor) -> Tensor:
    """Return the corrections (trained view, 7) of a bank's cameras after aligning every camera, as it is
    corrected now, to the field. Deterministic: no random numbers.
    """
    found, cameras, depths = [], [bank.given[view] for view in bank.views], []
    for view, now in zip(bank.views, corrections.double(), strict=True):
        frames = spread(bank.frames_of(view))
        seen = look(field, bank.given[view], view, frames, now)
        depth = seen.points[:, 2].median() if len(seen.points) else seen.points.new_tensor(math.nan)
        depths.append(float(depth))
        pictures = [bank.picture(view, frame) for frame in frames]
        found.append(aligned(seen, bank.given[view], pictures, now, spread_of(depths[-1])))
    unit = float(np.nanmedian(depths)) if np.isfinite(depths).any() else 1.0
    together = torch.stack(found).to(corrections.device)
    rig = [camera.at(0) for camera in cameras]
    return without_common(together, rig, spread_of(unit).to(together)).to(corrections)


def spread(frames: Sequence[int]) -> list[int]:
    """Return at most INSTANTS of some frames, evenly spread."""
    count = min(INSTANTS, len(frames))
    return [frames[int((i + 0.5) * len(frames) / count)] for i in range(count)]


def look(field: Shown, camera: Camera, view: int, frames: Sequence[int], correction: Tensor) -> Compared:
    """Return what a field shows a corrected trained camera, at the pixels of a grid that shows a surface."""
    step, points, colours, counts = grid_step(camera, MOST_PIXELS), [], [], []
    for frame in frames:
        given = camera.at(frame)
        small = on_grid(corrected(given, correction), step)
        image = field.image(small, frame)
        solid = image.opacity > SOLID
        _, pose = camera_tensors(given, image.rgb.device)
        world = unproject(image.depth_z, small)[solid]
        points.append((world - pose[:3, 3]) @ pose[:3, :3])
        colours.append(field.exposed(image.rgb, view)[solid])
        counts.append(int(solid.sum()))
    return Compared(torch.cat(points).double(), torch.cat(colours), tuple(counts))


def aligned(
    seen: Compared, camera: Camera, pictures: Sequence[np.ndarray], start: Tensor, spread: Tensor
) -> Tensor:
    """Return the correction (7,) of a camera with which its recorded pictures (height, width, 3) uint8, one
    each instant, agree best with what the field showed; `start` where no other is better.

    The least of robust squared errors in units of their own spread, one in ALIKE of them counted, plus the
    squared correction in units of `spread` (7,).
    """
    if sum(seen.counts) < UNKNOWNS * ALIKE:
        return start
    device = seen.points.device
    K = torch.tensor(camera.K, dtype=torch.float64, device=device)
    now, spread = start.to(device), spread.to(device)
    for blur in BLURS:
        maps = [with_slopes(picture, blur, device) for picture in pictures]
        begun = now
        errors, slopes, there = compared(seen, maps, K, now)
        scale = typical(errors[there])
        first = cost(errors, there, scale, now, spread)
        for _ in range(SEARCHES):
            now = now - gauss_newton_step(errors, slopes, there, scale, now, spread)
            errors, slopes, there = compared(seen, maps, K, now)
        if not cost(errors, there, scale, now, spread) < first:
            now = begun
    return now.to(start.device)


def with_slopes(picture: np.ndarray, blur: float, device: torch.device) -> Tensor:
    """Return a smoothed picture in [0, 1] and its slopes along x and y by pixel: (9, height, width)."""
    rgb = torch.tensor(np.array(picture), device=device).permute(2, 0, 1).float()[:, None] / 255
    reach = max(1, math.ceil(3 * blur))
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=device) / blur) ** 2)
    bell = bell / bell.sum()
    wide = functional.pad(rgb, (reach,) * 4, mode="replicate")
    smooth = functional.conv2d(functional.conv2d(wide, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    edge = functional.pad(smooth, (1,) * 4, mode="replicate")
    across = (edge[..., 1:-1, 2:] - edge[..., 1:-1, :-2]) / 2
    down = (edge[..., 2:, 1:-1] - edge[..., :-2, 1:-1]) / 2
    return torch.cat([smooth, across, down])[:, 0]


def compared(
    seen: Compared, maps: Sequence[Tensor], K: Tensor, correction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return recorded less shown colours (point, 3) of a camera with a correction, their derivatives by it
    (point, 3, 7), and which points lie inside the picture (point,).
    """
    where, slopes = image_points(seen.points, K, correction)
    height, width = maps[0].shape[1:]
    size = torch.tensor([width, height], dtype=where.dtype, device=where.device)
    there = (where > 0.5).all(1) & (where < size - 0.5).all(1)
    at = (2 * where / size - 1).float()
    parts = [
        functional.grid_sample(m[None], part[None, None], mode="bilinear", align_corners=False)[0, :, 0].T
        for m, part in zip(maps, at.split(seen.counts), strict=True)
    ]
    read = torch.cat(parts).double()
    by_place = torch.stack([read[:, 3:6], read[:, 6:]], -1)
    return read[:, :3] - seen.colours, by_place @ slopes, there


def typical(errors: Tensor) -> Tensor:
    """Return the standard deviation that the median of errors (point, 3) speaks for."""
    return 1.4826 * errors.abs().median().clamp_min(1e-4)


def weights(errors: Tensor, there: Tensor, scale: Tensor) -> Tensor:
    """Return Huber's weights (point, 3) of errors, 0 where a point lies outside the picture."""
    return (HUBER * scale / errors.abs().clamp_min(1e-9)).clamp_max(1.0) * there[:, None]


def cost(errors: Tensor, there: Tensor, scale: Tensor, correction: Tensor, spread: Tensor) -> float:
    """Return what an alignment lessens, per point inside the picture: Huber's cost with the prior's share."""
    away = errors[there].abs() / scale
    huber = torch.where(away < HUBER, away**2 / 2, HUBER * (away - HUBER / 2)).sum() / ALIKE
    inside = max(1, int(there.sum()))
    return float((huber + ((correction / spread) ** 2).sum() / 2) / inside)


def gauss_newton_step(
    errors: Tensor, slopes: Tensor, there: Tensor, scale: Tensor, correction: Tensor, spread: Tensor
) -> Tensor:
    """Return what a Gauss-Newton step takes off a correction (7,)."""
    weight = weights(errors, there, scale) / (scale**2 * ALIKE)
    rows = slopes.flatten(0, 1)
    weighed = (weight[..., None] * slopes).flatten(0, 1).T
    normal = weighed @ rows + torch.diag(spread**-2)
    pull = weighed @ errors.flatten() + correction / spread**2
    # in units of `spread`: radians and world units differ by orders of magnitude
    scaled = torch.linalg.solve(normal * spread[:, None] * spread, pull * spread)
    return scaled * spread
