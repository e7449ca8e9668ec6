"""Common answers of fields and of their kinds, and a plain form of checkpoint; each may answer otherwise."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from i4d.config import FieldConfig
from i4d.errors import FitError
from i4d.fields.protocol import FieldScene, Phase, RenderableField, TrainableField
from i4d.fields.workers import Workers
from i4d.types import Bounds, Camera


def settings_digest(config: FieldConfig, **changed: str) -> str:
    """Return a digest of all settings but the kind's name; `changed`: what is otherwise in this process."""
    settings = dataclasses.asdict(config) | changed
    del settings["kind"]  # runs of before there were kinds go on
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()


def write_plain(format_name: str, tensors: Mapping[str, Tensor], **about: Any) -> bytes:
    """Return a checkpoint: safetensors bytes whose header says a kind's format and plain values."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(kept, {"i4d": json.dumps({"format": format_name, **about})})


def read_plain(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and plain values of a checkpoint that `write_plain` made; FitError if it is none."""
    try:
        data = bytes(data)
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["i4d"])
        return safetensors.torch.load(data), about
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as err:
        raise FitError("not a field checkpoint, or a corrupt one", f"{type(err).__name__}: {err}") from err


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
