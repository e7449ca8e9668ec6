"""Denoising inside a region only: outside, every step's latents are the original's, noised as far as that
step is.

After Blended Latent Diffusion (Avrahami et al., SIGGRAPH 2023, section 4.1). What is edited grows into
surroundings that are there, not into ones that the editor makes up and that the picture then does not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i4d.edit.schedule import Schedule
from i4d.geometry.regions import inside_of


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The originals' scaled latents and the noise of the edit, both (n, channel, h, w), and the region on
    their grid (n, 1, h, w).
    """

    latents: torch.Tensor
    noise: torch.Tensor
    share: torch.Tensor

    def around(self, schedule: Schedule, latents: torch.Tensor, following: int) -> torch.Tensor:
        """Return latents that go into timestep `following` (negative: the last are done) with the originals'
        outside the region.
        """
        known = self.latents if following < 0 else schedule.noised(self.latents, self.noise, following)
        return inside_of(latents, known, self.share)

    def part(self, rows: slice) -> Surroundings:
        """Return those of some images of the batch."""
        return Surroundings(self.latents[rows], self.noise[rows], self.share[rows])


def on_latents(region: torch.Tensor, factor: int) -> torch.Tensor:
    """Return a region (n, 1, height, width) on the grid of latents, each `factor` pixels wide: 1 wherever a
    cell touches it.
    """
    height, width = region.shape[-2:]
    padded = F.pad(region, (0, -width % factor, 0, -height % factor))
    return (F.max_pool2d(padded, factor) > 0).to(region.dtype)
