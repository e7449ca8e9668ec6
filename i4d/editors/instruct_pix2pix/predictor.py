"""The guided UNet in the course of one repaint: timesteps, the anchor's keys and values, what steps reuse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from i4d.editors.instruct_pix2pix.attention import Recording
from i4d.editors.instruct_pix2pix.forward import Reuse
from i4d.editors.instruct_pix2pix.guidance import Guidance
from i4d.editors.protocol import EditCost
from i4d.types import EditSettings, Strength, Turbo

if TYPE_CHECKING:
    from i4d.editors.instruct_pix2pix.model import EditorModel


@dataclass(frozen=True)
class AnchorTrace:
    """An anchor's keys and values, one Recording a step."""

    steps: tuple[Recording, ...]

    @property
    def size_bytes(self) -> int:
        return sum(step.size_bytes for step in self.steps)


class WindowPredictor:
    """Implements `i4d.editors.protocol.Predictor`: answers to latents, step by step in order. `condition` are
    the originals' latents; `size` (h, w) that of the latents.
    """

    def __init__(
        self,
        model: EditorModel,
        condition: torch.Tensor,
        strength: Strength,
        settings: EditSettings,
        cost: EditCost,
        size: tuple[int, int],
        *,
        memory: AnchorTrace | None,
        record: bool,
    ) -> None:
        self._model, self._condition, self._settings, self._cost = model, condition, settings, cost
        self._timesteps = model.schedule.timesteps(strength)
        self._guidance = Guidance(settings.text_guidance, settings.image_guidance)
        self._memory, self._record = memory, record
        self._steps: list[Recording] = []
        # alone in its batch, an anchor attends to itself: [anchor; anchor] and [anchor] have the same softmax
        # average
        self._attention = "own" if record else settings.attention
        turbo = settings.turbo
        approximate = not record and (turbo.depth, turbo.guidance) != (1, 1)
        self._reuse = Reuse(turbo.depth, turbo.guidance) if approximate else None
        self._packed = model.fast and settings.attention == "anchor"
        self._thinned = thinned_levels(model, turbo, *size)

    def __call__(self, latents: torch.Tensor, index: int) -> torch.Tensor:
        """Return the guided prediction (n, channel, h, w), float32, for latents of level `index`."""
        recording = Recording(self._packed, self._thinned) if self._record else None
        if self._reuse is not None:
            self._reuse.begin_step()
        output = self._model.predict(
            latents,
            self._condition,
            self._settings.instruction,
            self._guidance,
            self._timesteps[index],
            self._cost,
            attention=self._attention,
            norm=self._settings.norm,
            record=recording,
            anchor=self._memory.steps[index] if self._memory is not None else None,
            reuse=self._reuse,
        )
        if recording is not None:
            self._steps.append(recording)
        return output

    def recorded(self) -> AnchorTrace:
        """Return the keys and values of all steps."""
        return AnchorTrace(tuple(self._steps))


def thinned_levels(model: EditorModel, turbo: Turbo, height: int, width: int) -> list[tuple[int, int, int]]:
    """Return (h, w, side) of the levels whose anchor keys `turbo` thins to one in side x side, for latents of
    a size.
    """
    if turbo.keys == turbo.second_keys == 1:
        return []
    height, width = model.attention_grid(height, width)
    levels = (height, width, turbo.keys), (-(-height // 2), -(-width // 2), turbo.second_keys)
    return [(h, w, math.isqrt(keys)) for h, w, keys in levels if keys > 1]
