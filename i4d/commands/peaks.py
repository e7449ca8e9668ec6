"""Predicted peaks of device memory, before anything is loaded: what placement and `doctor` go by. The kinds
of fields and editors say what theirs take.
"""

from __future__ import annotations

from i4d.config import Config
from i4d.editors.protocol import Call
from i4d.editors.registry import editor_kind
from i4d.exec.placement import Peaks
from i4d.exec.protocol import Resources
from i4d.fields.registry import field_kind
from i4d.types import Scene

CONTEXT_BYTES = 1 << 30  # CUDA context, libraries and fragmentation of one process
ROOM = 0.9  # of a card that an editor may be predicted to take


def trainer_bytes(config: Config, num_frames: int) -> int:
    """Return the trainer's peak: that of the field's kind and, of a local edit, the unedited field that its
    renders show outside the region.
    """
    kind = field_kind(config.field.kind)
    return CONTEXT_BYTES + kind.predicted_bytes(config.field, num_frames, 2 if config.local.where else 1)


def editor_bytes(config: Config, place: str, width: int, height: int, card_bytes: int) -> int:
    """Return the editor's peak on a card, with the largest call that the configuration lets it get."""
    frames = min(config.schedule.sequence_length, config.editor.batch or config.schedule.sequence_length)
    limit = int(config.editor.memory_cap_gb * 2**30) or card_bytes
    call = Call(frames, width, height, config.schedule.refine_diffusion_steps, limit)
    return CONTEXT_BYTES + editor_kind(config.editor).predicted_bytes(place, config.editor, call)


def size_batch(config: Config, place: str, width: int, height: int, card_bytes: int) -> str:
    """Choose `editor.batch` where it is 0: the most frames of a window that the smallest card has room for,
    one at least.

    Returns a sentence where that is less than a window, else the empty string. It is written into the
    configuration, so a run that goes on elsewhere has the same shapes.
    """
    window = config.schedule.sequence_length
    if config.editor.batch or not card_bytes:
        return ""
    limit = int(config.editor.memory_cap_gb * 2**30) or card_bytes
    config.editor.batch = window
    while (
        peak := editor_bytes(config, place, width, height, card_bytes)
    ) > ROOM * limit and config.editor.batch > 1:
        config.editor.batch -= 1
    if config.editor.batch == window:
        return ""
    return (
        f"windows go through the editor {config.editor.batch} of {window} frames at a time: "
        f"predicted peak {peak / 2**30:.1f} GiB of {limit / 2**30:.1f} GiB"
    )


def fit_batch(config: Config, scene: Scene, place: str, resources: Resources | None) -> str:
    """Size the batch to the smallest card there is for the largest camera; as `size_batch`. None: no GPU is
    used.
    """
    cards = (
        [n.gpu_memory_bytes for n in resources.nodes if n.gpus and n.gpu_memory_bytes] if resources else []
    )
    camera = max(scene.cameras, key=lambda c: c.width * c.height)
    return size_batch(config, place, camera.width, camera.height, min(cards)) if cards else ""


def predicted_peaks(config: Config, scene: Scene, place: str, card_bytes: int) -> Peaks:
    """Return the peaks of both services; with a cap per process, at most the cap."""
    cap = int(config.editor.memory_cap_gb * 2**30)
    camera = max(scene.cameras, key=lambda c: c.width * c.height)
    peaks = (
        trainer_bytes(config, scene.num_frames),
        editor_bytes(config, place, camera.width, camera.height, card_bytes),
    )
    return Peaks(*(min(peak, cap) if cap else peak for peak in peaks))
