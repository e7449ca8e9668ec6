"""Pixels to fit: a bank of read-only frames, addressed by view and frame, and the rays through them.

Nothing is copied and no tensor of all rays exists: a batch reads only its own pixels from the arrays
(memory-mapped blocks as a rule) and computes their rays from the cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from i4d.errors import FitError
from i4d.geometry.cameras import rays_through
from i4d.geometry.corrections import corrected
from i4d.types import Camera

MOTION = 20  # of 255, in any channel: more than the noise of a camera
MEDIAN_FRAMES = 9  # of a video, for what stands still
MOST_MOVING = 50_000  # pixels of a frame that are remembered as moving; an eighth of all at most


@dataclass(frozen=True)
class RayBatch:
    """Rays of one frame: world origins and directions (ray, 3), the colours (ray, 3) in [0, 1] they see, and
    whose they are: positions among the trained views `view` (ray,)."""

    origins: Tensor
    directions: Tensor
    rgb: Tensor
    view: Tensor


@dataclass(frozen=True)
class Pixels:
    """Pixels of one frame on the host, as drawn: `slot` (pixel,) the number of its lens, `inside` (pixel,)
    its number within the image, both int64, and `rgb` (pixel, 3) uint8."""

    slot: np.ndarray
    inside: np.ndarray
    rgb: np.ndarray


@dataclass(frozen=True, eq=False)
class Lenses:
    """The trained cameras on one device: image widths (lens,), K (lens, 3, 3), positions among the trained
    views (lens,), world_from_camera (lens, 4, 4).

    One lens a trained view, or, where any of them moves, one a view and frame: lens = view's position *
    num_frames + frame.
    """

    widths: Tensor
    K: Tensor
    view: Tensor
    poses: Tensor

    def rays(self, slot: Tensor, inside: Tensor, rgb: Tensor) -> RayBatch:
        """Return the rays through pixels, given as the fields of `Pixels`."""
        width = self.widths[slot]
        xy = torch.stack([inside % width, inside // width], -1) + 0.5
        origins, directions = rays_through(xy, self.K[slot], self.poses[slot])
        return RayBatch(origins, directions, rgb.float() / 255, self.view[slot])


class FrameBank:
    """uint8 frames (height, width, 3) of the trained views; of entries for one view and frame the last
    counts.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        views: Sequence[int],
        num_frames: int,
        missing: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        """`missing`: runs (view, first, stop) of frames that others stand in for: never drawn."""
        self.views = tuple(views)
        self.num_frames = num_frames
        self._there = np.ones((num_frames, len(self.views)), bool)
        for view, first, stop in missing:
            if view in self.views:
                self._there[first:stop, self.views.index(view)] = False
        if not self._there.any():
            raise FitError("every frame of the trained views is missing")
        self.drawn = np.flatnonzero(self._there.any(1))  # frames that rays can be drawn from
        self._frames: dict[tuple[int, int], np.ndarray] = {}
        self._sizes = {v: (cameras[v].height, cameras[v].width) for v in self.views}
        self.given = {v: cameras[v] for v in self.views}
        moving = any(cameras[v].path is not None for v in self.views)
        self._per_view = num_frames if moving else 1  # lenses
        self._K, self._poses = self._calibration(self.given)
        self._moving_at: dict[int, np.ndarray] = {}
        self._medians: dict[int, np.ndarray] = {}
        self._lock = Lock()
        self._lenses: dict[torch.device, Lenses] = {}
        areas = np.array([h * w for h, w in self._sizes.values()], dtype=np.int64)
        self._ends = np.cumsum(areas)

    def _calibration(self, cameras: Mapping[int, Camera]) -> tuple[Tensor, Tensor]:
        """Return K (view, 3, 3) and world_from_camera (lens, 4, 4) of trained cameras."""
        K = torch.stack([torch.tensor(cameras[v].K, dtype=torch.float32) for v in self.views])
        poses = [cameras[v].at(f).world_from_camera for v in self.views for f in range(self._per_view)]
        return K, torch.tensor(np.stack(poses), dtype=torch.float32)

    def correct(self, corrections: Tensor) -> None:
        """Let rays start from the given cameras with corrections (trained view, 7) applied.

        Tensors that lenses were made of are overwritten where they are: steps recorded as CUDA graphs go on
        reading them.
        """
        rows = zip(self.views, corrections, strict=True)
        self._K, self._poses = self._calibration({v: corrected(self.given[v], row) for v, row in rows})
        for lens in self._lenses.values():
            lens.K.copy_(self._K.repeat_interleave(self._per_view, 0))
            lens.poses.copy_(self._poses)

    def frames_of(self, view: int) -> list[int]:
        """Return the frames that a trained view took."""
        return np.flatnonzero(self._there[:, self.views.index(view)]).tolist()

    def put(self, view: int, start: int, rows: np.ndarray) -> None:
        """Set frames start, start+1, ... of a trained view to rows (frame, height, width, 3) uint8, without
        copying.
        """
        if view not in self._sizes:
            raise FitError(f"view {view} is not a trained view", f"trained: {self.views}")
        expected = (*self._sizes[view], 3)
        if rows.shape[1:] != expected or rows.dtype != np.uint8:
            raise FitError(
                f"view {view}: frames are {rows.dtype} {rows.shape[1:]}", f"expected uint8 {expected}"
            )
        if start < 0 or start + len(rows) > self.num_frames:
            raise FitError(
                f"view {view}: frames {start}..{start + len(rows) - 1}", f"there are {self.num_frames}"
            )
        for offset, row in enumerate(rows):
            self._frames[view, start + offset] = row

    def picture(self, view: int, frame: int) -> np.ndarray:
        """Return a trained view's frame (height, width, 3) uint8 as it was put last."""
        return self._frames[view, frame]

    def missing(self) -> list[tuple[int, int]]:
        """Return the (view, frame) pairs that have no pixels yet."""
        return [(v, f) for v in self.views for f in range(self.num_frames) if (v, f) not in self._frames]

    def _gather(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return view positions and index within the view's image of flat pixel numbers over all views."""
        slot = np.searchsorted(self._ends, pixels, side="right")
        return slot, pixels - np.concatenate([[0], self._ends[:-1]])[slot]

    def _colours(self, frame: int, slot: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the colours (pixel, 3) uint8 of pixels sorted by view."""
        out = np.empty((len(slot), 3), np.uint8)
        ends = np.searchsorted(slot, np.arange(len(self.views)), side="right")
        for position, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if stop > start:
                image = self._frames[self.views[position], frame].reshape(-1, 3)
                out[start:stop] = image[inside[start:stop]]
        return out

    def draw(
        self, frame: int, num_rays: int, generator: torch.Generator, motion_share: float = 0.0
    ) -> RayBatch:
        """Return random rays of a frame over all views; a share of them from pixels that move (see
        `draw_pixels`).
        """
        return self.rays(self.draw_pixels(frame, num_rays, generator, motion_share))

    def draw_pixels(
        self,
        frame: int,
        num_rays: int,
        generator: torch.Generator,
        motion_share: float = 0.0,
        patch: int = 1,
        side: int = 0,
    ) -> Pixels:
        """Return random pixels of a frame over all views, in order of view; a share of them moves.

        With a `patch` above 1, whole patches of so many pixels a side, row by row; `num_rays` is a multiple
        of their area. With a `side`, one more patch of `side` x `side` pixels comes last, beside the
        `num_rays`.
        """
        count = num_rays // patch**2
        found = np.zeros(0, np.int64)
        if motion_share and self.num_frames > 1:
            found = self._moving_in(frame)
        if len(found) and not self._there[frame].all():
            found = found[self._there[frame][self._gather(found)[0]]]
        moving = int(count * motion_share) if len(found) else 0
        pixels = self._random(frame, count - moving, generator)
        if moving:
            pixels = np.concatenate(
                [pixels, found[torch.randint(len(found), (moving,), generator=generator).numpy()]]
            )
        pixels = np.sort(pixels.astype(np.int64))
        slot, inside = self._gather(pixels)
        if patch > 1:
            slot, inside = self._patches(slot, inside, patch)
        rgb = self._colours(frame, slot, inside)
        if side:
            corner = self._random(frame, 1, generator)
            last = self._patches(*self._gather(corner), side)
            parts = (slot, inside, rgb), (*last, self._colours(frame, *last))
            slot, inside, rgb = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        return Pixels(slot if self._per_view == 1 else slot * self._per_view + frame, inside, rgb)

    def _random(self, frame: int, count: int, generator: torch.Generator) -> np.ndarray:
        """Return random flat pixel numbers of the views that have the frame."""
        there = self._there[frame]
        if there.all():
            return torch.randint(int(self._ends[-1]), (count,), generator=generator).numpy()
        starts = np.concatenate([[0], self._ends[:-1]])[there]
        ends = np.cumsum((self._ends - np.concatenate([[0], self._ends[:-1]]))[there])
        if not len(ends):
            raise FitError(f"no trained view has frame {frame}", "draw from the bank's `drawn` frames")
        pixels = torch.randint(int(ends[-1]), (count,), generator=generator).numpy()
        slot = np.searchsorted(ends, pixels, side="right")
        return pixels - np.concatenate([[0], ends[:-1]])[slot] + starts[slot]

    @property
    def smallest_side(self) -> int:
        """Pixels of the shortest side of any trained image."""
        return min(min(size) for size in self._sizes.values())

    def _patches(self, slot: np.ndarray, inside: np.ndarray, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of patches with these upper left corners, moved inside where they reach out."""
        height, width = np.array([self._sizes[v] for v in self.views])[slot].T
        y, x = np.minimum(inside // width, height - patch), np.minimum(inside % width, width - patch)
        step = np.arange(patch)
        pixels = (y[:, None, None] + step[:, None]) * width[:, None, None] + x[:, None, None] + step
        return np.repeat(slot, patch**2), pixels.reshape(-1)

    def _moving_in(self, frame: int) -> np.ndarray:
        """Return the flat numbers over all views of the pixels of a frame that move: that differ from the
        median of their video by more than MOTION; MOST_MOVING of them at most.

        Found at the first call for a frame, and kept: edited frames that come later change nothing, an edit
        does not move things. Pixels that move at other times teach little here: they show what stands still.
        """
        if frame not in self._moving_at:
            starts, found = np.concatenate([[0], self._ends[:-1]]), []
            for view, start in zip(self.views, starts, strict=True):
                away = np.abs(self._frames[view, frame].astype(np.int16) - self._median(view)).max(-1)
                found.append(start + np.flatnonzero(away > MOTION))
            pixels = np.concatenate(found)
            most, small = min(MOST_MOVING, int(self._ends[-1]) // 8), int(self._ends[-1]) < 2**32
            if len(pixels) > most:
                pixels = np.random.default_rng(frame).choice(pixels, most, replace=False)
            self._moving_at[frame] = pixels.astype(np.uint32 if small else np.int64)
        return self._moving_at[frame]

    def _median(self, view: int) -> np.ndarray:
        with self._lock:
            if view not in self._medians:
                looked = np.linspace(0, self.num_frames - 1, min(self.num_frames, MEDIAN_FRAMES)).astype(int)
                rows = np.stack([self._frames[view, int(f)] for f in np.unique(looked)])
                self._medians[view] = np.median(rows, 0).astype(np.int16)
            return self._medians[view]

    def lenses(self, device: torch.device) -> Lenses:
        """Return the trained cameras on a device, made once."""
        if device not in self._lenses:
            widths = torch.tensor([self._sizes[v][1] for v in self.views])
            each = [
                t.repeat_interleave(self._per_view, 0)
                for t in (widths, self._K, torch.arange(len(self.views)))
            ]
            self._lenses[device] = Lenses(*(t.to(device) for t in (*each, self._poses)))
        return self._lenses[device]

    def rays(self, pixels: Pixels, device: torch.device | str = "cpu") -> RayBatch:
        """Return the rays through pixels, computed on a device from the cameras."""
        device = torch.device(device)
        # pageable and not waited for: so small copies are staged by the driver before the call returns
        arrays = (pixels.slot, pixels.inside, pixels.rgb)
        return self.lenses(device).rays(*(torch.from_numpy(a).to(device, non_blocking=True) for a in arrays))
