"""Predicted peak of device memory of an InstructPix2Pix, before anything is loaded.

Coefficients are fitted to measured peaks (docs/benchmarks.md): an eager window of 18 images at latent 169x126
takes 18.9 GB with 2.1 GB of weights, per image and latent pixel 138 bytes per channel of the UNet's first
level; laid out for speed a window of 15 reserves 12.5 GB at 1352x1014 and 7.5 GB at 676x507, where the VAE's
share is the larger one.
"""

from __future__ import annotations

import json
from pathlib import Path

from i4d.config import EditorConfig
from i4d.editors.cache import MEMORY_FRACTION
from i4d.editors.protocol import Call
from i4d.editors.repaint import AUTOENCODER_PIXELS

BYTES_PER_CHANNEL = 138
FAST_BYTES_PER_CHANNEL = 60  # networks laid out for speed (exact, turbo)
ANCHOR_BYTES_PER_CHANNEL = 130  # keys and values of one view's anchor, per step
VAE_BYTES_PER_CHANNEL = 20  # per pixel that the VAE takes at once, and channel of its finest level
# SD 1.5's first-level channels, VAE factor, fp16 bytes, the VAE's finest channels
STABLE_DIFFUSION = (320, 8, 2_100_000_000, 128)


def network_shape(place: str) -> tuple[int, int, int, int]:
    """Return an editor folder's first-level channels, VAE factor, fp16 bytes and finest VAE channels; SD
    1.5's for a hub id.
    """
    folder = Path(place)
    if not folder.is_dir():
        return STABLE_DIFFUSION
    unet, vae = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
    size = sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    finest = vae["block_out_channels"][0]
    return unet["block_out_channels"][0], 2 ** (len(vae["block_out_channels"]) - 1), size, finest


def predicted_bytes(place: str, config: EditorConfig, call: Call) -> int:
    """Return weights, the frames of a call in all branches, and what anchors may take of the memory, one at
    least.
    """
    channels, factor, weights, vae_channels = network_shape(place)
    width, height = call.width, call.height
    together = min(call.frames, max(1, AUTOENCODER_PIXELS // (width * height)))  # images in the VAE at once
    vae = VAE_BYTES_PER_CHANNEL * vae_channels * together * width * height
    numbers = -(-width // factor) * -(-height // factor) * channels
    quick = config.mode in ("exact", "turbo")
    anchor = ANCHOR_BYTES_PER_CHANNEL * numbers * call.steps if quick else 0
    per_image = numbers * (FAST_BYTES_PER_CHANNEL if quick else BYTES_PER_CHANNEL)
    kept = max(int(MEMORY_FRACTION * call.limit_bytes), anchor)
    return weights + max(3 * call.frames * per_image, vae) + kept
