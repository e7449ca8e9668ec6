"""Adam over slices of streaming tensors.

A step touches only the channels its frame reads. Moments and step counts are kept per channel, so a channel that
was not read keeps still (dense Adam would go on moving it by its momentum) and corrects its bias by its own count,
as in lazy Adam.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from i4d.field.model import Leaf


class SliceAdam:
    """Adam (Kingma and Ba 2015) with moments per tensor and step counts per channel (first axis)."""

    def __init__(self, tensors: dict[str, Tensor], betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8) -> None:
        self.betas = betas
        self.eps = eps
        self.first = {name: torch.zeros_like(t) for name, t in tensors.items()}
        self.second = {name: torch.zeros_like(t) for name, t in tensors.items()}
        self.counts = {name: torch.zeros(len(t), dtype=torch.int64) for name, t in tensors.items()}

    @torch.no_grad()
    def step(self, leaves: Iterable[Leaf], rates: dict[str, float]) -> None:
        """Move every leaf that has a gradient, in place in the tensor it is a view of; `rates` by parameter name."""
        b1, b2 = self.betas
        for leaf in leaves:
            grad = leaf.tensor.grad
            if grad is None:
                continue
            piece = slice(leaf.start, leaf.stop)
            counts = self.counts[leaf.name][piece]
            counts += 1
            m, v = self.first[leaf.name][piece], self.second[leaf.name][piece]
            m.lerp_(grad, 1 - b1)
            v.mul_(b2).addcmul_(grad, grad, value=1 - b2)
            n = counts.to(torch.float64)
            scale = ((1 - b2**n).sqrt() / (1 - b1**n) * rates[leaf.name]).float().to(grad.device)
            update = v.sqrt().add_(self.eps).reciprocal_().mul_(m)
            leaf.tensor.sub_(update.mul_(scale.view(-1, *[1] * (grad.dim() - 1))))

    def state(self) -> dict[str, Tensor]:
        """Return moments and counts as named tensors, for a checkpoint."""
        parts = {"first": self.first, "second": self.second, "count": self.counts}
        return {f"{part}/{name}": t for part, values in parts.items() for name, t in values.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Set moments and counts from what `state` returned."""
        for part, values in (("first", self.first), ("second", self.second), ("count", self.counts)):
            for name, old in values.items():
                values[name] = state[f"{part}/{name}"].to(old.device, old.dtype).clone()

    def to(self, device: torch.device | str) -> None:
        """Move the moments to a device; the counts stay on the host."""
        for values in (self.first, self.second):
            for name, tensor in values.items():
                values[name] = tensor.to(device)
