"""Adam over slices of streaming tensors.

A step touches only the channels its frame reads. Moments and step counts are kept per channel, so a channel
that was not read keeps still (dense Adam would go on moving it by its momentum) and corrects its bias by its
own count, as in lazy Adam.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam

from i4d.fields.vector_matrix.model import Leaf


class SliceAdam:
    """Adam (Kingma and Ba 2015) with moments per tensor and step counts per channel (first axis)."""

    def __init__(
        self,
        tensors: dict[str, Tensor],
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        counts_on: str | None = None,
    ) -> None:
        """`counts_on`: where the counts are kept; None: with the tensors."""
        self.betas = betas
        self.eps = eps
        self.counts_on = counts_on
        self.first = {name: torch.zeros_like(t) for name, t in tensors.items()}
        self.second = {name: torch.zeros_like(t) for name, t in tensors.items()}
        self.counts = {name: torch.zeros(len(t), device=counts_on or t.device) for name, t in tensors.items()}

    @torch.no_grad()
    def step(self, leaves: Iterable[Leaf], rates: dict[str, float]) -> None:
        """Move every leaf that has a gradient, in place in the tensor it is a view of; `rates` by parameter
        name.
        """
        by_rate: dict[float, list[Leaf]] = {}
        for leaf in leaves:
            if leaf.tensor.grad is not None:
                by_rate.setdefault(rates[leaf.name], []).append(leaf)
        for rate, group in by_rate.items():
            self._fused([entry for leaf in group for entry in self._entries(leaf)], rate)
            for leaf in group:
                if leaf.shared:
                    self.counts[leaf.name][leaf.start : leaf.stop] = self.counts[leaf.name][leaf.start]

    def _entries(self, leaf: Leaf) -> list[tuple[Tensor, ...]]:
        """Return (value, gradient, first, second, count) per channel, or once for all where one count serves
        all.
        """
        piece = slice(leaf.start, leaf.stop)
        moments = self.first[leaf.name][piece], self.second[leaf.name][piece]
        counts = self.counts[leaf.name]
        grad = leaf.tensor.grad
        assert grad is not None, "`step` leaves out what has none"
        if leaf.shared:
            return [(leaf.tensor, grad, *moments, counts[leaf.start])]
        columns = (leaf.tensor, grad, *moments, counts[piece])
        return list(zip(*(column.unbind(0) for column in columns), strict=True))

    def _fused(self, entries: list[tuple[Tensor, ...]], rate: float) -> None:
        """One fused pass over memory for all entries."""
        tensors, grads, first, second, counts = (list(column) for column in zip(*entries, strict=True))
        b1, b2 = self.betas
        adam(
            tensors,
            grads,
            first,
            second,
            [],
            counts,
            fused=True,
            amsgrad=False,
            beta1=b1,
            beta2=b2,
            lr=rate,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )

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
        """Move moments, and the counts unless they have a place of their own, to a device."""
        for values in (self.first, self.second, *([] if self.counts_on else [self.counts])):
            for name, tensor in values.items():
                values[name] = tensor.to(device)


def grad_of(leaf: Leaf) -> torch.Tensor:
    """Return the gradient that a step left on a tensor."""
    grad = leaf.tensor.grad
    assert grad is not None, f"{leaf.name} had no part in the step"
    return grad
