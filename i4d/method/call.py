"""One call of an editor: pictures that are repainted together, in a batch of the plan's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from i4d.editors.protocol import Conditions, EditCost, Editor, Memory, joined
from i4d.types import EditSettings, Strength


@dataclass(frozen=True, eq=False)
class Call:
    """Pictures (n, 3, h, w) in [0, 1]: `current` is repainted under the condition of `originals`, with a seed
    each; `conditions` and `region` (n, 1, h, w) as of `Editor.repaint`.
    """

    originals: torch.Tensor
    current: torch.Tensor
    seeds: Sequence[int]
    conditions: Conditions | None = None
    region: torch.Tensor | None = None

    def behind(
        self, original: torch.Tensor, edited: torch.Tensor, seed: int, conditions: Conditions | None
    ) -> Call:
        """Return the call with an anchor (1, 3, h, w) in slot 0, which may change everywhere."""
        return Call(
            torch.cat([original, self.originals]),
            torch.cat([edited, self.current]),
            [seed, *self.seeds],
            None if conditions is None or self.conditions is None else joined([conditions, self.conditions]),
            None if self.region is None else torch.cat([torch.ones_like(original[:, :1]), self.region]),
        )

    def repainted(
        self,
        editor: Editor,
        strength: Strength,
        settings: EditSettings,
        size: int,
        cost: EditCost,
        memory: Memory | None = None,
    ) -> torch.Tensor:
        """Return the pictures repainted, (n, 3, h, w), in a batch of `size`: the last one is repeated, so
        that all calls of a plan have one shape.
        """
        out = editor.repaint(
            padded_batch(self.originals, size),
            padded_batch(self.current, size),
            strength,
            settings,
            [*self.seeds, *list(self.seeds[-1:]) * (size - len(self.seeds))],
            cost,
            memory=memory,
            conditions=None if self.conditions is None else self.conditions.padded(size),
            region=None if self.region is None else padded_batch(self.region, size),
        )
        return out[: len(self.current)]


def padded_batch(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return images repeated at the end up to `size`, so that every window of a plan has one batch shape."""
    missing = size - len(images)
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else images
