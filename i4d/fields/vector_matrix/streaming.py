"""Feature channels that enter and leave with time (the streaming of NeRFPlayer, on vector-matrix factors).

A tensor of factors has `permanent + pool` channels along its first axis. The first `permanent` never leave;
of the pool a frame reads a window of `window` channels that slides by `per_frame` channels a frame. Where the
window starts between two channels, the one that leaves and the one that enters are both read, weighted by how
far the change has come, so a field is continuous in time. Pool channel n takes slot n mod window of the
feature basis: the newcomer takes over the slot of the one that leaves, and a feature keeps its meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slice:
    """The channels one frame reads: `permanent` first ones, then pool channels start..stop-1, with a weight
    each.

    `weights` has `permanent + stop - start` entries in [0, 1]; `slots` as many indices into the feature
    basis.
    """

    permanent: int
    start: int
    stop: int
    weights: Tensor
    slots: Tensor

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Ranges of the channel axis that are read, none of them empty."""
        pool = (self.permanent + self.start, self.permanent + self.stop)
        return tuple(r for r in ((0, self.permanent), pool) if r[1] > r[0])


@dataclass(frozen=True)
class Stream:
    """The channel axis of one group of factors over a video of `num_frames` frames."""

    permanent: int
    window: int
    per_frame: float
    num_frames: int

    @property
    def slots(self) -> int:
        """Channels a frame sees at its full weight, and the width of the feature basis."""
        return self.permanent + self.window

    @property
    def pool(self) -> int:
        """Channels that come and go, over the whole video."""
        if self.window == 0:
            return 0
        return self.window + math.ceil(self.per_frame * (self.num_frames - 1) - 1e-9)

    @property
    def channels(self) -> int:
        """Length of the channel axis."""
        return self.permanent + self.pool

    def at(self, frame: float, device: torch.device | str = "cpu") -> Slice:
        """Return the slice that a frame in [0, num_frames - 1] reads; frames between two integers blend
        them.
        """
        if not 0 <= frame <= self.num_frames - 1 + 1e-6:
            raise ValueError(f"frame {frame} lies outside 0..{self.num_frames - 1}")
        if self.window == 0:
            ends = (0, 0, torch.ones(self.permanent), torch.arange(self.permanent))
        else:
            position = self.per_frame * frame
            start = math.floor(position + 1e-9)
            part = position - start
            moving = part > 1e-6
            stop = start + self.window + int(moving)
            weights = torch.ones(self.permanent + stop - start)
            if moving:
                weights[self.permanent], weights[-1] = 1 - part, part
            slots = torch.cat(
                [torch.arange(self.permanent), self.permanent + torch.arange(start, stop) % self.window]
            )
            ends = (start, stop, weights, slots)
        return Slice(self.permanent, ends[0], ends[1], ends[2].to(device), ends[3].to(device))


def split_permanent(components: int, share: float) -> int:
    """Return how many of `components` never leave; at least one streams unless `share` is 1."""
    keep = math.floor(components * share + 0.5)
    return keep if share >= 1 else min(keep, max(components - 1, 0))
