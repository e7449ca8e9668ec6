"""One optimisation step through kernels: what `Fitter` does in torch, without waiting for the device once.

Nothing is read back: the loss stays on the device until somebody asks, step sizes go there in one small copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from i4d.fields.frames import Lenses, Pixels
from i4d.fields.vector_matrix.channels import Channels, Gradients, frame_channels
from i4d.fields.vector_matrix.exposure import recorded
from i4d.fields.vector_matrix.factors import add_line_variation_grad
from i4d.fields.vector_matrix.fused import FusedMoment, render_fused
from i4d.fields.vector_matrix.losses import SQUARED, Loss
from i4d.fields.vector_matrix.model import StreamingField
from i4d.fields.vector_matrix.optim import SliceAdam
from i4d.fields.vector_matrix.render import RenderSettings, coarse_map

BLOCK = 1024


class FusedStep:
    """Takes steps of a fit on one field with one optimiser, whose counts must be on the CPU.

    Everything a step reads is copied into tensors that stay where they are, so on a GPU the third step of a
    kind is recorded as a CUDA graph and the following ones are replayed: the host's work is a few small
    copies.
    """

    def __init__(self, field: StreamingField, adam: SliceAdam, record: bool = True) -> None:
        """`record`: as CUDA graphs, on a GPU. `reduce` averages the flat gradients over a group of processes,
        in place.
        """
        self.field, self.adam, self.record = field, adam, record and field.device.type == "cuda"
        self.reduce: Callable[[Tensor], None] | None = None
        self._kept: _Kept | None = None

    def release(self) -> None:
        """Let go of device memory; the next step starts anew."""
        self._kept = None

    def __call__(
        self,
        frame: int,
        pixels: Pixels,
        lenses: Lenses,
        settings: RenderSettings,
        offsets: Tensor,
        rates: dict[str, float],
        variation: float,
        loss: Loss = SQUARED,
    ) -> Tensor:
        """Take one step on pixels of a frame; returns the mean squared error of the colours, on the
        device.
        """
        channels = frame_channels(self.field, frame)
        fixed = replace(settings, uniform=0.0)
        where = tuple(t.data_ptr() for t in (*self.field.tensors.values(), *self.adam.first.values()))
        kind = (fixed, variation, loss, len(pixels.slot), id(lenses), where)
        if self._kept is None or kind != self._kept.kind:
            self.release()
            inputs = _Inputs.like(pixels, offsets, channels, self.field.device)
            self._kept = _Kept(kind, inputs, Gradients(self.field, channels), offsets.new_zeros(()))
        kept = self._kept
        kept.inputs.load(pixels, offsets, settings.uniform, channels)
        steps = step_sizes(self.adam, self.field, channels, rates, kept.inputs.steps, frame)
        kept.inputs.steps = steps
        work: tuple[Callable[[], None], ...] = (
            partial(self._descend, kept, lenses, fixed, variation, loss),
            partial(move, self.adam, self.field, kept.inputs.channels, kept.gradients, steps),
        )
        if not kept.graphs and kept.steps >= 2 and self.record:
            kept.graphs = tuple(_recorded(part) for part in work)
        for index, part in enumerate(work):
            if index and self.reduce:
                self.reduce(kept.gradients.flat)
            if kept.graphs:
                kept.graphs[index].replay()
            else:
                part()
        kept.steps += 1
        return kept.squared.clone()

    def _descend(
        self, kept: _Kept, lenses: Lenses, settings: RenderSettings, variation: float, loss: Loss
    ) -> None:
        """Fill the gradients, those of total variation first, and the squared error."""
        given = kept.inputs
        moment = FusedMoment(self.field, given.channels, kept.gradients)
        rays = lenses.rays(given.slot, given.inside, given.rgb)
        start_gradients(moment, variation)
        cells = coarse_map(moment, self.field.cells, settings.map_cells)
        seen, _ = render_fused(
            moment,
            self.field.space,
            cells,
            rays.origins,
            rays.directions,
            settings,
            given.offsets,
            False,
            given.uniform,
        )
        value, kept.squared = loss(recorded(seen.rgb, moment.mlp.get("gains"), rays.view), rays.rgb)
        if seen.distortion is not None:
            value = value + settings.distortion * seen.distortion.mean()
        value.backward()
        for name, leaf in moment.mlp.items():
            assert leaf.grad is not None, "every weight of the network takes part"
            moment.buffers[name].copy_(leaf.grad)
        share_lines(moment, variation)


def _recorded(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # threads that draw pixels may go on
        work()
    return graph


@dataclass
class _Inputs:
    """What changes from step to step, in tensors that stay where they are."""

    slot: Tensor
    inside: Tensor
    rgb: Tensor
    offsets: Tensor
    uniform: Tensor
    channels: dict[str, Channels]
    steps: Tensor | None = None

    @staticmethod
    def like(pixels: Pixels, offsets: Tensor, channels: dict[str, Channels], device: torch.device) -> _Inputs:
        slot, inside, rgb = (torch.from_numpy(a).to(device) for a in (pixels.slot, pixels.inside, pixels.rgb))
        kept = {
            kind: replace(c, **{name: getattr(c, name).clone() for name in Channels.TENSORS})
            for kind, c in channels.items()
        }
        return _Inputs(slot, inside, rgb, offsets.clone(), torch.zeros(1, device=device), kept)

    def load(self, pixels: Pixels, offsets: Tensor, uniform: float, channels: dict[str, Channels]) -> None:
        # pageable and not waited for: so small copies are staged by the driver before the call returns
        for name in ("slot", "inside", "rgb"):
            getattr(self, name).copy_(torch.from_numpy(getattr(pixels, name)), non_blocking=True)
        self.offsets.copy_(offsets)
        self.uniform.fill_(uniform)
        pairs = [(self.channels[k], channels[k], name) for k in channels for name in Channels.TENSORS]
        torch._foreach_copy_([getattr(to, n) for to, _, n in pairs], [getattr(of, n) for _, of, n in pairs])


@dataclass
class _Kept:
    """What steps of one kind have in common; `squared` is the last one's squared error."""

    kind: tuple
    inputs: _Inputs
    gradients: Gradients
    squared: Tensor
    steps: int = 0
    graphs: tuple[torch.cuda.CUDAGraph, ...] = ()


def start_gradients(moment: FusedMoment, variation: float) -> None:
    """Set the gradient buffers of planes to the gradient of total variation (x 1e-2), those of lines to
    zero: theirs is added once it is shared out (`share_lines`).
    """
    from i4d.fields.vector_matrix.kernels import update

    for kind, chosen in moment.channels.items():
        first = 0
        for pair, size in enumerate(chosen.sizes):
            if size:
                name = f"{kind}{pair}.plane"
                value = moment.field.tensors[name]
                height, width = value.shape[1:]
                update.variation_grad[(-(-height * width // BLOCK), size)](
                    value,
                    moment.buffers[name],
                    chosen.table[first:],
                    chosen.group[first:],
                    float(1e-2 * variation),
                    height,
                    width,
                    BLOCK,
                )
                moment.buffers[f"{kind}{pair}.line"].zero_()
            first += size


@torch.no_grad()
def share_lines(moment: FusedMoment, variation: float) -> None:
    """Hand the gradients of the lines that the frame read on to its own lines, and add total variation to
    both: each channel's line is the sum of its own and the frame's.
    """
    for kind, chosen in moment.channels.items():
        first = 0
        for pair, size in enumerate(chosen.sizes):
            if not size:
                continue
            name, of = f"{kind}{pair}", moment.buffers
            table, group = chosen.table[first : first + size].long(), chosen.group[first : first + size]
            lines = moment.field.tensors[f"{name}.line"].index_select(0, table)
            if moment.shape.frame_lines:
                own = moment.field.tensors[f"{name}.own"].index_select(0, chosen.frame[:1])[0]
                into = of[f"{name}.own"]
                into.zero_().index_add_(0, chosen.slots_of(pair), of[f"{name}.line"])
                add_line_variation_grad(into, own, 1e-3 * variation)
            step = lines.diff(dim=1) * (2e-3 * variation / (lines.shape[1] - 1) * group[:, None])
            of[f"{name}.line"][:, 1:].add_(step)
            of[f"{name}.line"][:, :-1].sub_(step)
            first += size


def step_sizes(
    adam: SliceAdam,
    field: StreamingField,
    channels: dict[str, Channels],
    rates: dict[str, float],
    out: Tensor | None,
    frame: int,
) -> Tensor:
    """Count the step and return (2, entries) on the device, in `out` if given: rate / (1 - b1^n) and sqrt(1 -
    b2^n) of the channels of every factor, padded with rates of 0, then of every tensor of the network."""
    counts, scale = [], []
    for kind, chosen in channels.items():
        for pair, size in enumerate(chosen.sizes):
            plane, line = (adam.counts[f"{kind}{pair}.{part}"].numpy() for part in ("plane", "line"))
            index = chosen.host[pair]
            plane[index] += 1
            line[index] += 1
            counts.append(np.concatenate([plane[index], np.ones(size - len(index))]))
            scale.append(np.repeat([rates[f"{kind}{pair}.plane"], 0.0], [len(index), size - len(index)]))
            if field.shape.frame_lines:
                own = adam.counts[f"{kind}{pair}.own"].numpy()
                own[frame] += 1
                counts.append(own[frame : frame + 1])
                scale.append(np.array([rates[f"{kind}{pair}.own"]]))
    for name in field.network_names:
        adam.counts[name] += 1
        counts.append(adam.counts[name][:1].numpy())
        scale.append(np.array([rates[name]]))
    b1, b2 = adam.betas
    n = np.concatenate(counts).astype(np.float64)
    table = np.stack([np.concatenate(scale) / (1 - b1**n), np.sqrt(1 - b2**n)]).astype(np.float32)
    if out is None:
        return torch.from_numpy(table).to(field.device)
    out.copy_(torch.from_numpy(table), non_blocking=True)
    return out


@torch.no_grad()
def move(
    adam: SliceAdam, field: StreamingField, channels: dict[str, Channels], gradients: Gradients, steps: Tensor
) -> None:
    """Move what a step read by its gradient: Adam with a count of steps per channel, as `SliceAdam.step`."""
    from i4d.fields.vector_matrix.kernels import update

    def run(name: str, table: Tensor, at: int, entries: int, size: int) -> None:
        update.adam[(-(-size // BLOCK), entries)](
            field.tensors[name],
            gradients.of[name],
            adam.first[name],
            adam.second[name],
            table,
            steps[0, at:],
            steps[1, at:],
            *adam.betas,
            adam.eps,
            size,
            BLOCK,
        )

    at = 0
    for kind, chosen in channels.items():
        first = 0
        for pair, size in enumerate(chosen.sizes):
            for part in ("plane", "line"):
                name = f"{kind}{pair}.{part}"
                if size:
                    run(name, chosen.table[first:], at, size, field.tensors[name][0].numel())
            first, at = first + size, at + size
            if field.shape.frame_lines:
                name = f"{kind}{pair}.own"
                if size:
                    run(name, chosen.frame, at, 1, field.tensors[name][0].numel())
                at += 1
    zero = torch.zeros(1, device=field.device)
    for name in field.network_names:
        run(name, zero, at, 1, field.tensors[name].numel())
        at += 1
