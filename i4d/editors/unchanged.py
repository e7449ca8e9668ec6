"""What an instruction leaves alone stays the original's pixels, not the autoencoder's copy of them.

A latent editor answers with a whole picture that went through its autoencoder, so a wall that nobody wanted
changed comes back a little blurred and noisy, and a field fitted to it learns that. Where an edited picture
differs from its original by no more than such a copy does, the original is given back; the border between the
two is a smooth mix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

COPY_ERROR = 0.03  # mean difference that the copy of an autoencoder may make, in [0, 1] units of colour
BLENDED_COPY_ERROR = (
    0.02  # that of frames averaged with their neighbours: grain is gone, so smaller changes are told from it
)
RADIUS_PX = (
    2  # differences are averaged over squares of 5 pixels: strokes of the same mean colour count as change
)


def changed_share(
    edited: torch.Tensor, originals: torch.Tensor, copy_error: float = COPY_ERROR
) -> torch.Tensor:
    """Return (n, 1, h, w) in [0, 1]: 0 where edited (n, 3, h, w) only copies its original, 1 where it differs
    by twice `copy_error`.
    """
    difference = (edited - originals).abs().amax(1, keepdim=True)
    near = F.avg_pool2d(F.pad(difference, (RADIUS_PX,) * 4, mode="replicate"), 2 * RADIUS_PX + 1, stride=1)
    share = (near / copy_error - 1).clamp(0, 1)
    return share * share * (3 - 2 * share)


def with_unchanged_given_back(
    edited: torch.Tensor, originals: torch.Tensor, copy_error: float = COPY_ERROR
) -> torch.Tensor:
    """Return edited images (n, 3, h, w) in [0, 1] with their originals' pixels where nothing was changed."""
    return originals + changed_share(edited, originals, copy_error) * (edited - originals)
