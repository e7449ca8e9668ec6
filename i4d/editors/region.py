"""Denoising inside a region only: outside, every step's latents are the original's, noised as far as that
step is.

After Blended Latent Diffusion (Avrahami et al., SIGGRAPH 2023, section 4.1). What is edited grows into
surroundings that are there, not into ones that the editor makes up and that the picture then does not show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i4d.editors.noise import NoisePlan
from i4d.geometry.regions import inside_of


@dataclass(frozen=True, eq=False)
class BlendedLatents:
    """The originals' latents and the noise of the edit, both (n, channel, h, w), and the region on their grid
    (n, 1, h, w).
    """

    latents: torch.Tensor
    noise: torch.Tensor
    region: torch.Tensor

    def around(self, plan: NoisePlan, latents: torch.Tensor, index: int) -> torch.Tensor:
        """Return latents of the plan's level `index` with the originals' outside the region; after the last
        step they are the clean ones.
        """
        done = index == plan.num_steps
        known = self.latents if done else plan.noised(self.latents, self.noise, index)
        return inside_of(latents, known, self.region)

    def part(self, rows: slice) -> BlendedLatents:
        """Return those of some images of the batch."""
        return BlendedLatents(self.latents[rows], self.noise[rows], self.region[rows])


def on_latents(region: torch.Tensor, cell: int) -> torch.Tensor:
    """Return a region (n, 1, height, width) on the grid of latents, each `cell` pixels wide: 1 wherever a
    cell touches it.
    """
    height, width = region.shape[-2:]
    padded = F.pad(region, (0, -width % cell, 0, -height % cell))
    return (F.max_pool2d(padded, cell) > 0).to(region.dtype)
