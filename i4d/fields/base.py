"""Common answers of fields and of their kinds; each may answer otherwise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from i4d.config import FieldConfig
from i4d.fields.protocol import FieldScene, Phase, RenderableField, TrainableField
from i4d.fields.workers import Workers
from i4d.types import Bounds, Camera


def settings_digest(config: FieldConfig, **changed: str) -> str:
    """Return a digest of all settings but the kind's name; `changed`: what is otherwise in this process."""
    settings = dataclasses.asdict(config) | changed
    del settings["kind"]  # runs of before there were kinds go on
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()


class BaseField:
    """A field whose cameras are all alike and as given. `identity` must change whenever a fit does. What is
    missing of `i4d.fields.protocol.TrainableField`: `image`, `advance`, `save` and `load`.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.step = self.total_steps = 0

    def begin(self, phase: Phase, steps: int) -> None:
        """Start a phase; a refit goes on from what the field is."""
        self.step, self.total_steps = 0, steps

    def exposed(self, rgb: Tensor, view: int) -> Tensor:
        """Return colours as they are."""
        return rgb

    def corrected(self, camera: Camera, view: int) -> Camera:
        """Return the camera as it is."""
        return camera

    def to(self, device: torch.device | str) -> None:
        """Move every tensor that is an attribute."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def summary(self) -> str:
        """Return the identity."""
        return self.identity


class BaseKind:
    """A kind with nothing to settle. What is missing of `i4d.fields.protocol.FieldKind`: `name`, `format`,
    `work`, `make`, `peek` and `predicted_bytes`.
    """

    options: type[FieldConfig] = FieldConfig

    def settle(self, config: FieldConfig, device: str) -> None:
        """Leave everything as it is."""

    def identity(self, config: FieldConfig) -> str:
        """Return all settings, as a digest."""
        return f"settings {settings_digest(config)}"

    def suit_space(self, config: FieldConfig, bounds: Bounds) -> str:
        """Change nothing."""
        return ""

    def make(self, config: FieldConfig, scene: FieldScene, seed: int, *given: Any) -> TrainableField:
        """Return a field to be fitted."""
        raise NotImplementedError

    def open(
        self,
        data: bytes,
        config: FieldConfig,
        scene: FieldScene,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> RenderableField:
        """Return the field of a checkpoint: a new one that has loaded it."""
        field = self.make(config, scene, 0, device, workers, None, None)
        field.load(data)
        return field
