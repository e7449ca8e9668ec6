"""Which cameras lead: a few from which the rest is well seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i4d.types import Camera


def view_distance(cameras: Sequence[Camera]) -> np.ndarray:
    """Return how differently each two cameras see a scene, (n, n): the distance of their centres over the
    median of all such distances, plus the angle between their optical axes in radians."""
    centres = np.stack([camera.centre for camera in cameras])
    axes = np.stack([camera.world_from_camera[:3, 2] for camera in cameras])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    apart = distance[~np.eye(len(cameras), dtype=bool)]
    scale = float(np.median(apart)) if apart.size and np.median(apart) > 0 else 1.0
    return distance / scale + np.arccos(np.clip(axes @ axes.T, -1, 1))


def leaders_of(views: Sequence[int], cameras: Sequence[Camera], count: int) -> tuple[int, ...]:
    """Return `count` of the views, in their order, such that the others are near to one of them.

    The sum of every view's distance to its nearest leader is lessened (k-medians): greedily at first, then by
    swaps until none helps. Ties go to the first view, so that the answer follows from the cameras alone.
    """
    apart = view_distance(cameras)
    chosen: list[int] = []
    count = min(count, len(views))

    def cost(places: Sequence[int]) -> float:
        return float(apart[:, list(places)].min(1).sum())

    while len(chosen) < count:
        left = [place for place in range(len(views)) if place not in chosen]
        chosen.append(min(left, key=lambda place: (round(cost([*chosen, place]), 9), place)))
    better = True
    while better:
        better = False
        for slot in range(count):
            for place in range(len(views)):
                swapped = [*chosen[:slot], place, *chosen[slot + 1 :]]
                if place not in chosen and cost(swapped) < cost(chosen) - 1e-9:
                    chosen, better = swapped, True
    return tuple(views[place] for place in sorted(chosen))
