"""Streaming vector-matrix factors as a kind of field."""

from __future__ import annotations

import importlib.util

import torch

from i4d.config import FieldConfig
from i4d.fields.base import BaseKind
from i4d.fields.group import Group
from i4d.fields.protocol import Distance, FieldScene, Header, StepWork
from i4d.fields.vector_matrix.checkpoint import FORMAT, decode
from i4d.fields.vector_matrix.config import VectorMatrixConfig, own_options
from i4d.fields.vector_matrix.fit import Fitter, identity_with
from i4d.fields.vector_matrix.memory import predicted_bytes
from i4d.fields.vector_matrix.spaces import space_for, space_to_dict
from i4d.fields.vector_matrix.view import FieldView
from i4d.fields.workers import Workers
from i4d.types import Bounds

CONTRACTED_VARIATION = 8.0  # few cameras see the same there: with 5, two of seven fits of rings failed
CPU_RAYS_PER_S = 10_000  # of a small field; larger ones are slower


class VectorMatrix(BaseKind):
    """Implements `i4d.fields.protocol.FieldKind`."""

    name = "vector_matrix"
    format = FORMAT
    options = VectorMatrixConfig

    def settle(self, config: FieldConfig, device: str) -> None:
        """Settle compute type and kernels."""
        own = own_options(config)
        own.dtype = "float32" if own.dtype == "auto" else own.dtype
        if device != "cuda" or not importlib.util.find_spec("triton"):
            own.kernels = "off"
        elif own.kernels == "auto":
            own.kernels = "graphs"

    def identity(self, config: FieldConfig) -> str:
        """Return all settings, as a digest, and the kernels."""
        return identity_with(own_options(config), own_options(config).kernels)

    def suit_space(self, config: FieldConfig, bounds: Bounds) -> str:
        """Raise total variation in contracted space."""
        own = own_options(config)
        if bounds.kind != "contracted" or own.tv_weight >= CONTRACTED_VARIATION:
            return ""
        before, own.tv_weight = own.tv_weight, CONTRACTED_VARIATION
        return f"total variation {own.tv_weight:g}, not {before:g} (field.tv_weight)"

    def work(self, config: FieldConfig) -> StepWork:
        """Return the rays of a step."""
        return StepWork(own_options(config).rays, "rays", CPU_RAYS_PER_S)

    def make(
        self,
        config: FieldConfig,
        scene: FieldScene,
        seed: int,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
        group: Group | None = None,
        distance: Distance | None = None,
    ) -> Fitter:
        """Return a random field with its optimiser."""
        space = space_for(scene.bounds, scene.cameras)
        shared = device, workers, group, distance
        return Fitter(own_options(config), space, scene.num_frames, seed, *shared, scene.train_views)

    def open(
        self,
        data: bytes,
        config: FieldConfig,
        scene: FieldScene,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> FieldView:
        """Return the field of a checkpoint, light or full, to look at."""
        space = space_for(scene.bounds, scene.cameras)
        return FieldView.open(data, own_options(config), space, scene.num_frames, device, workers)

    def peek(self, data: bytes) -> Header:
        """Return what a checkpoint says of itself."""
        field, progress, adam = decode(data)
        tree = space_to_dict(field.space)
        reach = (tree["near"], tree["far"]) if "rig_from_world" in tree else (0.0, 0.0)
        exposure = "camera" if field.shape.exposures else "off"
        frames = field.shape.num_frames
        return Header(self.name, progress.step, frames, not adam, tree["kind"], exposure, *reach)

    def predicted_bytes(self, config: FieldConfig, num_frames: int, fields: int = 1) -> int:
        """Return the device memory of a fit at its peak, with `fields` - 1 more fields to look at."""
        return predicted_bytes(own_options(config), num_frames, fields)


KIND = VectorMatrix()
