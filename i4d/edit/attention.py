"""Anchor-aware self-attention and window-wide normalisation, put into a UNet once and steered by one context.

A call of the UNet sees `branches * frames` images: the guidance branches one after another, in each the frames of
the window. Every branch attends within itself. Slot 0 is the anchor (Instruct 4D-to-4D, sec. 3.1), unless its keys and
values were recorded before (`Recording`) and are given: then all slots are frames.

    own            softmax(Q_i K_i^T / sqrt(d)) V_i                the stock layer
    anchor         keys and values of the anchor
    anchor_self    [anchor; own]
    sparse_causal  [anchor; previous frame] (the first frame's previous is the anchor)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

ATTENTIONS = ("anchor", "anchor_self", "sparse_causal", "own")


class Recording:
    """Keys and values of the anchor at one denoising step: a (branches, tokens, channels) pair per layer, in order."""

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self.layers for t in pair)


class WindowContext:
    """How the layers of one UNet read their batch: set for the length of one UNet call."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Make every layer behave as the stock one."""
        self.attention = "own"
        self.norm = "frame"
        self.branches = 1
        self.record: Recording | None = None
        self._given: Iterator[tuple[torch.Tensor, torch.Tensor]] | None = None
        self._rows = slice(None)

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
        self.record, self._rows = record, rows
        self._given = iter(anchor.layers) if anchor is not None else None
        try:
            yield
        finally:
            self.reset()

    def anchor_of(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return this layer's anchor keys and values (branches, 1, tokens, channels): given ones, else slot 0's."""
        if self._given is None:
            return key[:, :1], value[:, :1]
        given_key, given_value = next(self._given)
        return given_key[self._rows, None], given_value[self._rows, None]

    @property
    def anchor_is_given(self) -> bool:
        return self._given is not None


class WindowAttention:
    """Processor for the self-attention layers (`attn1`) of a UNet's transformer blocks."""

    def __init__(self, context: WindowContext) -> None:
        self.context = context

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert encoder_hidden_states is None and attention_mask is None, "self-attention only"
        context = self.context
        batch, tokens, _ = hidden_states.shape
        shape = (context.branches, batch // context.branches, tokens, -1)
        query, key, value = (f(hidden_states).view(shape) for f in (attn.to_q, attn.to_k, attn.to_v))
        if context.record is not None:
            context.record.layers.append((key[:, 0], value[:, 0]))
        out = self._attend(query, key, value, attn.heads)
        return attn.to_out[1](attn.to_out[0](out.reshape(batch, tokens, -1)))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
        kind = self.context.attention
        if kind == "own":
            return _attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), heads)
        anchor_key, anchor_value = self.context.anchor_of(key, value)
        if kind == "anchor":  # one set of keys a branch: fold the frames into the queries, nothing is repeated
            return _attention(query.flatten(1, 2), anchor_key.squeeze(1), anchor_value.squeeze(1), heads)
        if kind == "anchor_self":
            other_key, other_value = key, value
        else:
            before = (anchor_key, anchor_value) if self.context.anchor_is_given else (key[:, :1], value[:, :1])
            other_key = torch.cat([before[0], key[:, :-1]], 1)
            other_value = torch.cat([before[1], value[:, :-1]], 1)
        keys = torch.cat([anchor_key.expand_as(key), other_key], 2).flatten(0, 1)
        values = torch.cat([anchor_value.expand_as(value), other_value], 2).flatten(0, 1)
        return _attention(query.flatten(0, 1), keys, values, heads)


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Return scaled dot-product attention of (n, tokens, channels) in `heads` heads, same layout as the query."""
    query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class WindowGroupNorm(nn.GroupNorm):
    """GroupNorm that counts statistics per image ("frame") or over all images of a branch ("joint")."""

    def __init__(self, norm: nn.GroupNorm, context: WindowContext) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, affine=False)
        self.affine, self.weight, self.bias = norm.affine, norm.weight, norm.bias
        self._context = (context,)  # in a tuple: not a module, never saved

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = self._context[0]
        if context.norm == "frame":
            return super().forward(x)
        n, channels, height, width = x.shape
        frames = n // context.branches
        together = x.view(context.branches, frames, channels, height, width).transpose(1, 2)
        out = super().forward(together.reshape(context.branches, channels, frames * height, width))
        return out.view(context.branches, channels, frames, height, width).transpose(1, 2).reshape(x.shape)


def install(unet: nn.Module) -> WindowContext:
    """Put window attention into every `attn1`, window normalisation into every residual block; return their context."""
    context = WindowContext()
    processors = dict(unet.attn_processors)
    for name in processors:
        if name.endswith("attn1.processor"):
            processors[name] = WindowAttention(context)
    unet.set_attn_processor(processors)
    for module in list(unet.modules()):
        if isinstance(getattr(module, "norm1", None), nn.GroupNorm) and isinstance(
            getattr(module, "norm2", None), nn.GroupNorm
        ):  # a residual block; transformer blocks have LayerNorms of these names
            module.norm1 = WindowGroupNorm(module.norm1, context)
            module.norm2 = WindowGroupNorm(module.norm2, context)
    return context
