"""Noise levels of a repaint and the deterministic steps between them, for any network that predicts noise,
velocity v or the clean sample.

A level holds x = signal * clean + spread * noise. A repaint noises a picture to the first level of its plan
and comes back level by level with DDIM, eta 0 (Song et al., ICLR 2021, eq. 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class NoiseLevel:
    """How much of the clean latents (`signal`) and of unit noise (`spread`) latents hold, both in [0, 1]."""

    signal: float
    spread: float


@dataclass(frozen=True)
class NoisePlan:
    """The levels of a repaint in n steps: n + 1 of them, falling, the last that of the result. `prediction`
    is what the network answers with. `from_noise`: nothing of the picture is left at the first level.
    """

    levels: tuple[NoiseLevel, ...]
    prediction: str
    from_noise: bool = False

    @property
    def num_steps(self) -> int:
        return len(self.levels) - 1

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        """Return latents with noise of level `index`."""
        return noised(latents, noise, self.levels[index])

    def step(self, latents: torch.Tensor, output: torch.Tensor, index: int) -> torch.Tensor:
        """Return latents of level `index` at the next one; `output` is the network's answer to them."""
        return step(latents, output, self.levels[index], self.levels[index + 1], self.prediction)


def noised(latents: torch.Tensor, noise: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """Return clean latents with noise of one level."""
    return level.signal * latents + level.spread * noise


def step(
    latents: torch.Tensor, output: torch.Tensor, level: NoiseLevel, following: NoiseLevel, prediction: str
) -> torch.Tensor:
    """Return latents of one level at the next: DDIM, eta 0. Safe at pure noise for v and sample
    prediction.
    """
    signal, spread = level.signal, level.spread
    if prediction == "epsilon":
        noise, clean = output, (latents - spread * output) / signal
    elif prediction == "v_prediction":
        clean, noise = signal * latents - spread * output, signal * output + spread * latents
    else:
        clean, noise = output, (latents - signal * output) / spread
    return following.signal * clean + following.spread * noise


def draw_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the diffusion's noise and that of the draw from the autoencoder's posterior, (images, *shape)
    each.

    One seed per image. Images of one seed get the same noise: what then moves between them is the picture,
    not the noise. Drawn on the CPU, so that every device gets the same numbers.
    """
    drawn = {}
    for seed in seeds:
        if seed not in drawn:
            drawn[seed] = torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed))
    both = torch.stack([drawn[seed] for seed in seeds])
    return both[:, 0], both[:, 1]
