"""The networks compiled for windows of one shape; everything else runs as it is. What was compiled outlives
the process.

`torch.compile` keeps its results in a folder of its own per user; here it is `$XDG_CACHE_HOME/i4d/compiled`
unless the environment names another (TORCHINDUCTOR_CACHE_DIR). Entries are keyed by code, shapes, torch and
GPU, so one folder serves all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from i4d.editors.instruct_pix2pix.forward import unet_forward


@dataclass(frozen=True, eq=False)
class Compiled:
    """Compiled passes for windows of `frames` images, latents of `size` (h, w); the VAE takes one image at a
    time.
    """

    frames: int
    size: tuple[int, int]
    unet_forward: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    encoder: Callable[[torch.Tensor], torch.Tensor]
    decoder: Callable[[torch.Tensor], torch.Tensor]

    def fits(self, latents: torch.Tensor, images: int) -> bool:
        """Return whether a pass over so many images of such latents was compiled."""
        return len(latents) == images and tuple(latents.shape[-2:]) == self.size


def compile_networks(unet: Any, vae: Any, frames: int, size: tuple[int, int]) -> Compiled:
    """Return compiled passes; nothing is compiled before the first call of each."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    torch._dynamo.config.recompile_limit = max(
        32, torch._dynamo.config.recompile_limit
    )  # whole, shallow, fewer branches
    compiled = partial(torch.compile, dynamic=False, fullgraph=True)
    return Compiled(
        frames,
        size,
        compiled(unet_forward),
        compiled(vae.encoder),
        compiled(vae.decoder),
    )


def cache_folder() -> Path:
    """Return where compiled code is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i4d" / "compiled"
