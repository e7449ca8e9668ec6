"""Small parts of the editor service: checks of a task, its seeds, its pixels, the names of its errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from i4d.errors import EditError
from i4d.method.window import WindowSeeds
from i4d.seeds import seed_for
from i4d.types import KeyFrameTask, RepaintTask, WindowTask


def check_counts(task: KeyFrameTask) -> None:
    """Raise EditError unless all that a task says of its views is said of each of them."""
    per_view = (task.cameras, task.originals, task.current, task.region or task.views)
    if any(len(part) != len(task.views) for part in per_view) or not set(task.sample) <= set(task.views):
        raise EditError(f"r{task.round}/key{task.step:02d}: views {task.views}, sampled {task.sample}")


def seeds_of(task: KeyFrameTask | RepaintTask, views: Sequence[int], index: int, purpose: str) -> list[int]:
    """Return one noise seed per view of a joint edit: all the same, or each its own."""
    shared = task.settings.noise == "shared"
    return [seed_for(task.run_seed, task.round, None if shared else view, index, purpose) for view in views]


def window_seeds(task: WindowTask) -> WindowSeeds:
    """Return the anchor's noise seed, which all windows of a view and round share, and one per frame: the
    same, or each its own.
    """
    anchor = seed_for(task.run_seed, task.round, task.view, None, "anchor")
    shared = task.settings.noise == "shared"
    frames = [
        anchor if shared else seed_for(task.run_seed, task.round, task.view, None, f"frame {frame}")
        for frame in task.frames
    ]
    return WindowSeeds(anchor, tuple(frames))


def rows_of(images: torch.Tensor, dtype: type) -> np.ndarray:
    """Return images (n, 3, h, w) as rows (n, h, w, 3): float16, or uint8 rounded to nearest."""
    pixels = images.permute(0, 2, 3, 1).clamp(0, 1)
    pixels = (pixels * 255).round().to(torch.uint8) if dtype is np.uint8 else pixels.to(torch.float16)
    return (
        pixels.contiguous().cpu().numpy()
    )  # brought into order on the device: a host takes longer over it than over the copy


class naming:
    """Puts the task's id before what goes wrong inside, so that an error names view and window."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, err: BaseException | None, trace: object) -> None:
        if isinstance(err, EditError):
            raise EditError(f"{self.task_id}: {err.message}", err.hint) from err
        if isinstance(err, torch.OutOfMemoryError):
            reason = str(err).splitlines()[0]
            raise EditError(
                f"{self.task_id}: out of device memory even image by image: {reason}", "use fewer pixels"
            ) from err
