"""What a window takes from other frames, as plain values: a schedule computes them once for each window;
tasks, the flow that is computed ahead and the editor's service read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

REFERENCE = -1  # the frame before a window of frames 0, 1, ...


@dataclass(frozen=True)
class Source:
    """Edited frames that are pulled into every frame of a window: `by` "flow" one `frame` of the window's own
    view, `by` "depth" another `view` at each frame's own instant (`frame` None).
    """

    view: int
    frame: int | None
    by: Literal["flow", "depth"]


@dataclass(frozen=True)
class WindowSources:
    """What a window starts from besides its own frames, `pulled`, in the order in which warps are averaged,
    and which of its frames are `averaged` after the repaint: pairs (i, j), i < j, of places in the window;
    -1 is the frame before it.
    """

    pulled: tuple[Source, ...] = ()
    averaged: tuple[tuple[int, int], ...] = ()

    @property
    def by_flow(self) -> tuple[int, ...]:
        """Frames of the window's own view."""
        return tuple(s.frame for s in self.pulled if s.by == "flow" and s.frame is not None)

    @property
    def by_depth(self) -> tuple[int, ...]:
        """Other views."""
        return tuple(source.view for source in self.pulled if source.by == "depth")

    def flows(self, frames: Sequence[int], reference: int) -> list[tuple[int, int]]:
        """Return the pairs of frames (from, to) whose flow a window takes, each once, those that it needs
        first before others. `reference` is the frame before the window.
        """
        at = (*frames, reference)  # -1 is the last
        pulled = [(source, frame) for source in self.by_flow for frame in frames]
        return list(dict.fromkeys([*pulled, *((at[i], at[j]) for i, j in self.averaged)]))


def pairs_within(count: int, radius: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of a window's frames that are at most `radius` apart; -1 is the
    reference before the first.
    """
    return [(i, j) for i in range(-1, count) for j in range(max(i + 1, 0), min(count, i + radius + 1))]
