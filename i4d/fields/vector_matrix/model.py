"""The 4D field: streaming vector-matrix factors, a feature basis and a small network for colour.

A `StreamingField` is a bag of named tensors and the settings that give them meaning; it does not know
autograd. `at(frame)` cuts out what one frame reads as a `Moment`: fresh leaf tensors over views of the same
memory, so that gradients and optimiser work are as small as the frame's slice, however long the video is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from i4d.fields.vector_matrix.factors import (
    factor_size,
    grow_line,
    grow_plane,
    lattice,
    plane_line,
    resolution,
)
from i4d.fields.vector_matrix.spaces import Space, extents, space_from_dict, space_to_dict
from i4d.fields.vector_matrix.streaming import Slice, Stream, split_permanent
from i4d.geometry.corrections import UNKNOWNS


class Mapped(Protocol):
    """What a coarse map is made of."""

    def coarse_density(self, cells: tuple[int, int, int]) -> Tensor:
        """Return density averaged over a lattice of cells, axes (z, y, x), without gradient."""
        ...


class Instant(Mapped, Protocol):
    """What the renderer needs to know of any field at one instant; a Gaussian field would bring its own
    renderer.
    """

    def density(self, points: Tensor) -> Tensor:
        """Return density (point,) >= 0 per field unit at points (point, 3) in [-1, 1]^3."""
        ...

    def features(self, points: Tensor) -> Tensor:
        """Return appearance features (point, feature) that may be averaged along a ray."""
        ...

    def colour(self, features: Tensor, directions: Tensor) -> Tensor:
        """Return sRGB (point, 3) in [0, 1] of features seen along unit directions (point, 3)."""
        ...

    def behind(self, background: tuple[float, float, float]) -> Tensor:
        """Return the colour (3,) behind the field: its own if it has learned one, else `background`."""
        ...


class Field(Protocol):
    """A 4D field: one instant at a time."""

    space: Space

    def at(self, frame: float, grad: bool = False) -> Instant: ...


@dataclass(frozen=True)
class FieldShape:
    """Everything about a field except its numbers and its grid's resolution."""

    num_frames: int
    density_components: tuple[int, int, int]
    colour_components: tuple[int, int, int]
    channels_per_frame: float
    permanent_share: float
    feature_dim: int
    mlp_width: int
    view_frequencies: int  # 0: colour does not depend on the viewing direction
    density_scale: float  # TensoRF's distance scale
    density: str  # "relu" or "softplus"
    density_shift: float  # softplus(x + shift)
    frame_lines: bool = False  # every frame adds lines of its own to those of its channels
    learned_background: bool = False  # tensor "behind" (3,): the colour behind the field before a sigmoid
    exposures: tuple[
        int, ...
    ] = ()  # views with a gain of their own (`exposure`): tensor "gains" (view, 3), logarithms
    refined: tuple[
        int, ...
    ] = ()  # views whose cameras are corrected (`camera_refinement`): tensor "camera_corrections" (view, 7)

    def streams(self) -> dict[str, Stream]:
        """Return the channel axes by factor name: "density0" .. "colour2"."""
        out = {}
        for kind, counts in (("density", self.density_components), ("colour", self.colour_components)):
            for pair, count in enumerate(counts):
                keep = split_permanent(count, self.permanent_share)
                out[f"{kind}{pair}"] = Stream(keep, count - keep, self.channels_per_frame, self.num_frames)
        return out

    @property
    def direction_dim(self) -> int:
        """Width of the encoded viewing direction."""
        return 3 + 6 * self.view_frequencies if self.view_frequencies else 0


@dataclass(frozen=True)
class Leaf:
    """A piece of a parameter: channels start..stop-1 of `name` (a whole network weight: 0..len), as a leaf
    tensor.

    `shared`: every frame reads all of it, so all of its channels have seen the same number of steps.
    """

    name: str
    start: int
    stop: int
    tensor: Tensor
    shared: bool


class Moment:
    """One frame of a StreamingField. `leaves` are what gradients reach; `grad=False` makes plain views."""

    def __init__(self, field: StreamingField, frame: float, grad: bool) -> None:
        self.shape = field.shape
        self.leaves: list[Leaf] = []
        self.mlp: dict[str, Tensor] = {}
        self._tensors, self._grad = field.tensors, grad
        self._factors: dict[str, tuple[Tensor, Tensor]] = {}
        self._frame = frame
        self._slices = {key: stream.at(frame, field.device) for key, stream in field.streams.items()}
        for name in field.network_names:
            self.mlp[name] = self._leaf(name, 0, len(field.tensors[name]), True)
        self._columns = torch.cat(
            [field.slot_offset(f"colour{pair}") + self._slices[f"colour{pair}"].slots for pair in range(3)]
        )
        self._network_dtype = field.network_dtype

    def _leaf(self, name: str, start: int, stop: int, shared: bool) -> Tensor:
        leaf = self._tensors[name][start:stop].detach()
        if self._grad:
            leaf.requires_grad_(True)
            self.leaves.append(Leaf(name, start, stop, leaf, shared))
        return leaf

    def _cut(self, name: str, piece: Slice) -> Tensor:
        parts = [self._leaf(name, a, b, b <= piece.permanent) for a, b in piece.ranges]
        return torch.cat(parts) if len(parts) > 1 else parts[0] if parts else self._tensors[name][:0]

    def _factor(self, key: str) -> tuple[Tensor, Tensor]:
        """Return plane and weighted line of a factor, cut out at first use: a coarse map needs no colour."""
        if key not in self._factors:
            piece = self._slices[key]
            with torch.set_grad_enabled(self._grad):  # also when a coarse map is the first to ask
                plane, line = self._cut(f"{key}.plane", piece), self._cut(f"{key}.line", piece)
                if self.shape.frame_lines and len(line):
                    line = line + self._own_lines(key).index_select(0, piece.slots)
                self._factors[key] = (plane, line * piece.weights[:, None])
        return self._factors[key]

    def _own_lines(self, key: str) -> Tensor:
        """Return what this frame adds to the lines of each slot (slot, length); between frames, blended."""
        name, first = f"{key}.own", math.floor(self._frame + 1e-9)
        if self._frame - first < 1e-6:
            return self._leaf(name, first, first + 1, False)[0]
        own = self._tensors[name]
        return torch.lerp(own[first], own[first + 1], self._frame - first)

    def _activated(self, raw: Tensor) -> Tensor:
        return activate(self.shape, raw)

    def density(self, points: Tensor) -> Tensor:
        """Return density (point,) per field unit at points (point, 3)."""
        raw = points.new_zeros(len(points))
        for pair in range(3):
            plane, line = self._factor(f"density{pair}")
            if len(plane):
                raw = raw + plane_line(plane, line, points, pair).sum(0)
        return self._activated(raw)

    def coarse_density(self, cells: tuple[int, int, int]) -> Tensor:
        """Return density on a lattice of `cells` = (x, y, z) cells, axes (z, y, x), without gradient."""
        with torch.no_grad():
            factors = [(*self._factor(f"density{pair}"), pair) for pair in range(3)]
            parts = [lattice(plane, line, pair, cells) for plane, line, pair in factors if len(plane)]
            return self._activated(sum(parts[1:], parts[0]).contiguous())

    def features(self, points: Tensor) -> Tensor:
        """Return appearance features (point, feature_dim): all pairs' products times the feature basis."""
        factors = [(pair, *self._factor(f"colour{pair}")) for pair in range(3)]
        products = [plane_line(plane, line, points, pair) for pair, plane, line in factors if len(plane)]
        return torch.cat(products).T @ self.mlp["basis"][self._columns]

    def colour(self, features: Tensor, directions: Tensor) -> Tensor:
        """Return sRGB (point, 3) in [0, 1] by the network, from features and unit viewing directions (point,
        3).
        """
        return shade(self.shape, self.mlp, features, directions, self._network_dtype)

    def behind(self, background: tuple[float, float, float]) -> Tensor:
        """Return the colour (3,) behind the field: its own if it has learned one, else `background`."""
        return background_of(self.mlp, background)


def background_of(mlp: dict[str, Tensor], background: tuple[float, float, float]) -> Tensor:
    """Return the learned colour (3,) behind the field, or `background` where none is learned."""
    return torch.sigmoid(mlp["behind"]) if "behind" in mlp else _colour_on(background, mlp["basis"].device)


@lru_cache(8)  # a new tensor from numbers makes the host wait for a GPU
def _colour_on(colour: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.tensor(colour, device=device)


def activate(shape: FieldShape, raw: Tensor) -> Tensor:
    """Return density of raw sums."""
    if shape.density == "relu":
        return F.relu(raw) * shape.density_scale
    return F.softplus(raw + shape.density_shift) * shape.density_scale


def shade(
    shape: FieldShape, mlp: dict[str, Tensor], features: Tensor, directions: Tensor, low: torch.dtype
) -> Tensor:
    """Return sRGB (point, 3) in [0, 1]: the colour network on features and encoded unit directions, computed
    in `low`.
    """
    x = features
    if shape.view_frequencies:
        x = torch.cat([x, _encode(directions, shape.view_frequencies)], -1)
    with torch.autocast(x.device.type, dtype=low, enabled=low != torch.float32):
        for layer in (1, 2):
            x = F.relu(torch.addmm(mlp[f"b{layer}"], x, mlp[f"w{layer}"]))
        x = torch.addmm(mlp["b3"], x, mlp["w3"])
    return torch.sigmoid(x.float())


def _encode(directions: Tensor, frequencies: int) -> Tensor:
    scaled = (directions[..., None] * 2.0 ** torch.arange(frequencies, device=directions.device)).flatten(-2)
    return torch.cat([directions, scaled.sin(), scaled.cos()], -1)


class StreamingField:
    """Named tensors of a streaming vector-matrix field on a grid of `cells` vertices along x, y, z."""

    def __init__(
        self, shape: FieldShape, space: Space, cells: Sequence[int], tensors: dict[str, Tensor]
    ) -> None:
        self.shape = shape
        self.space = space
        x, y, z = (int(n) for n in cells)
        self.cells = x, y, z
        self.tensors = tensors
        self.streams = shape.streams()
        self.network_dtype = torch.float32  # of the colour network; positions need float32's resolution
        self.cache: dict = {}  # what the kernels keep of the frames (`fused.frame_channels`)

    @classmethod
    def random(
        cls, shape: FieldShape, space: Space, num_voxels: int, generator: torch.Generator
    ) -> StreamingField:
        """Return a field of small random factors (TensoRF's 0.1 normal) on a grid of about `num_voxels`
        voxels.
        """
        cells = resolution(num_voxels, extents(space))
        tensors: dict[str, Tensor] = {}

        def normal(*size: int, std: float) -> Tensor:
            return torch.randn(size, generator=generator) * std

        for key, stream in shape.streams().items():
            height, width, length = factor_size(cells, int(key[-1]))
            tensors[f"{key}.plane"] = normal(stream.channels, height, width, std=0.1)
            tensors[f"{key}.line"] = normal(stream.channels, length, std=0.1)
            if shape.frame_lines:
                tensors[f"{key}.own"] = torch.zeros(shape.num_frames, stream.slots, length)
        slots = sum(shape.colour_components)
        widths = [shape.feature_dim + shape.direction_dim, shape.mlp_width, shape.mlp_width, 3]
        tensors["basis"] = normal(slots, shape.feature_dim, std=slots**-0.5)
        for layer in (1, 2, 3):
            fan_in, fan_out = widths[layer - 1], widths[layer]
            tensors[f"w{layer}"] = normal(
                fan_in, fan_out, std=(2 / fan_in) ** 0.5 if layer < 3 else 0.1 * fan_in**-0.5
            )
            tensors[f"b{layer}"] = torch.zeros(fan_out)
        if shape.exposures:
            tensors["gains"] = torch.zeros(len(shape.exposures), 3)
        if shape.refined:
            tensors["camera_corrections"] = torch.zeros(len(shape.refined), UNKNOWNS)
        if shape.learned_background:
            tensors["behind"] = torch.zeros(3)
        return cls(shape, space, cells, tensors)

    @property
    def network_names(self) -> tuple[str, ...]:
        """Names of the tensors every frame shares: feature basis and network, gains of cameras and background
        if they are fitted.
        """
        more = ("gains", bool(self.shape.exposures)), ("behind", self.shape.learned_background)
        return ("basis", "w1", "b1", "w2", "b2", "w3", "b3", *(name for name, fitted in more if fitted))

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.tensors["basis"].device

    def slot_offset(self, key: str) -> int:
        """Return the first row of the feature basis that belongs to a colour factor."""
        return sum(self.shape.colour_components[: int(key[-1])])

    def at(self, frame: float, grad: bool = False) -> Moment:
        """Return the field at a frame in [0, num_frames - 1], which may lie between two frames."""
        return Moment(self, frame, grad)

    def grown(self, name: str, tensor: Tensor, num_voxels: int) -> Tensor:
        """Return a tensor shaped like parameter `name`, resampled to a grid of about `num_voxels` voxels."""
        if "." not in name:
            return tensor
        pair = int(name.split(".")[0][-1])
        height, width, length = factor_size(resolution(num_voxels, extents(self.space)), pair)
        return grow_plane(tensor, height, width) if name.endswith(".plane") else grow_line(tensor, length)

    def grow(self, num_voxels: int) -> None:
        """Resample all factors, in place, to a grid of about `num_voxels` voxels."""
        self.tensors = {name: self.grown(name, tensor, num_voxels) for name, tensor in self.tensors.items()}
        self.cells = resolution(num_voxels, extents(self.space))

    def to(self, device: torch.device | str) -> StreamingField:
        """Move all tensors to a device, in place, and return the field."""
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return self

    def description(self) -> dict:
        """Return a JSON-able description: what `from_description` needs besides the tensors."""
        return {"shape": asdict(self.shape), "space": space_to_dict(self.space), "cells": list(self.cells)}

    @classmethod
    def from_description(cls, tree: dict, tensors: dict[str, Tensor]) -> StreamingField:
        """Return the field of a description and its tensors."""
        values = dict(tree["shape"])
        for key in ("density_components", "colour_components", "exposures", "refined"):
            values[key] = tuple(values.get(key, ()))
        return cls(FieldShape(**values), space_from_dict(tree["space"]), tree["cells"], tensors)
