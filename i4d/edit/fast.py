"""The same networks laid out for speed: channels-last, normalisation fused with its activation, biases folded in, kernels, compiled.

Answers agree with the plain networks up to rounding (`tests/unit/edit/test_edit_fast.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from i4d.edit import ops
from i4d.edit.attention import WindowGroupNorm


class FastResidual(nn.Module):
    """A residual block (`ResnetBlock2D` without resampling) with its norms, activations and first bias in two kernels."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.time_emb_proj, self.conv_shortcut = block.time_emb_proj, block.conv_shortcut
        self.scale = block.output_scale_factor

    def forward(self, x: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Return the block's answer; x (image, channel, h, w), temb (image, channel) or None."""
        h = _normed(self.norm1, x, None, True)
        h = F.conv2d(h, self.conv1.weight, None, self.conv1.stride, self.conv1.padding)
        if self.time_emb_proj is not None:
            add = self.time_emb_proj(F.silu(temb)) + self.conv1.bias
        else:
            add = self.conv1.bias.expand(len(x), -1)
        h = self.conv2(_normed(self.norm2, h, add, True))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        return (x + h) / self.scale if self.scale != 1.0 else x + h


class FastGroupNorm(nn.Module):
    """GroupNorm per image, with the SiLU that follows it or without."""

    def __init__(self, norm: nn.GroupNorm, silu: bool) -> None:
        super().__init__()
        self.norm, self.silu = norm, silu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normed(self.norm, x, None, self.silu)


def _normed(norm: nn.GroupNorm, x: torch.Tensor, add: torch.Tensor | None, silu: bool) -> torch.Tensor:
    if isinstance(norm, WindowGroupNorm) and norm.joint:
        out = norm(x if add is None else x + add[..., None, None])
        return F.silu(out) if silu else out
    return ops.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps, add, silu)


class ImageAttention:
    """Processor of the VAE's one attention: a single head over all pixels of an image, a piece of the queries at a time."""

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert encoder_hidden_states is None and attention_mask is None, "self-attention only"
        n, channels, height, width = hidden_states.shape
        tokens = _normed(attn.group_norm, hidden_states, None, False).permute(0, 2, 3, 1).reshape(n, height * width, channels)
        query, key, value = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
        out = attn.to_out[0](ops.wide_attention(query, key, value))
        return out.view(n, height, width, channels).permute(0, 3, 1, 2) + hidden_states


def speed_up(network: nn.Module) -> None:
    """Lay out a UNet or VAE of diffusers' classes for speed, in place."""
    network.to(memory_format=torch.channels_last)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "norm2") and hasattr(child, "conv2") and hasattr(child, "nonlinearity"):
                assert child.upsample is None and child.downsample is None, "resamples inside a block"
                assert child.time_emb_proj is None or child.time_embedding_norm == "default", "scales by time"
                setattr(module, name, FastResidual(child))
            elif name == "conv_norm_out":
                setattr(module, name, FastGroupNorm(child, True))
                module.conv_act = nn.Identity()
            elif name == "norm" and isinstance(child, nn.GroupNorm):
                setattr(module, name, FastGroupNorm(child, False))
            elif hasattr(child, "group_norm") and isinstance(child.group_norm, nn.GroupNorm) and hasattr(child, "set_processor"):
                child.set_processor(ImageAttention())

