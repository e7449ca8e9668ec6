"""Which channels of a streaming field a frame reads, as tables that kernels read, and buffers for their
gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from i4d.fields.vector_matrix.model import StreamingField
from i4d.fields.vector_matrix.streaming import Stream


@dataclass(frozen=True)
class Channels:
    """The channels that a frame reads of three pairs, one after the other, padded to `sizes` a pair.

    `table` (sum of sizes,) holds their indices, `weight` their weights (0: padding), `group` one over the
    channels of the group they belong to (permanent or streaming; 0: padding), `slots` their rows of the
    feature basis. `frame` (2,) are the frames whose own lines are blended, `part` (1,) the second's share.
    `host` are the tables of the real ones by pair.
    `offsets`: the first slot of each pair.
    """

    TENSORS: ClassVar = ("table", "weight", "group", "slots", "frame", "part")

    sizes: tuple[int, ...]
    table: Tensor
    weight: Tensor
    group: Tensor
    slots: Tensor
    frame: Tensor
    part: Tensor
    host: tuple[np.ndarray, ...]
    offsets: tuple[int, ...]

    def slots_of(self, pair: int) -> Tensor:
        """Return the slots of a pair's channels among those of that pair alone."""
        first = sum(self.sizes[:pair])
        return self.slots[first : first + self.sizes[pair]] - self.offsets[pair]


def channels_at(streams: list[Stream], frame: float, device: torch.device) -> Channels:
    """Return what a frame reads of the streams of three pairs."""
    tables, weights, groups, slots, host, sizes = [], [], [], [], [], []
    first = 0
    for stream in streams:
        piece = stream.at(frame)
        index = torch.cat([torch.arange(a, b) for a, b in piece.ranges] or [torch.zeros(0, dtype=torch.long)])
        permanent, moving = piece.permanent, piece.stop - piece.start
        share = torch.cat([torch.full((n,), 1 / max(1, n)) for n in (permanent, moving)])
        size = stream.slots + (1 if stream.window and stream.per_frame else 0)
        pad = (0, size - len(index))
        host.append(index.numpy())
        tables.append(F.pad(index, pad))
        weights.append(F.pad(piece.weights, pad))
        groups.append(F.pad(share, pad))
        slots.append(F.pad(first + piece.slots, pad, value=first))
        sizes.append(size)
        first += stream.slots
    table, weight, group = (torch.cat(parts).float().to(device) for parts in (tables, weights, groups))
    below = math.floor(frame + 1e-9)
    part = torch.tensor([frame - below if frame - below >= 1e-6 else 0.0], device=device)
    pair = torch.tensor([below, below + int(part.item() > 0)], device=device)
    slots_ = torch.cat(slots).long().to(device)
    offsets = tuple(sum(s.slots for s in streams[:i]) for i in range(3))
    return Channels(tuple(sizes), table, weight, group, slots_, pair, part, tuple(host), offsets)


class Gradients:
    """Buffers for the gradients of one frame's channels, planes (channel, height, width) and lines (channel,
    length), and of the network: views of one `flat` tensor, so that several GPUs add theirs up in one go."""

    def __init__(self, field: StreamingField, channels: dict[str, Channels]) -> None:
        shapes: dict[str, tuple[int, ...]] = {}
        for kind, chosen in channels.items():
            for pair, size in enumerate(chosen.sizes):
                for part in ("plane", "line"):
                    name = f"{kind}{pair}.{part}"
                    shapes[name] = (size, *field.tensors[name].shape[1:])
                if field.shape.frame_lines:
                    shapes[f"{kind}{pair}.own"] = tuple(field.tensors[f"{kind}{pair}.own"].shape[1:])
        shapes |= {name: tuple(field.tensors[name].shape) for name in field.network_names}
        lengths = [-(-math.prod(shape) // 4) * 4 for shape in shapes.values()]  # kernels like 16 bytes
        self.flat = torch.empty(sum(lengths), device=field.device)
        parts = self.flat.split(lengths)
        self.of = {n: p[: math.prod(s)].view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}


def frame_channels(field: StreamingField, frame: float) -> dict[str, Channels]:
    """Return the channels a frame reads, kept with the field for whole frames."""
    key = (frame, field.device)
    found = field.cache.get(key)
    if found is None:
        found = {}
        for kind in ("density", "colour"):
            found[kind] = channels_at([field.streams[f"{kind}{p}"] for p in range(3)], frame, field.device)
        if float(frame).is_integer():
            field.cache[key] = found
    return found
