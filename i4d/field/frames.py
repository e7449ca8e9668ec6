"""Pixels to fit: a bank of read-only frames, addressed by view and frame, and the rays through them.

Nothing is copied and no tensor of all rays exists: a batch reads only its own pixels from the arrays (memory-mapped
blocks as a rule) and computes their rays from the cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from i4d.errors import FitError
from i4d.geometry.cameras import rays_through
from i4d.types import Camera


@dataclass(frozen=True)
class RayBatch:
    """Rays of one frame: world origins and directions (ray, 3) and the colours (ray, 3) in [0, 1] they see."""

    origins: Tensor
    directions: Tensor
    rgb: Tensor


class FrameBank:
    """uint8 frames (height, width, 3) of the trained views; of entries for one view and frame the last counts."""

    def __init__(self, cameras: Sequence[Camera], views: Sequence[int], num_frames: int) -> None:
        self.views = tuple(views)
        self.num_frames = num_frames
        self._frames: dict[tuple[int, int], np.ndarray] = {}
        self._sizes = {v: (cameras[v].height, cameras[v].width) for v in self.views}
        self._K = torch.stack([torch.tensor(cameras[v].K, dtype=torch.float32) for v in self.views])
        self._poses = torch.stack([torch.tensor(cameras[v].world_from_camera, dtype=torch.float32) for v in self.views])
        areas = np.array([h * w for h, w in self._sizes.values()], dtype=np.int64)
        self._ends = np.cumsum(areas)

    def put(self, view: int, start: int, rows: np.ndarray) -> None:
        """Set frames start, start+1, ... of a trained view to rows (frame, height, width, 3) uint8, without copying."""
        if view not in self._sizes:
            raise FitError(f"view {view} is not a trained view", f"trained: {self.views}")
        expected = (*self._sizes[view], 3)
        if rows.shape[1:] != expected or rows.dtype != np.uint8:
            raise FitError(f"view {view}: frames are {rows.dtype} {rows.shape[1:]}", f"expected uint8 {expected}")
        if start < 0 or start + len(rows) > self.num_frames:
            raise FitError(f"view {view}: frames {start}..{start + len(rows) - 1}", f"there are {self.num_frames}")
        for offset, row in enumerate(rows):
            self._frames[view, start + offset] = row

    def missing(self) -> list[tuple[int, int]]:
        """Return the (view, frame) pairs that have no pixels yet."""
        return [(v, f) for v in self.views for f in range(self.num_frames) if (v, f) not in self._frames]

    def _gather(self, frame: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return view positions and index within the view's image of flat pixel numbers over all views."""
        slot = np.searchsorted(self._ends, pixels, side="right")
        return slot, pixels - np.concatenate([[0], self._ends[:-1]])[slot]

    def _colours(self, frame: int, slot: np.ndarray, inside: np.ndarray) -> np.ndarray:
        out = np.empty((len(slot), 3), np.uint8)
        for position in np.unique(slot):
            chosen = slot == position
            image = self._frames[self.views[position], frame].reshape(-1, 3)
            out[chosen] = image[inside[chosen]]
        return out

    def draw(self, frame: int, num_rays: int, generator: torch.Generator, motion_share: float = 0.0) -> RayBatch:
        """Return random rays of a frame over all views; a share of them from pixels that move.

        Moving pixels are found by drawing eight candidates for every such ray and keeping the ones that differ most
        from the same pixel in a frame a few steps away, in proportion to the difference.
        """
        total = int(self._ends[-1])
        moving = int(num_rays * motion_share) if self.num_frames > 1 else 0
        pixels = torch.randint(total, (num_rays - moving,), generator=generator).numpy()
        if moving:
            pixels = np.concatenate([pixels, self._moving_pixels(frame, moving, total, generator)])
        slot, inside = self._gather(frame, pixels)
        rgb = torch.from_numpy(self._colours(frame, slot, inside)).float() / 255
        origins, directions = self._rays(slot, inside)
        return RayBatch(origins, directions, rgb)

    def _moving_pixels(self, frame: int, count: int, total: int, generator: torch.Generator) -> np.ndarray:
        candidates = torch.randint(total, (8 * count,), generator=generator).numpy()
        slot, inside = self._gather(frame, candidates)
        reach = max(1, min(4, self.num_frames - 1))
        other = frame + reach if frame + reach < self.num_frames else frame - reach
        now, then = (self._colours(f, slot, inside).astype(np.int16) for f in (frame, max(0, other)))
        # 2/255 keeps a floor, so that a still frame gives ordinary random pixels
        weight = torch.from_numpy(np.abs(now - then).max(-1).astype(np.float32) + 2)
        return candidates[torch.multinomial(weight, count, generator=generator).numpy()]

    def _rays(self, slot: np.ndarray, inside: np.ndarray) -> tuple[Tensor, Tensor]:
        widths = np.array([self._sizes[v][1] for v in self.views])[slot]
        xy = torch.from_numpy(np.stack([inside % widths, inside // widths], -1).astype(np.float32) + 0.5)
        index = torch.from_numpy(slot)
        return rays_through(xy, self._K[index], self._poses[index])
