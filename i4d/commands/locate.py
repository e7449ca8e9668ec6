"""`i4d locate`: the box in world units that `--where` takes, from a rectangle drawn on a frame of a fitted
run.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from i4d.errors import ConfigError
from i4d.geometry.cameras import unproject
from i4d.geometry.regions import Box, in_box
from i4d.report.viewing import RunViews
from i4d.store.run_folder import RunFolder
from i4d.types import corner

INNER, MARGIN = (
    (0.02, 0.98),
    0.15,
)  # quantiles of the surface points that count, and what is added at each side of them
NEAR_MIDDLE = (
    4.0  # times the median deviation from the median depth: what lies farther off belongs to something else
)
DIMMED = 0.25


def box_around(points: torch.Tensor) -> Box:
    """Return a box around surface points (n, 3): their inner 96 % along each axis and 15 % of that at each
    side.
    """
    low, high = (torch.quantile(points.double(), q, dim=0) for q in INNER)
    margin = MARGIN * (high - low).clamp_min(1e-3 * float((high - low).max()) + 1e-9)
    return corner(low - margin), corner(high + margin)


def of_one_thing(depth: torch.Tensor) -> torch.Tensor:
    """Return which depths (n,) belong to the thing that most of them show: near their median, by four median
    deviations and 2 %.
    """
    middle = depth.median()
    away = (depth - middle).abs()
    return away <= NEAR_MIDDLE * away.median() + 0.02 * middle


def within_ellipse(width: int, height: int) -> torch.Tensor:
    """Return which pixels (height, width) of a rectangle lie in the ellipse that it holds: its corners show
    what lies behind.
    """
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (2 * x / width - 1) ** 2 + (2 * y / height - 1) ** 2 <= 1


def rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 in pixels; ConfigError where it is no rectangle within the picture."""
    try:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--rect {text}", "x0,y0,x1,y1 in pixels of the working size, such as 40,30,90,80"
        ) from None
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ConfigError(
            f"--rect {text} does not lie in the picture",
            f"pictures are {width}x{height}, x0 < x1 and y0 < y1",
        )
    return x0, y0, x1, y1


def locate(run: Path, camera: str, frame: int, rect: str, device: str, storage_path: str = "") -> None:
    """Print the box and write RUN/where.png: the frame with all that lies outside the box darkened."""
    views = RunViews(RunFolder.open(run, storage_path), device)
    names = [c.name for c in views.scene.cameras]
    if camera not in names:
        raise ConfigError(f"--camera {camera}: no such camera", f"one of {', '.join(names)}")
    if not 0 <= frame < views.scene.num_frames:
        raise ConfigError(
            f"--frame {frame} is out of range", f"the scene has frames 0 to {views.scene.num_frames - 1}"
        )
    view = names.index(camera)
    seen = views.scene.cameras[view].at(frame)
    x0, y0, x1, y1 = rectangle(rect, seen.width, seen.height)
    depth = views.unedited(seen, frame).depth_z.cpu()
    points = unproject(depth, seen)
    chosen = torch.zeros(depth.shape, dtype=torch.bool)
    chosen[y0:y1, x0:x1] = within_ellipse(x1 - x0, y1 - y0)
    chosen[chosen.clone()] = of_one_thing(depth[chosen])
    box = box_around(points[chosen])
    inside = in_box(points, box).numpy()
    picture = views.footage.original(view, frame) * (DIMMED + (1 - DIMMED) * inside[..., None])
    place = views.run.path / "where.png"
    cv2.imwrite(str(place), cv2.cvtColor(picture.round().astype(np.uint8), cv2.COLOR_RGB2BGR))
    text = ",".join(f"{value:.4g}" for corner in box for value in corner)
    print(f'--where="{text}"\npicture: {place} ({100 * inside.mean():.1f} % of it lies inside)')
