"""Predicted peaks of device memory, before anything is loaded: what placement and `doctor` go by.

Coefficients are fitted to measured peaks (docs/benchmarks.md): an eager window of 18 images at latent 169x126
takes 18.9 GB with 2.1 GB of weights, per image and latent pixel 138 bytes per channel of the UNet's first
level; laid out for speed a window of 15 reserves 12.5 GB at 1352x1014 and 7.5 GB at 676x507, where the VAE's
share is the larger one.
"""

from __future__ import annotations

import json
from pathlib import Path

from i4d.config import Config
from i4d.edit.repaint import VAE_PIXELS
from i4d.exec.placement import Peaks
from i4d.exec.protocol import Resources
from i4d.fields.registry import field_kind
from i4d.types import Scene

CONTEXT_BYTES = 1 << 30  # CUDA context, libraries and fragmentation of one process
BYTES_PER_CHANNEL = 138
FAST_BYTES_PER_CHANNEL = (
    60  # networks laid out for speed (exact, turbo): docs/benchmarks.md, peak memory of the modes
)
ANCHOR_BYTES_PER_CHANNEL = 130  # keys and values of one view's anchor, per step
ROOM = 0.9  # of a card that an editor may be predicted to take
VAE_BYTES_PER_CHANNEL = 20  # per pixel that the VAE takes at once, and channel of its finest level
STABLE_DIFFUSION = (
    320,
    8,
    2_100_000_000,
    128,
)  # of SD 1.5: first-level channels, VAE factor, fp16 bytes, the VAE's finest channels
ANCHOR_SHARE = 0.2  # of the card, that the editor lets anchors' keys and values have (services/editor.py)


def trainer_bytes(config: Config, num_frames: int) -> int:
    """Return the trainer's peak: that of the field's kind and, of a local edit, the unedited field that its
    renders show outside the region.
    """
    kind = field_kind(config.field.kind)
    return CONTEXT_BYTES + kind.predicted_bytes(config.field, num_frames, 2 if config.local.where else 1)


def editor_shape(place: str) -> tuple[int, int, int, int]:
    """Return an editor folder's first-level channels, VAE factor, fp16 bytes and finest VAE channels; SD
    1.5's for a hub id.
    """
    folder = Path(place)
    if not folder.is_dir():
        return STABLE_DIFFUSION
    unet, vae = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
    size = sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    return (
        unet["block_out_channels"][0],
        2 ** (len(vae["block_out_channels"]) - 1),
        size,
        vae["block_out_channels"][0],
    )


def editor_bytes(config: Config, place: str, width: int, height: int, card_bytes: int) -> int:
    """Return the editor's peak: weights, the frames of a call in all branches, and what anchors may take of
    the card, one at least.
    """
    channels, factor, weights, vae_channels = editor_shape(place)
    frames = min(config.schedule.sequence_length, config.editor.batch or config.schedule.sequence_length)
    together = min(frames, max(1, VAE_PIXELS // (width * height)))  # images that the VAE takes at once
    vae = VAE_BYTES_PER_CHANNEL * vae_channels * together * width * height
    numbers = -(-width // factor) * -(-height // factor) * channels
    limit = int(config.editor.memory_cap_gb * 2**30) or card_bytes
    quick = config.editor.mode in ("exact", "turbo")
    anchor = ANCHOR_BYTES_PER_CHANNEL * numbers * config.schedule.refine_diffusion_steps if quick else 0
    per_image = numbers * (FAST_BYTES_PER_CHANNEL if quick else BYTES_PER_CHANNEL)
    return CONTEXT_BYTES + weights + max(3 * frames * per_image, vae) + max(int(ANCHOR_SHARE * limit), anchor)


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
