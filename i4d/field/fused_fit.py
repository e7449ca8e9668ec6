"""One optimisation step through kernels: what `Fitter` does in torch, without waiting for the device once.

Nothing is read back: the loss stays on the device until somebody asks, step sizes go there in one small copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i4d.field.fused import FusedMoment, Gradients, frame_channels, render_fused
from i4d.field.model import StreamingField
from i4d.field.optim import SliceAdam
from i4d.field.render import RenderSettings, coarse_map

BLOCK = 1024


class FusedStep:
    """Takes steps of a fit on one field with one optimiser, whose counts must be on the CPU."""

    def __init__(self, field: StreamingField, adam: SliceAdam) -> None:
        self.field, self.adam = field, adam
        self._gradients: Gradients | None = None
        self._cells: tuple[int, ...] = ()

    def gradients(self, frame: float) -> Gradients:
        """Return the buffers, made anew when the grid has grown."""
        if self._gradients is None or self._cells != self.field.cells:
            self._gradients = None  # the old ones go first
            self._gradients = Gradients(self.field, frame_channels(self.field, frame))
            self._cells = self.field.cells
        return self._gradients

    def __call__(
        self, frame: int, rays: tuple[Tensor, Tensor, Tensor], settings: RenderSettings, offsets: Tensor,
        rates: dict[str, float], variation: float, dense: bool = False,
    ) -> Tensor:  # fmt: skip
        """Take one step on rays (origins, directions, colours) of a frame; returns the mean squared error, on the device."""
        moment = FusedMoment(self.field, frame, self.gradients(frame))
        origins, directions, target = rays
        start_gradients(moment, variation)
        cells = None if dense else coarse_map(moment, self.field.cells, settings.map_cells)
        space = self.field.space
        seen, _ = render_fused(moment, space, cells, origins, directions, settings, offsets, want_depth=False)
        loss = (seen.rgb - target).square().mean()
        loss.backward()
        move(self.adam, moment, rates)
        return loss.detach()


def start_gradients(moment: FusedMoment, variation: float) -> None:
    """Set the gradient buffers to the gradient of total variation: planes x 1e-2, lines x 1e-3 (`fit.Fitter._update`)."""
    from i4d.field.kernels import update

    for kind, chosen in moment.channels.items():
        first = 0
        for pair, size in enumerate(chosen.sizes):
            for part, share in (("plane", 1e-2), ("line", 1e-3)):
                name = f"{kind}{pair}.{part}"
                value = moment.field.tensors[name]
                height, width = value.shape[1:] if part == "plane" else (1, value.shape[1])
                if size:
                    update.variation_grad[(-(-height * width // BLOCK), size)](
                        value, moment.gradients.of[name], chosen.table[first:], chosen.group[first:],
                        float(share * variation), height, width, BLOCK,
                    )  # fmt: skip
            first += size


def _sizes_of_steps(adam: SliceAdam, moment: FusedMoment, rates: dict[str, float]) -> Tensor:
    """Count the step and return (2, entries): rate / (1 - b1^n) and sqrt(1 - b2^n) of the channels of every factor, padded
    with rates of 0, then of every tensor of the network."""
    rows: list[Tensor] = []
    b1, b2 = adam.betas

    def row(counts: Tensor, rate: float, size: int) -> Tensor:
        out = torch.zeros(2, size, dtype=torch.float64)
        out[1] = 1.0
        out[0, : len(counts)] = rate / (1 - b1**counts.double())
        out[1, : len(counts)] = (1 - b2**counts.double()).sqrt()
        return out

    for kind, chosen in moment.channels.items():
        for pair, size in enumerate(chosen.sizes):
            index = chosen.host[pair]
            for part in ("plane", "line"):
                adam.counts[f"{kind}{pair}.{part}"][index] += 1
            rows.append(row(adam.counts[f"{kind}{pair}.plane"][index], rates[f"{kind}{pair}.plane"], size))
    for name in moment.field.network_names:
        adam.counts[name] += 1
        rows.append(row(adam.counts[name][:1], rates[name], 1))
    return torch.cat(rows, 1).float()


@torch.no_grad()
def move(adam: SliceAdam, moment: FusedMoment, rates: dict[str, float]) -> None:
    """Move everything the moment read by its gradient: Adam with a count of steps per channel, as `SliceAdam.step`."""
    from i4d.field.kernels import update

    # pageable and not waited for: so small a copy is staged by the driver before the call returns
    sheet = _sizes_of_steps(adam, moment, rates).to(moment.field.device, non_blocking=True)

    def run(name: str, grad: Tensor, table: Tensor, at: int, entries: int) -> None:
        value = moment.field.tensors[name]
        size = value.numel() if entries == 1 and name in moment.mlp else value[0].numel()
        update.adam[(-(-size // BLOCK), entries)](
            value, grad, adam.first[name], adam.second[name], table, sheet[0, at:], sheet[1, at:],
            *adam.betas, adam.eps, size, BLOCK,
        )  # fmt: skip

    at = 0
    for kind, chosen in moment.channels.items():
        first = 0
        for pair, size in enumerate(chosen.sizes):
            for part in ("plane", "line"):
                name = f"{kind}{pair}.{part}"
                if size:
                    run(name, moment.gradients.of[name], chosen.table[first:], at, size)
            first, at = first + size, at + size
    zero = torch.zeros(1, device=moment.field.device)
    for name, leaf in moment.mlp.items():
        run(name, leaf.grad, zero, at, 1)
        at += 1
