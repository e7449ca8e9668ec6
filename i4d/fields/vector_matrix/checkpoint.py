"""Checkpoints: a field, and if wanted its fit, as one safetensors byte string with a JSON description in its
header.

Nothing is unpickled. The full variant holds the optimiser's moments and the place in the schedule, so a fit
goes on bit for bit (random numbers follow from seed and step, so there is no generator to keep); the light
one only renders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from i4d.errors import FitError
from i4d.fields.description import UNREADABLE, contents, corrupt
from i4d.fields.protocol import Phase
from i4d.fields.vector_matrix.model import StreamingField
from i4d.fields.vector_matrix.spaces import Space

if TYPE_CHECKING:
    from i4d.fields.vector_matrix.fit import Fitter

FORMAT = "i4d streaming field 1"


@dataclass(frozen=True)
class Progress:
    """Where a fit stands; what `Fitter` needs beside tensors to go on."""

    seed: int
    phase: Phase
    phase_index: int
    step: int
    total_steps: int
    level: int


def encode(fitter: Fitter, light: bool = False) -> bytes:
    """Return the checkpoint of a fit; `light` leaves out the optimiser."""
    tensors = {f"field/{name}": t.detach().cpu().contiguous() for name, t in fitter.field.tensors.items()}
    if not light:
        tensors |= {f"adam/{name}": t.detach().cpu().contiguous() for name, t in fitter.adam.state().items()}
    progress = {name: getattr(fitter, name) for name in Progress.__dataclass_fields__}
    tree = {"format": FORMAT, "field": fitter.field.description(), "progress": progress, "light": light}
    # one metadata key only: the order of several would not be the same every time, and the bytes name the
    # object
    return safetensors.torch.save(tensors, {"i4d": json.dumps(tree, sort_keys=True)})


def decode(data: bytes) -> tuple[StreamingField, Progress, dict[str, torch.Tensor]]:
    """Return the field, its progress and the optimiser's state (empty if light); FitError if it is none."""
    tensors, tree = contents(data)
    if tree["format"] != FORMAT:
        raise FitError(f"checkpoint is of format '{tree['format']}'", f"this version reads '{FORMAT}'")
    try:
        field = StreamingField.from_description(tree["field"], _part(tensors, "field/"))
        return field, Progress(**tree["progress"]), _part(tensors, "adam/")
    except UNREADABLE as err:
        raise corrupt(err) from err


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def check_fits(field: StreamingField, space: Space, num_frames: int) -> None:
    """Raise FitError if a field is of another video length or space than a scene."""
    if field.shape.num_frames != num_frames:
        raise FitError(
            f"checkpoint holds {field.shape.num_frames} frames, the scene has {num_frames}",
            "train a field for this scene, or take its own checkpoint",
        )
    if field.space != space:
        raise FitError(
            "checkpoint is of another space (bounds or cameras differ)", "train a field for this scene"
        )


def restore(fitter: Fitter, data: bytes) -> None:
    """Put a checkpoint into a fitter: the field, and with a full checkpoint the exact place in its fit.

    FitError if the checkpoint is of another video length or space than the fitter was made for.
    """
    field, progress, adam = decode(data)
    check_fits(field, fitter.field.space, fitter.field.shape.num_frames)
    fitter.adopt(field)
    if adam:
        fitter.adam.load(adam)
    fitter.phase, fitter.phase_index = progress.phase, progress.phase_index
    fitter.step, fitter.total_steps, fitter.level = progress.step, progress.total_steps, progress.level
