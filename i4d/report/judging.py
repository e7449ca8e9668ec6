"""The judge of a run's rounds: how much the edited set and the renders move, and how much they disagree in
time and between views.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from i4d.driver.renders import RenderJob, Shot
from i4d.metrics.steadiness import bound_threads, temporal_errors, view_errors
from i4d.metrics.temporal import mean_gradient
from i4d.report.shots import watched_views
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, Scene

_PROBES = 8  # frames of the first watched camera, next to each other
_LIKENED = 4  # edited cameras whose render is held against the edit at full strength


def probe_frames(num_frames: int, key_frame: int) -> tuple[int, ...]:
    """Return the frames that every round's field is looked at: neighbours around the key frame."""
    first = max(0, min(key_frame - _PROBES // 2, num_frames - _PROBES))
    return tuple(range(first, min(first + _PROBES, num_frames)))


def likened_frames(views: Sequence[int], num_frames: int, key_frame: int) -> tuple[tuple[int, int], ...]:
    """Return edited views, spread over all, each with a frame: the key instant, the first and the last in
    turn.
    """
    chosen = sorted({views[round(i * (len(views) - 1) / max(_LIKENED - 1, 1))] for i in range(_LIKENED)})
    return tuple((view, (key_frame, 0, num_frames - 1)[place % 3]) for place, view in enumerate(chosen))


class RoundJudge:
    """Implements `i4d.driver.convergence.Judge` on a run's blocks.

    Errors are relative to the mean gradient of what they are measured on, so that a blurred round gains
    little by its blur. That alone would prefer rounds whose weak repaints have drifted from the edit: steady,
    blurred and farther from the answer (the demo's Van Gogh: 24.3 dB after one round, 23.4 after four). So
    the distance of the renders from the edits of the first round counts too: at full strength the editor says
    what it means, whatever it was shown. `depths` are z depths (world units) of the edited views at the key
    instant, from the field before any edit.
    """

    def __init__(
        self, folder: RunFolder, scene: Scene, originals: FrameTable, key_frame: int, match_threshold: float
    ) -> None:
        self._folder, self._scene, self._originals = folder, scene, originals
        self._key_frame, self._threshold = key_frame, match_threshold
        self._view = watched_views(scene)[0]
        self._frames = probe_frames(scene.num_frames, key_frame)
        self.likened = likened_frames(scene.train_views, scene.num_frames, key_frame)
        likened = (Shot(scene.cameras[view], (frame,)) for view, frame in self.likened)
        self.probes = RenderJob("probe", (Shot(scene.cameras[self._view], self._frames), *likened))

    def change(self, before: Sequence[FrameAddress], now: Sequence[FrameAddress]) -> float:
        """Return the mean absolute difference of two sets of pictures, of [0, 1]."""
        pairs = zip(before, now, strict=True)
        return float(
            np.mean([np.abs(self._pixels(a) / 255.0 - self._pixels(b) / 255.0).mean() for a, b in pairs])
        )

    def disagreement(
        self, probes: Sequence[FrameAddress], keys: Sequence[FrameAddress], full: Sequence[FrameAddress]
    ) -> dict[str, float]:
        """Return the temporal error of the probe renders, where depths are there the cross-view error of the
        edited keys, and the mean absolute difference of the likened probes from `full`; each relative to the
        mean gradient of what is measured or likened.
        """
        bound_threads()
        out = {}
        if len(self._frames) > 1:
            originals = lambda i: self._pixels(self._originals.lookup(self._view, self._frames[i]))
            found = temporal_errors(
                originals, {"renders": lambda i: self._pixels(probes[i])}, len(self._frames)
            )
            out["temporal"] = found["renders"].relative
        depths = self._depths()
        if depths is not None:
            cameras = [self._scene.cameras[view].at(self._key_frame) for view in self._scene.train_views]
            found = view_errors(
                {"keys": [self._pixels(key) for key in keys]}, depths, cameras, self._threshold
            )
            out["cross_view"] = found["keys"].relative
        pairs = [
            (self._pixels(a) / 255.0, self._pixels(b) / 255.0)
            for a, b in zip(probes[len(self._frames) :], full, strict=True)
        ]
        if pairs:
            away = float(np.mean([np.abs(a - b).mean() for a, b in pairs]))
            gradients = [mean_gradient(torch.from_numpy(b).permute(2, 0, 1)[None]) for _, b in pairs]
            out["from_full_edit"] = away / max(1e-6, float(np.mean(gradients)))
        return out or {"nothing_to_compare": 0.0}

    def _depths(self) -> list[np.ndarray] | None:
        """Return the depths that round 1 looked at: the journal knows where they lie. None for a single
        view.
        """
        views = self._scene.train_views
        wanted = {f"r1/v{view:02d}/depth": place for place, view in enumerate(views)}
        found = {
            e["id"]: e["receipt"]["blocks"]["depth"]["digest"]
            for e in self._folder.records()
            if e["id"] in wanted
        }
        if len(views) < 2 or len(found) < len(wanted):
            return None
        return [np.asarray(self._folder.reader.row(FrameAddress(found[id], 0))) for id in wanted]

    def _pixels(self, address: FrameAddress) -> np.ndarray:
        row = self._folder.reader.row(address)
        if row.dtype == np.float16:
            row = (row.astype(np.float32).clip(0, 1) * 255).round().astype(np.uint8)
        return row
