"""What the trainer asks of a 4D field. A field of another kind (Gaussians, say) implements this and changes
nothing else.
"""

from __future__ import annotations

from typing import Protocol

import torch

from i4d.field.frames import FrameBank
from i4d.field.image import FieldImage
from i4d.field.losses import FitReport, Phase
from i4d.types import Camera


class TrainedField(Protocol):
    """A field with its optimiser: state in (`load`), steps, pictures with depth, state out (`save`)."""

    step: int
    total_steps: int

    def begin(self, phase: Phase, steps: int) -> None:
        """Start a phase of `steps` steps; a refit goes on from what the field is."""
        ...

    def advance(self, bank: FrameBank, num_steps: int) -> FitReport:
        """Take up to `num_steps` steps, not beyond the phase's end; FitError names the step of a loss not
        finite.
        """
        ...

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

    def to(self, device: torch.device | str) -> None:
        """Move everything to a device."""
        ...

    def summary(self) -> str:
        """Return one line about size and losses, for people."""
        ...
