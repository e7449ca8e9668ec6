"""Streaming vector-matrix factors as a kind of field."""

from __future__ import annotations

import torch

from i4d.config import FieldConfig
from i4d.fields.group import Group
from i4d.fields.protocol import Distance, FieldScene, Header
from i4d.fields.vector_matrix.checkpoint import FORMAT, decode
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.memory import predicted_bytes
from i4d.fields.vector_matrix.spaces import space_for, space_to_dict
from i4d.fields.vector_matrix.view import FieldView
from i4d.fields.workers import Workers


class VectorMatrix:
    """Implements `i4d.fields.protocol.FieldKind`."""

    name = "vector_matrix"
    format = FORMAT

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
        return Fitter(config, space, scene.num_frames, seed, *shared, scene.train_views)

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
        return FieldView.open(data, config, space, scene.num_frames, device, workers)

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
        return predicted_bytes(config, num_frames, fields)


KIND = VectorMatrix()
