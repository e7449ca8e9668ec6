"""Noise levels and the deterministic sampler: explicit timesteps on the model's own (1000-step) schedule.

Diffusion in latents x: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, with a_t the cumulative alpha. A repaint of
strength (T, n) noises an image to the first of n timesteps spread over [0, T) and comes back in n steps of
DDIM with eta = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i4d.errors import ConfigError
from i4d.types import Strength

PREDICTIONS = ("epsilon", "v_prediction", "sample")


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

    def starts_from_noise(self, strength: Strength) -> bool:
        """Return whether nothing of the image is left at the first timestep: a trailing schedule at full
        strength.
        """
        return self.spacing == "trailing" and strength.T == self.num_steps

    def alpha(self, timestep: int) -> float:
        """Return the cumulative alpha of a timestep; of what follows the last one for timestep -1."""
        if timestep >= 0:
            return float(self.alphas[timestep])
        return float(self.alphas[0]) if self.final_alpha is None else self.final_alpha

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return latents with noise of one timestep."""
        a = self.alpha(timestep)
        return a**0.5 * latents + (1 - a) ** 0.5 * noise

    def step(
        self, latents: torch.Tensor, output: torch.Tensor, timestep: int, following: int
    ) -> torch.Tensor:
        """Return the latents at the next timestep (`following`; -1 after the last): DDIM, eta 0 (Song et al.,
        eq. 12).

        `output` is what the model predicts at `timestep`. Safe at a = 0 (pure noise) for v and sample
        prediction.
        """
        a, b = self.alpha(timestep), self.alpha(following)
        signal, spread = a**0.5, (1 - a) ** 0.5
        if self.prediction == "epsilon":
            noise, clean = output, (latents - spread * output) / signal
        elif self.prediction == "v_prediction":
            clean, noise = signal * latents - spread * output, signal * output + spread * latents
        else:
            clean, noise = output, (latents - signal * output) / spread
        return b**0.5 * clean + (1 - b) ** 0.5 * noise


def stable_diffusion_schedule() -> Schedule:
    """Return SD 1.4's schedule: scaled-linear betas 0.00085..0.012 over 1000 steps, epsilon, leading."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return Schedule(torch.cumprod(1 - betas, 0))
