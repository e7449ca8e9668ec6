"""The noise schedule that an InstructPix2Pix was trained on, and the timesteps of a strength on it.

Diffusion in latents x: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, with a_t the cumulative alpha. A repaint of
strength (T, n) noises an image to the first of n timesteps spread over [0, T) and comes back in n steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i4d.editors.noise import NoiseLevel, NoisePlan
from i4d.errors import ConfigError
from i4d.types import Strength


@dataclass(frozen=True, eq=False)
class Schedule:
    """What a model was trained on: `alphas` (T_train,) float64 cumulative, and how it is stepped through."""

    alphas: torch.Tensor
    prediction: str = "epsilon"
    spacing: str = "leading"
    final_alpha: float | None = None  # cumulative alpha after the last step; None: that of index 0

    @property
    def num_steps(self) -> int:
        return len(self.alphas)

    def timesteps(self, strength: Strength) -> list[int]:
        """Return the n timesteps of a strength, falling. ConfigError when (T, n) does not fit the schedule.

        "leading": t_k = (n-1-k) * (T // n) + 1, as in the authors' code; "trailing": t_k = round(T - k T / n)
        - 1, which begins at T - 1 and so reaches the pure noise of a zero-terminal-SNR schedule.
        """
        T, n = strength.T, strength.n
        if not 1 <= n <= T <= self.num_steps:
            raise ConfigError(f"strength (T={T}, n={n})", f"needs 1 <= n <= T <= {self.num_steps}")
        if self.spacing == "trailing":
            return [round(T - k * T / n) - 1 for k in range(n)]
        return [min((n - 1 - k) * (T // n) + 1, self.num_steps - 1) for k in range(n)]

    @property
    def least_steps(self) -> int:
        """Return how few steps of a repaint change anything: with leading spacing the last one stands next to
        the clean picture.
        """
        return 1 if self.spacing == "trailing" else 2

    def level(self, timestep: int) -> NoiseLevel:
        """Return the noise level of a timestep; of what follows the last one for timestep -1."""
        if timestep >= 0:
            alpha = float(self.alphas[timestep])
        else:
            alpha = float(self.alphas[0]) if self.final_alpha is None else self.final_alpha
        return NoiseLevel(alpha**0.5, (1 - alpha) ** 0.5)

    def plan(self, strength: Strength) -> NoisePlan:
        """Return the noise levels of a strength. A trailing schedule at full strength starts from pure noise
        and leaves nothing of the picture.
        """
        levels = tuple(self.level(t) for t in (*self.timesteps(strength), -1))
        from_noise = self.spacing == "trailing" and strength.T == self.num_steps
        return NoisePlan(levels, self.prediction, from_noise)


def stable_diffusion_schedule() -> Schedule:
    """Return SD 1.4's schedule: scaled-linear betas 0.00085..0.012 over 1000 steps, epsilon, leading."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return Schedule(torch.cumprod(1 - betas, 0))
