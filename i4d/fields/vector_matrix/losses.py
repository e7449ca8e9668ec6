"""What a step asks of its rays: squared error, or for refits something that does not average disagreeing
edits into a blur.

Edited views never agree exactly. A squared error then has its least value at their mean, which is blurred;
Charbonnier's error sqrt(x^2 + eps^2) nearer their median, which is not. The gradient term compares
differences of neighbouring pixels in small patches, where blur shows most and offsets of colour do not show
at all. The perceptual term compares one larger patch of every step as a network sees it (LPIPS; Zhang et al.,
CVPR 2018): it asks for texture of the right kind, not for the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from i4d.errors import FitError
from i4d.fields.protocol import Distance


@dataclass(frozen=True)
class Loss:
    """`patch` x `patch` neighbouring pixels are drawn together; `robust` is Charbonnier's eps for colours (0:
    squared error), `gradient` the weight of the gradient term and `gradient_robust` its eps (0: squared).
    `side`: the last `side` x `side` rays of a step are one patch, whose `distance` from its target counts
    `perceptual` (0 rays: no such term).
    """

    patch: int = 1
    robust: float = 0.0
    gradient: float = 0.0
    gradient_robust: float = 0.0
    side: int = 0
    perceptual: float = 0.0
    distance: Distance | None = None

    def __call__(self, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the mean squared error of a step's colours (ray, 3); rays come as whole
        patches, row by row.
        """
        loss, squared = self.of_colours(seen, target)
        if self.side:
            loss = loss + self.of_patch(seen[-(self.side**2) :], target[-(self.side**2) :])
        return loss, squared

    def of_colours(self, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss that every ray adds to, and the mean squared error, of any whole patches of a
        step.
        """
        error = seen - target
        squared = error.detach().square().mean()
        loss = _mean(error, self.robust)
        if self.gradient:
            patches = error.view(-1, self.patch, self.patch, 3)
            across, along = patches.diff(dim=2), patches.diff(dim=1)
            loss = loss + self.gradient * (
                _mean(across, self.gradient_robust) + _mean(along, self.gradient_robust)
            )
        return loss, squared

    def of_patch(self, seen: Tensor, target: Tensor) -> Tensor:
        """Return the perceptual term of the one patch (side * side, 3)."""
        assert self.distance is not None
        a, b = (t.view(1, self.side, self.side, 3).permute(0, 3, 1, 2) for t in (seen, target))
        return self.perceptual * self.distance(a, b).sum()


def _mean(error: Tensor, eps: float) -> Tensor:
    if not eps:
        return error.square().mean()
    # eps off, times 2 eps: the square near zero, whatever eps is; far from it the absolute value times 2 eps
    return 2 * eps * ((error.square() + eps * eps).sqrt() - eps).mean()


SQUARED = Loss()
REFIT_LOSSES = {
    "squared": SQUARED,
    "robust": Loss(robust=0.05),
    "gradient": Loss(patch=2, gradient=1.0),
    "perceptual": SQUARED,
}


def refit_loss(name: str, side: int, weight: float, distance: Distance | None) -> Loss:
    """Return the loss of refits of this name; `perceptual` adds a `distance` of patches of `side` pixels to
    the squared error.
    """
    loss = REFIT_LOSSES[name]
    if name != "perceptual":
        return loss
    if distance is None:
        raise FitError(
            "field.refit_loss = perceptual: there is no distance of images", "LPIPS finds its weights"
        )
    return replace(loss, side=side, perceptual=weight, distance=distance)
