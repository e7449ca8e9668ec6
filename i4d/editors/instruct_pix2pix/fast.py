"""The same networks laid out for speed: channels-last, normalisation fused with its activation, biases folded
in, kernels, compiled.

Answers agree with the plain networks up to rounding (`tests/unit/edit/test_edit_fast.py`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from i4d.editors.instruct_pix2pix import ops
from i4d.editors.instruct_pix2pix.attention import WindowGroupNorm
from i4d.errors import WeightsError


class FastResidual(nn.Module):
    """A residual block (`ResnetBlock2D` without resampling) with its norms, activations and first bias in two
    kernels.
    """

    def __init__(self, block: Any) -> None:
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
            assert temb is not None, "a block of a UNet is told the time"
            add = self.time_emb_proj(F.silu(temb)) + self.conv1.bias
        else:
            add = self.conv1.bias.expand(len(x), -1)
        h = F.conv2d(
            _normed(self.norm2, h, add, True), self.conv2.weight, None, self.conv2.stride, self.conv2.padding
        )
        bias = self.conv2.bias
        if self.conv_shortcut is not None:
            x = F.conv2d(x, self.conv_shortcut.weight, None)
            bias = bias if self.conv_shortcut.bias is None else bias + self.conv_shortcut.bias
        out = ops.added(x, h, bias)
        return out / self.scale if self.scale != 1.0 else out


class FastTransformer(nn.Module):
    """A `Transformer2DModel` of plain blocks whose residual sums are done by the matrix products themselves.

    The biases of those products are not added to the sum but carried along: each normalisation is told what
    is missing, and what is missing at the end goes through the output projection by itself.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.norm, self.proj_in, self.proj_out = transformer.norm, transformer.proj_in, transformer.proj_out
        self.blocks = transformer.transformer_blocks

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **others: object
    ) -> tuple[torch.Tensor]:
        """Return the transformer's answer (image, channel, h, w), channels-last; as diffusers' blocks call
        it.
        """
        n, channels, height, width = hidden_states.shape
        tokens = (
            _normed(self.norm, hidden_states, None, False)
            .permute(0, 2, 3, 1)
            .reshape(n, height * width, channels)
        )
        total = F.linear(tokens, self.proj_in.weight.flatten(1), self.proj_in.bias)
        missing = None
        for block in self.blocks:
            total, missing = self._block(block, total, missing, encoder_hidden_states)
        assert missing is not None, "a transformer has blocks"
        weight = self.proj_out.weight.flatten(1)
        out = F.linear(total, weight).view(n, height, width, channels).permute(0, 3, 1, 2)
        return (ops.added(hidden_states, out, torch.addmv(self.proj_out.bias, weight, missing)),)

    @staticmethod
    def _block(
        block: Any, total: torch.Tensor, missing: torch.Tensor | None, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def normed(norm: nn.LayerNorm) -> torch.Tensor:
            return ops.layer_norm(total, norm.weight, norm.bias, norm.eps, missing)

        def summed(layer: nn.Linear, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            into = total.flatten(0, 1).addmm_(x.flatten(0, 1), layer.weight.t())
            return into.view_as(total), layer.bias if missing is None else missing + layer.bias

        one, two, last = block.attn1, block.attn2, block.ff.net[2]
        total, missing = summed(one.to_out[0], one.processor.attend(one, normed(block.norm1)))
        query, key, value = two.to_q(normed(block.norm2)), two.to_k(text), two.to_v(text)
        total, missing = summed(two.to_out[0], ops.plain_attention(query, key, value, two.heads))
        return summed(last, ops.gated(block.ff.net[0].proj(normed(block.norm3))))


class FastUpsampling(nn.Module):
    """Nearest-neighbour doubling and the 3x3 convolution behind it, as four 2x2 convolutions of the small
    image.

    Each output pixel sees at most 2x2 different ones (sub-pixel convolution, Shi et al. 2016, with the
    weights of the plain layer summed): 16 products in place of 36, and the doubled image is never written.
    """

    def __init__(self, upsampling: Any) -> None:
        super().__init__()
        conv = upsampling.conv
        self.bias = conv.bias
        fold = torch.tensor(
            [[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], device=conv.weight.device
        )  # phase, tap, of three
        phases = (
            torch.einsum("pay,qbx,oiyx->pqoiab", fold, fold, conv.weight.float())
            .flatten(0, 1)
            .to(conv.weight.dtype)
        )
        for index, phase in enumerate(phases):
            self.register_buffer(
                f"phase{index}", phase.contiguous(memory_format=torch.channels_last), persistent=False
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (image, channel, 2h, 2w) of x (image, channel, h, w)."""
        return ops.woven(
            [F.conv2d(x, getattr(self, f"phase{index}"), padding=1) for index in range(4)], self.bias
        )


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
    """Processor of the VAE's one attention: a single head over all pixels of an image, a piece of the queries
    at a time.
    """

    def __call__(
        self,
        attn: Any,  # diffusers' Attention
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert encoder_hidden_states is None and attention_mask is None, "self-attention only"
        n, channels, height, width = hidden_states.shape
        tokens = (
            _normed(attn.group_norm, hidden_states, None, False)
            .permute(0, 2, 3, 1)
            .reshape(n, height * width, channels)
        )
        query, key, value = attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)
        out = attn.to_out[0](ops.wide_attention(query, key, value))
        return out.view(n, height, width, channels).permute(0, 3, 1, 2) + hidden_states


def speed_up(network: Any) -> None:
    """Lay out a UNet or VAE of diffusers' classes for speed, in place."""
    network.to(memory_format=torch.channels_last)
    doubles = hasattr(network, "decoder")  # a VAE's levels double exactly; a UNet's are cut to odd sizes
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "norm2") and hasattr(child, "conv2") and hasattr(child, "nonlinearity"):
                _require(child.upsample is None and child.downsample is None, "resamples inside a block")
                by_sum = child.time_emb_proj is None or child.time_embedding_norm == "default"
                _require(by_sum, "scales by time")
                setattr(module, name, FastResidual(child))
            elif hasattr(child, "transformer_blocks"):
                _check_transformer(child)
                setattr(module, name, FastTransformer(child))
            elif doubles and hasattr(child, "use_conv_transpose"):
                plain = child.use_conv and not child.use_conv_transpose and child.norm is None
                _require(plain, "another kind of upsampling")
                setattr(module, name, FastUpsampling(child))
            elif name == "conv_norm_out":
                setattr(module, name, FastGroupNorm(child, True))
                module.conv_act = nn.Identity()
            elif name == "norm" and isinstance(child, nn.GroupNorm):
                setattr(module, name, FastGroupNorm(child, False))
            elif (
                hasattr(child, "group_norm")
                and isinstance(child.group_norm, nn.GroupNorm)
                and hasattr(child, "set_processor")
            ):
                child.set_processor(ImageAttention())


def _check_transformer(transformer: Any) -> None:
    """Raise WeightsError unless a transformer is of the one kind that `FastTransformer` knows (Stable
    Diffusion 1.x and 2.x).
    """
    for block in transformer.transformer_blocks:
        norms = (block.norm1, block.norm2, block.norm3)
        _require(all(isinstance(norm, nn.LayerNorm) for norm in norms), "another normalisation")
        gated = block.ff.net[0].proj.out_features == 2 * block.ff.net[2].in_features
        _require(gated, "another feed-forward")
        for layer in (block.attn1, block.attn2):
            plain = layer.group_norm is None and layer.norm_q is None and layer.rescale_output_factor == 1.0
            biased = not layer.residual_connection and layer.to_out[0].bias is not None
            _require(plain and biased, "another attention")


def _require(known: bool, what: str) -> None:
    if not known:
        raise WeightsError(f"these networks cannot be laid out for speed: {what}", "set editor.mode=plain")
