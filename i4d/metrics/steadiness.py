"""How steady a run's renders are in time, and how well its edited views agree, each beside the unedited
scene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from i4d.flow.classical import DisFlow
from i4d.metrics.cross_view import cross_view_error
from i4d.metrics.temporal import Unsteadiness, neighbour_flows, temporal_warp_error
from i4d.types import Camera

FLOW = "DIS"  # the measuring instrument: needs no weights, so figures compare between hosts
_MOST_THREADS = 8
_CHUNK = 16  # frames held at a time, with their successors' flow
Reader = Callable[[int], np.ndarray]


def bound_threads() -> None:
    """Bound the threads of torch and OpenCV in this process: on small pictures more of them only wait for
    each other.

    OpenCV takes every core there is, whatever OMP_NUM_THREADS says; here it follows torch. On a host of 32
    cores with 22 runs side by side, comparing eight frames took 92 s, and 6 s when the others had ended.
    """
    torch.set_num_threads(min(_MOST_THREADS, torch.get_num_threads()))
    cv2.setNumThreads(torch.get_num_threads())


def planes(frame: np.ndarray) -> torch.Tensor:
    """Return (3, h, w) float32 in [0, 1] of a uint8 (h, w, 3) frame."""
    return torch.from_numpy(frame.copy()).permute(2, 0, 1).float() / 255


def figure(found: Unsteadiness) -> dict:
    """Return an error of agreement as it stands in metrics.json; `each` are those of single frames or pairs,
    relative as well.
    """
    return {
        "error": round(found.error, 6),
        "gradient": round(found.gradient, 6),
        "relative": round(found.relative, 4),
        "compared": round(found.compared, 4),
        "interval": [round(bound, 4) for bound in found.interval() or ()] or None,
        "each": found.samples().to_json(),
    }


def temporal_errors(
    originals: Reader, videos: Mapping[str, Reader], num_frames: int
) -> dict[str, Unsteadiness]:
    """Return the warp error of each video, all measured with one flow, that of the originals.

    Videos are functions from a frame's index to its uint8 picture; a few frames are held at a time.
    """
    estimator = DisFlow()
    parts: dict[str, list[tuple[Unsteadiness, int]]] = {name: [] for name in videos}
    for start in range(0, num_frames - 1, _CHUNK):
        indices = range(start, min(start + _CHUNK + 1, num_frames))
        flows = list(neighbour_flows(torch.stack([planes(originals(i)) for i in indices]), estimator))
        for name, read in videos.items():
            frames = torch.stack([planes(read(i)) for i in indices])
            parts[name].append((temporal_warp_error(frames, flows), len(indices) - 1))
    return {name: joined(found) for name, found in parts.items()}


def joined(parts: Sequence[tuple[Unsteadiness, int]]) -> Unsteadiness:
    """Return what the whole gives from parts (chunks of a video, instants) with the frames of each: errors
    weigh by compared pixels, gradients by frames."""
    frames = sum(n for _, n in parts)
    compared = sum(part.compared * n for part, n in parts)
    error = sum(part.error * part.compared * n for part, n in parts) / max(compared, 1e-12)
    each = tuple(value for part, _ in parts for value in part.each)
    areas = tuple(area for part, _ in parts for area in part.areas)
    gradient = sum(part.gradient * n for part, n in parts) / frames
    # pairs of cameras of several instants; frames of a video are in order by themselves
    origins = tuple(replace(o, time=at) for at, (part, _) in enumerate(parts) for o in part.origins)
    return Unsteadiness(error, gradient, compared / frames, each, areas, origins)


def view_errors(
    images: Mapping[str, Sequence[np.ndarray]],
    depths: Sequence[np.ndarray],
    cameras: Sequence[Camera],
    threshold: float,
) -> dict[str, Unsteadiness]:
    """Return how far views disagree about the same surface points, for each set of pictures (one per camera).

    All sets are compared through the same z depths (world units) and the same `threshold` (world units).
    """
    geometry = [torch.from_numpy(depth.astype(np.float32)) for depth in depths]
    return {
        name: cross_view_error([planes(f) for f in frames], geometry, cameras, threshold)
        for name, frames in images.items()
    }
