"""Anchor-aware self-attention and window-wide normalisation, put into a UNet once and steered by one context.

A call of the UNet sees `branches * frames` images: the guidance branches one after another, in each the
frames of the window. Every branch attends within itself. Slot 0 is the anchor (Instruct 4D-to-4D, sec. 3.1),
unless its keys and values were recorded before (`Recording`) and are given: then all slots are frames.

    own            softmax(Q_i K_i^T / sqrt(d)) V_i                the stock layer
    anchor         keys and values of the anchor
    anchor_self    [anchor; own]
    sparse_causal  [anchor; previous frame] (the first frame's previous is the anchor)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from i4d.editors.instruct_pix2pix import ops

ATTENTIONS = ("anchor", "anchor_self", "sparse_causal", "own")


class Recording:
    """Keys and values of the anchor at one denoising step: a (branches, tokens, channels) pair per layer, by
    its number.

    `packed`: laid out for the kernel of `anchor` attention where there is one (`ops.pack_keys`). `thinned`:
    (h, w, side) of levels whose keys and values are averages of side x side neighbours.
    """

    def __init__(self, packed: bool = False, thinned: Sequence[tuple[int, int, int]] = ()) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.packed = packed
        self.thinned = {height * width: (height, width, side) for height, width, side in thinned}

    def add(self, layer: int, key: torch.Tensor, value: torch.Tensor, heads: int) -> None:
        """Keep a layer's keys and values."""
        if key.shape[1] in self.thinned:
            key, value = (ops.thinned(t, *self.thinned[key.shape[1]]) for t in (key, value))
        self.layers[layer] = ops.pack_keys(key, value, heads) if self.packed else (key, value)

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self.layers.values() for t in pair)


class WindowContext:
    """How the layers of one UNet read their batch: set for the length of one UNet call."""

    def __init__(self, kernels: bool = False) -> None:
        self.kernels = kernels
        self.reset()

    def reset(self) -> None:
        """Make every layer behave as the stock one."""
        self.attention = "own"
        self.norm = "frame"
        self.branches = 1
        self.record: Recording | None = None
        self.given: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None

    @contextmanager
    def call(
        self,
        attention: str,
        norm: str,
        branches: int,
        *,
        record: Recording | None = None,
        anchor: Recording | None = None,
        rows: slice = slice(None),
    ) -> Iterator[None]:
        """Set the context for one UNet call; `record` is filled, `anchor` is read (its branches `rows`)."""
        self.attention, self.norm, self.branches = attention, norm, branches
        self.record = record
        self.given = (
            None
            if anchor is None
            else {i: (key[rows], value[rows]) for i, (key, value) in anchor.layers.items()}
        )
        try:
            yield
        finally:
            self.reset()


class WindowAttention:
    """Processor for the self-attention layers (`attn1`) of a UNet's transformer blocks; `index` counts
    them.
    """

    def __init__(self, context: WindowContext, index: int) -> None:
        self.context, self.index = context, index

    def __call__(
        self,
        attn: Any,  # diffusers' Attention
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert encoder_hidden_states is None and attention_mask is None, "self-attention only"
        return attn.to_out[1](attn.to_out[0](self.attend(attn, hidden_states)))

    def attend(self, attn: Any, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return what the layer attends to, (image, tokens, channels), before its output projection."""
        context = self.context
        batch, tokens, channels = hidden_states.shape
        states = hidden_states.view(context.branches, batch // context.branches, tokens, channels)
        given = context.given[self.index] if context.given is not None else None
        if (
            context.attention == "anchor"
        ):  # one set of keys a branch: fold the frames into the queries, nothing is repeated
            key, value = given if given is not None else self._keys(attn, states[:, 0])
            query = attn.to_q(states).flatten(1, 2)
            out = ops.anchor_attention(query, key, value, attn.heads)
        elif context.attention == "own":
            query, key, value = (f(hidden_states) for f in (attn.to_q, attn.to_k, attn.to_v))
            if context.record is not None:
                context.record.add(self.index, key, value, attn.heads)
            out = ops.plain_attention(query, key, value, attn.heads)
        else:
            out = self._two_sources(attn, states, given)
        return out.reshape(batch, tokens, -1)

    def _keys(self, attn: Any, anchor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of anchors (branch, tokens, channels), packed where a kernel reads them."""
        key, value = attn.to_k(anchor), attn.to_v(anchor)
        return ops.pack_keys(key, value, attn.heads) if self.context.kernels else (key, value)

    def _two_sources(
        self, attn: Any, states: torch.Tensor, given: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        query, key, value = (f(states) for f in (attn.to_q, attn.to_k, attn.to_v))
        anchor_key, anchor_value = (
            (key[:, :1], value[:, :1]) if given is None else (t[:, None] for t in given)
        )
        if self.context.attention == "sparse_causal":
            other_key = torch.cat([anchor_key, key[:, :-1]], 1)
            other_value = torch.cat([anchor_value, value[:, :-1]], 1)
        else:
            other_key, other_value = key, value
        keys = torch.cat([anchor_key.expand_as(key), other_key], 2).flatten(0, 1)
        values = torch.cat([anchor_value.expand_as(value), other_value], 2).flatten(0, 1)
        return ops.plain_attention(query.flatten(0, 1), keys, values, attn.heads)


class WindowGroupNorm(nn.GroupNorm):
    """GroupNorm that counts statistics per image ("frame") or over all images of a branch ("joint")."""

    def __init__(self, norm: nn.GroupNorm, context: WindowContext) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, affine=False)
        self.affine, self.weight, self.bias = norm.affine, norm.weight, norm.bias
        self._context = (context,)  # in a tuple: not a module, never saved

    @property
    def joint(self) -> bool:
        return self._context[0].norm == "joint"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = self._context[0]
        if not self.joint:
            return super().forward(x)
        n, channels, height, width = x.shape
        frames = n // context.branches
        together = x.view(context.branches, frames, channels, height, width).transpose(1, 2)
        out = super().forward(together.reshape(context.branches, channels, frames * height, width))
        return out.view(context.branches, channels, frames, height, width).transpose(1, 2).reshape(x.shape)


def install(unet: Any, kernels: bool = False) -> WindowContext:
    """Put window attention into every `attn1`, window normalisation into every residual block; return their
    context.
    """
    context = WindowContext(kernels)
    processors = dict(unet.attn_processors)
    layers = [name for name in processors if name.endswith("attn1.processor")]
    for index, name in enumerate(layers):
        processors[name] = WindowAttention(context, index)
    unet.set_attn_processor(processors)
    for module in list(unet.modules()):
        first, second = getattr(module, "norm1", None), getattr(module, "norm2", None)
        # a residual block; transformer blocks have LayerNorms of these names
        if isinstance(first, nn.GroupNorm) and isinstance(second, nn.GroupNorm):
            module.norm1, module.norm2 = WindowGroupNorm(first, context), WindowGroupNorm(second, context)
    return context
