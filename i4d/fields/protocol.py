"""What the rest of i4d asks of a 4D field and of its kind. A field of another kind implements these, names
its `FieldKind` as an entry point (`i4d.fields.registry`), and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from i4d.config import FieldConfig
from i4d.fields.frames import FrameBank
from i4d.fields.group import Group
from i4d.fields.workers import Workers
from i4d.types import Bounds, BoundsKind, Camera

Phase = Literal["fit", "refit"]
Distance = Callable[[Tensor, Tensor], Tensor]  # of images (n, 3, h, w) in [0, 1], pair by pair: (n,)


@dataclass(frozen=True)
class FieldImage:
    """`rgb` (height, width, 3) in [0, 1]; `depth_z` (height, width) in world units, the median along each
    ray; `opacity` (height, width) in [0, 1]."""

    rgb: Tensor
    depth_z: Tensor
    opacity: Tensor


@dataclass(frozen=True)
class FitReport:
    """What a run of steps did: where the phase stands, mean training PSNR of these steps in dB, rays seen."""

    step: int
    total_steps: int
    psnr_db: float
    rays: int


@dataclass(frozen=True, eq=False)
class FieldScene:
    """What a field is made for: calibrated cameras, bounds, the number of frames, and the views it is fitted
    to.
    """

    cameras: tuple[Camera, ...]
    bounds: Bounds
    num_frames: int
    train_views: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself: its kind, the steps of its phase, frames, whether only rendering is
    possible, the kind of space it lives in, whether its cameras have exposures of their own
    (`field.exposure`), and its nearest and farthest depth where they are not what the cameras' file says
    (else 0).
    """

    kind: str
    step: int
    num_frames: int
    light: bool
    space: BoundsKind
    exposure: str = "off"
    near: float = 0.0
    far: float = 0.0


class RenderableField(Protocol):
    """A field to look at: no optimiser."""

    def image(self, camera: Camera, frame: float) -> FieldImage:
        """Return colour, in neutral exposure, and depth of any camera at a frame, which may lie between two
        frames.
        """
        ...

    def exposed(self, rgb: torch.Tensor, view: int) -> torch.Tensor:
        """Return neutral colours (..., 3) of `image` as a trained view's camera records them; unchanged where
        all are alike.
        """
        ...

    def to(self, device: torch.device | str) -> None:
        """Move everything to a device."""
        ...


class TrainableField(RenderableField, Protocol):
    """A field with its optimiser: state in (`load`), steps, pictures with depth, state out (`save`)."""

    step: int
    total_steps: int

    @property
    def identity(self) -> str:
        """What results follow from, of how this process really fits; equal to `FieldKind.identity` of the
        run's settings, or the run refuses this worker.
        """
        ...

    def begin(self, phase: Phase, steps: int) -> None:
        """Start a phase of `steps` steps; a refit goes on from what the field is."""
        ...

    def advance(self, bank: FrameBank, num_steps: int) -> FitReport:
        """Take up to `num_steps` steps, not beyond the phase's end; FitError names the step of a loss not
        finite.
        """
        ...

    def corrected(self, camera: Camera, view: int) -> Camera:
        """Return a trained view's camera, of any picture size, as the fit corrected it; as it is where no
        camera is corrected.
        """
        ...

    def save(self, light: bool = False) -> bytes:
        """Return the whole state, to go on bit for bit; `light`: only what rendering needs."""
        ...

    def load(self, data: bytes) -> None:
        """Take over a saved state; FitError if it is of another scene, or none."""
        ...

    def summary(self) -> str:
        """Return one line about size and losses, for people."""
        ...


@dataclass(frozen=True)
class StepWork:
    """What one step looks at: so many `unit` ("rays", "pictures"), and how many of them two CPU cores do in a
    second.
    """

    samples: int
    unit: str
    cpu_per_s: float


class FieldKind(Protocol):
    """A kind of field: makes fields, opens their checkpoints, predicts their memory. `format` is what the
    headers of its checkpoints say: safetensors bytes whose one metadata key `i4d` is a JSON object with a key
    `format`.
    """

    name: str
    format: str
    options: type[FieldConfig]  # its block of the configuration

    def settle(self, config: FieldConfig, device: str) -> None:
        """Settle, in place, every "auto" of the configuration that is this kind's, for "cpu" or "cuda"."""
        ...

    def identity(self, config: FieldConfig) -> str:
        """Return what results follow from: settings and whatever else decides bits."""
        ...

    def suit_space(self, config: FieldConfig, bounds: Bounds) -> str:
        """Change settings, in place, that a kind of space asks for; return what was changed and why, or
        "".
        """
        ...

    def work(self, config: FieldConfig) -> StepWork:
        """Return what one step of a fit looks at."""
        ...

    def make(
        self,
        config: FieldConfig,
        scene: FieldScene,
        seed: int,
        device: torch.device | str,
        workers: Workers | None,
        group: Group | None,
        distance: Distance | None,
    ) -> TrainableField:
        """Return a field to be fitted. `group`: the other processes that fit the same one; `distance` is what
        a refit by perceptual error needs.
        """
        ...

    def open(
        self,
        data: bytes,
        config: FieldConfig,
        scene: FieldScene,
        device: torch.device | str,
        workers: Workers | None,
    ) -> RenderableField:
        """Return the field of a checkpoint, light or full, to look at; FitError if it is of another scene, or
        none.
        """
        ...

    def peek(self, data: bytes) -> Header:
        """Return what a checkpoint says of itself; FitError if it is none."""
        ...

    def predicted_bytes(self, config: FieldConfig, num_frames: int, fields: int = 1) -> int:
        """Return the bytes of memory of a fit at its peak, with `fields` - 1 more fields to look at."""
        ...
