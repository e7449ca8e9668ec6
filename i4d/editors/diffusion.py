"""A denoising network as an editor: every family of them goes through the loop of `i4d.editors.repaint`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from i4d.editors import repaint as loop
from i4d.editors.card import EditorCard
from i4d.editors.protocol import Conditions, Denoiser, EditCost, Memory, Traits
from i4d.types import EditSettings, Strength


class DiffusionEditor:
    """Implements `i4d.editors.protocol.Editor` but for `identity`, which a kind adds."""

    def __init__(self, model: Denoiser) -> None:
        self.model = model

    @property
    def traits(self) -> Traits:
        return self.model.traits

    @property
    def card(self) -> EditorCard:
        return self.model.card

    @property
    def source(self) -> str:
        return self.model.source

    @property
    def notes(self) -> tuple[str, ...]:
        return self.model.notes

    @property
    def device(self) -> torch.device:
        return self.model.device

    def prepare(self, sentence: str, originals: Tensor) -> Conditions:
        """Return what the network is told of originals; the sentence is the same for all."""
        return loop.conditions_of(self.model, originals)

    def remembers(self, settings: EditSettings) -> bool:
        """Return whether the anchor is denoised by itself: the mode says so, images are normalised one by
        one, somebody looks at it.
        """
        return (
            settings.mode in ("exact", "turbo") and settings.norm == "frame" and settings.attention != "own"
        )

    def separable(self, settings: EditSettings) -> bool:
        """Return whether frames look at nothing but themselves and the anchor."""
        return settings.norm == "frame" and settings.attention != "sparse_causal"

    def remember(
        self,
        original: Tensor,
        edited: Tensor,
        strength: Strength,
        settings: EditSettings,
        seed: int,
        cost: EditCost,
        conditions: Conditions | None = None,
    ) -> Memory:
        """Return what an anchor shows its window."""
        return loop.remember(self.model, original, edited, strength, settings, seed, cost, conditions)

    def repaint(
        self,
        originals: Tensor,
        current: Tensor,
        strength: Strength,
        settings: EditSettings,
        seeds: Sequence[int],
        cost: EditCost,
        *,
        memory: Memory | None = None,
        conditions: Conditions | None = None,
        region: Tensor | None = None,
    ) -> Tensor:
        """Return `current` repainted."""
        given = self.model, originals, current, strength, settings, seeds, cost
        return loop.repaint(*given, memory=memory, conditions=conditions, region=region)

    def warm_up(self, settings: EditSettings, batch: int, height: int, width: int) -> None:
        """Edit one blank window in two steps: the second may be a turbo one."""
        blank = torch.full((batch, 3, height, width), 0.5)
        strength, cost, seeds = Strength(600, 2), EditCost(), [0] * batch
        if self.remembers(settings):
            memory = self.remember(blank[:1], blank[:1], strength, settings, 0, cost)
            self.repaint(blank[1:], blank[1:], strength, settings, seeds[1:], cost, memory=memory)
        else:
            self.repaint(blank, blank, strength, settings, seeds, cost)

    def to(self, device: torch.device | str) -> None:
        """Move all weights."""
        self.model.to(device)
