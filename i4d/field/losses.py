"""What a step asks of its rays: squared error, or for refits something that does not average disagreeing edits into a blur.

Edited views never agree exactly. A squared error then has its least value at their mean, which is blurred; Charbonnier's error
sqrt(x^2 + eps^2) nearer their median, which is not. The gradient term compares differences of neighbouring pixels in
small patches, where blur shows most and offsets of colour do not show at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Phase = Literal["fit", "refit"]


@dataclass(frozen=True)
class FitReport:
    """What a run of steps did: where the phase stands, mean training PSNR of these steps in dB, rays seen."""

    step: int
    total_steps: int
    psnr_db: float
    rays: int


@dataclass(frozen=True)
class Loss:
    """`patch` x `patch` neighbouring pixels are drawn together; `robust` is Charbonnier's eps for colours (0: squared error),
    `gradient` the weight of the gradient term and `gradient_robust` its eps (0: squared)."""

    patch: int = 1
    robust: float = 0.0
    gradient: float = 0.0
    gradient_robust: float = 0.0

    def __call__(self, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the mean squared error of colours (ray, 3); rays come as whole patches, row by row."""
        error = seen - target
        squared = error.detach().square().mean()
        loss = _mean(error, self.robust)
        if self.gradient:
            patches = error.view(-1, self.patch, self.patch, 3)
            across, along = patches.diff(dim=2), patches.diff(dim=1)
            loss = loss + self.gradient * (_mean(across, self.gradient_robust) + _mean(along, self.gradient_robust))
        return loss, squared


def _mean(error: Tensor, eps: float) -> Tensor:
    if not eps:
        return error.square().mean()
    # eps off, times 2 eps: the square near zero, whatever eps is; far from it the absolute value times 2 eps
    return 2 * eps * ((error.square() + eps * eps).sqrt() - eps).mean()


SQUARED = Loss()
REFIT_LOSSES = {"squared": SQUARED, "robust": Loss(robust=0.05), "gradient": Loss(patch=2, gradient=1.0)}
