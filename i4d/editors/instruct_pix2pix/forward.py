"""One pass of an InstructPix2Pix UNet, whole or shallow: the latter takes the deeper levels' answer from an
earlier step.

Neighbouring steps differ little in what the deeper levels see (DeepCache, Ma et al. 2024): a shallow pass
computes the first level only, on the way down and on the way up, and puts the kept feature between.
"""

from __future__ import annotations

from typing import Any

import torch


def unet_forward(
    unet: Any,
    sample: torch.Tensor,
    timestep: torch.Tensor,
    states: torch.Tensor,
    deep: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prediction (n, channel, h, w) and the deeper levels' feature, which is `deep` where that is
    given.

    `timestep` (1,) integer; `states` (n, tokens, channels) of the text encoder.
    """
    emb = unet.time_embedding(unet.time_proj(timestep.expand(len(sample))).to(sample.dtype))
    hidden = unet.conv_in(sample)
    skips = (hidden,)
    for block in unet.down_blocks if deep is None else unet.down_blocks[:1]:
        hidden, more = block(hidden, emb, **_seen(block, states))
        skips += more
    if deep is None:
        hidden = unet.mid_block(hidden, emb, **_seen(unet.mid_block, states))
        for block in unet.up_blocks[:-1]:
            skips, used = skips[: -len(block.resnets)], skips[-len(block.resnets) :]
            size = skips[-1].shape[2:] if block.upsamplers is not None else None
            hidden = block(hidden, used, emb, upsample_size=size, **_seen(block, states))
        deep = hidden
    last = unet.up_blocks[-1]
    hidden = last(deep, skips[: len(last.resnets)], emb, **_seen(last, states))
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden))), deep


def _seen(block: Any, states: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"encoder_hidden_states": states} if getattr(block, "has_cross_attention", False) else {}


class Reuse:
    """What a window's steps hand on to the next: the deeper levels' feature, and what guidance added to the
    full branch.

    `deep_now` and `branches_now` say whether a step computes them anew: step k does where k is a multiple of
    the setting.
    """

    def __init__(self, depth: int, guidance: int) -> None:
        self._depth, self._guidance = depth, guidance
        self._step = -1
        self.deep: torch.Tensor | None = None  # (branches * frames, channel, h, w)
        self.added: torch.Tensor | None = None  # (frames, channel, h, w)

    def begin_step(self) -> None:
        """Count one more step."""
        self._step += 1

    @property
    def deep_now(self) -> bool:
        return self.deep is None or self._step % self._depth == 0

    @property
    def branches_now(self) -> bool:
        return self.added is None or self._step % self._guidance == 0
