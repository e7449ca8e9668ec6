"""Predicted peaks of device memory, before anything is loaded: what placement and `doctor` go by.

Coefficients are fitted to measured peaks (docs/method.md, section 8): an eager window of 18 images at latent 169x126 takes
18.9 GB with 2.1 GB of weights; per image and latent pixel that is 138 bytes per channel of the UNet's first level.
"""

from __future__ import annotations

import json
from pathlib import Path

from i4d.config import Config
from i4d.exec.placement import Peaks
from i4d.field.factors import factor_size, resolution
from i4d.field.fit import render_settings, shape_from
from i4d.types import Scene

CONTEXT_BYTES = 1 << 30  # CUDA context, libraries and fragmentation of one process
BYTES_PER_CHANNEL = 138
STABLE_DIFFUSION = (320, 8, 2_100_000_000)  # first-level channels, VAE factor and fp16 bytes of SD 1.5 with its VAE
ANCHOR_SHARE = 0.2  # of the card, that the editor lets anchors' keys and values have (services/editor.py)


def field_parameters(config: Config, num_frames: int) -> int:
    """Return how many numbers the factors hold at the end of the fit, on a cube of `grid_end` voxels."""
    grid = resolution(config.field.grid_end, (1.0, 1.0, 1.0))
    total = 0
    for key, stream in shape_from(config.field, num_frames).streams().items():
        height, width, length = factor_size(grid, int(key[-1]))
        total += stream.channels * (height * width + length)
    return total


def trainer_bytes(config: Config, num_frames: int) -> int:
    """Return the trainer's peak: parameters with Adam's moments and gradient, a growth step, and one batch's activations."""
    grid = resolution(config.field.grid_end, (1.0, 1.0, 1.0))
    settings = render_settings(config.field, grid)
    features = sum(config.field.density_components) + 2 * sum(config.field.colour_components) + 4 * config.field.mlp_width
    activations = config.field.rays * max(settings.samples, settings.proposals) * features * 4 * 3
    return CONTEXT_BYTES + 4 * 4 * field_parameters(config, num_frames) + activations


def editor_shape(place: str) -> tuple[int, int, int]:
    """Return first-level channels, VAE factor and fp16 bytes of an editor folder; those of SD 1.5 for a hub id."""
    folder = Path(place)
    if not folder.is_dir():
        return STABLE_DIFFUSION
    unet, vae = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
    size = sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    return unet["block_out_channels"][0], 2 ** (len(vae["block_out_channels"]) - 1), size


def editor_bytes(config: Config, place: str, width: int, height: int, card_bytes: int) -> int:
    """Return the editor's peak: weights, one window in all branches, and what anchors may take of the card."""
    channels, factor, weights = editor_shape(place)
    images = 3 * config.schedule.sequence_length
    latent = -(-width // factor) * -(-height // factor)
    limit = int(config.editor.memory_cap_gb * 2**30) or card_bytes
    return CONTEXT_BYTES + weights + images * latent * channels * BYTES_PER_CHANNEL + int(ANCHOR_SHARE * limit)


def predicted_peaks(config: Config, scene: Scene, place: str, card_bytes: int) -> Peaks:
    """Return the peaks of both services; with a cap per process, at most the cap."""
    cap = int(config.editor.memory_cap_gb * 2**30)
    camera = max(scene.cameras, key=lambda c: c.width * c.height)
    peaks = (
        trainer_bytes(config, scene.num_frames),
        editor_bytes(config, place, camera.width, camera.height, card_bytes),
    )
    return Peaks(*(min(peak, cap) if cap else peak for peak in peaks))
