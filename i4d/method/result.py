"""What every edit of the method ends with: only the region changes, and rounds may be averaged."""

from __future__ import annotations

import torch

from i4d.geometry.regions import inside_of


def finished(
    edited: torch.Tensor,
    originals: torch.Tensor,
    region: torch.Tensor | None,
    earlier: torch.Tensor | None,
    round_index: int,
) -> torch.Tensor:
    """Return an edit (n, 3, h, w) with the originals' pixels outside a region (n, 1, h, w), and, with
    `earlier`, the mean of the rounds before this one, the mean of it and them.
    """
    out = edited if region is None else inside_of(edited, originals, region)
    if earlier is None:
        return out
    return out + (earlier.to(out.device) - out) * (1 - 1 / round_index)
