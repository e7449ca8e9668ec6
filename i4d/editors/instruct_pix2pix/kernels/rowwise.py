"""What a UNet or VAE does between its matrix products, each in one pass over memory, as Triton kernels
(imports triton).

Sums are counted in float32 whatever the storage. Numbers that differ from layer to layer (rows, channels) are
ordinary arguments, so a handful of compiled variants serve a whole network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def _layer_norm(
    X, ADD, WEIGHT, BIAS, Y, rows, channels, eps, R: tl.constexpr, C: tl.constexpr, HAS_ADD: tl.constexpr
):
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)[:, None]
    c = tl.arange(0, C)
    inside = c < channels
    keep = (r < rows) & inside[None, :]
    at = r * channels + c[None, :]
    x = tl.load(X + at, mask=keep, other=0.0).to(tl.float32)
    if HAS_ADD:
        x += tl.load(ADD + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    mean = tl.sum(x, 1) / channels
    off = tl.where(inside[None, :], x - mean[:, None], 0.0)
    rate = 1.0 / tl.sqrt(tl.sum(off * off, 1) / channels + eps)
    weight = tl.load(WEIGHT + c, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(BIAS + c, mask=inside, other=0.0).to(tl.float32)
    y = off * rate[:, None] * weight[None, :] + bias[None, :]
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["rows"])
def _gate(X, Y, rows, channels, R: tl.constexpr, C: tl.constexpr):
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)[:, None]
    c = tl.program_id(1) * C + tl.arange(0, C)[None, :]
    keep = (r < rows) & (c < channels)
    x = tl.load(X + r * (2 * channels) + c, mask=keep, other=0.0).to(tl.float32)
    gate = tl.load(X + r * (2 * channels) + channels + c, mask=keep, other=0.0).to(tl.float32)
    y = x * 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(Y + r * channels + c, y.to(Y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["rows"])
def _add(X, H, BIAS, Y, rows, channels, R: tl.constexpr, C: tl.constexpr):
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)[:, None]
    c = tl.program_id(1) * C + tl.arange(0, C)
    inside = c < channels
    keep = (r < rows) & inside[None, :]
    at = r * channels + c[None, :]
    y = tl.load(X + at, mask=keep, other=0.0).to(tl.float32) + tl.load(H + at, mask=keep, other=0.0).to(
        tl.float32
    )
    y += tl.load(BIAS + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["rows", "height", "width", "i", "j"])
def _weave(X, BIAS, Y, rows, height, width, channels, i, j, R: tl.constexpr, C: tl.constexpr):
    r = tl.program_id(0) * R + tl.arange(0, R)
    c = tl.program_id(1) * C + tl.arange(0, C)
    inside = c < channels
    keep = (r < rows)[:, None] & inside[None, :]
    image, y, x = (r // (height * width)).to(tl.int64), r // width % height, r % width
    from_ = (image * (height + 1) + y + i) * (width + 1) + x + j
    to = (image * 2 * height + 2 * y + i) * 2 * width + 2 * x + j
    value = tl.load(X + from_[:, None] * channels + c[None, :], mask=keep, other=0.0).to(tl.float32)
    value += tl.load(BIAS + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    tl.store(Y + to[:, None] * channels + c[None, :], value.to(Y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["keys"])
def _softmax(X, Y, keys, padded, scale, C: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * padded
    c = tl.arange(0, C)
    top = tl.full(
        [C], float("-inf"), tl.float32
    )  # of every column of the chunks by itself; keys are at least C
    total = tl.zeros([C], tl.float32)
    start = 0
    while start < keys:
        x = tl.where(
            start + c < keys, tl.load(X + row + start + c, mask=start + c < padded, other=0.0), float("-inf")
        )
        now = tl.maximum(top, x)
        total = total * tl.exp(top - now) + tl.exp(x - now)
        top = now
        start += C
    highest = tl.max(top, 0)
    rate = scale / tl.sum(total * tl.exp(top - highest), 0)
    start = 0
    while start < padded:
        x = tl.where(
            start + c < keys, tl.load(X + row + start + c, mask=start + c < padded, other=0.0), float("-inf")
        )
        tl.store(
            Y + row + start + c, (tl.exp(x - highest) * rate).to(Y.dtype.element_ty), mask=start + c < padded
        )
        start += C


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, add: torch.Tensor | None
) -> torch.Tensor:
    """Return layer_norm(x + add) of contiguous rows x (.., channels), `add` (channels,) or None."""
    channels = x.shape[-1]
    rows, wide = x.numel() // channels, triton.next_power_of_2(channels)
    height = max(1, 4096 // wide)
    out = torch.empty_like(x)
    grid = (triton.cdiv(rows, height),)
    _layer_norm[grid](
        x,
        x if add is None else add,
        weight,
        bias,
        out,
        rows,
        channels,
        eps,
        height,
        wide,
        add is not None,
        num_warps=4,
    )
    return out


def gate(x: torch.Tensor) -> torch.Tensor:
    """Return x_1 * gelu(x_2) of the two halves of contiguous rows (.., 2 * channels)."""
    channels = x.shape[-1] // 2
    rows = x.numel() // (2 * channels)
    out = x.new_empty(*x.shape[:-1], channels)
    _gate[(triton.cdiv(rows, 16), triton.cdiv(channels, 256))](x, out, rows, channels, 16, 256, num_warps=4)
    return out


def add(x: torch.Tensor, h: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return x + h + bias of channels-last images (image, channel, h, w) of one layout, bias (channel,)."""
    channels = x.shape[1]
    rows = x.numel() // channels
    out = torch.empty_like(x)
    _add[(triton.cdiv(rows, 64), triton.cdiv(channels, 64))](
        x, h, bias, out, rows, channels, 64, 64, num_warps=4
    )
    return out


def weave(phases: Sequence[torch.Tensor], bias: torch.Tensor) -> torch.Tensor:
    """Return what `ops.woven` does of four channels-last phases (n, channel, h + 1, w + 1)."""
    n, channels, height, width = phases[0].shape
    height, width = height - 1, width - 1
    size = n, channels, 2 * height, 2 * width
    out = torch.empty(size, dtype=phases[0].dtype, device=phases[0].device, memory_format=torch.channels_last)
    rows = n * height * width
    grid = (triton.cdiv(rows, 64), triton.cdiv(channels, 64))
    for index, phase in enumerate(phases):
        _weave[grid](phase, bias, out, rows, height, width, channels, *divmod(index, 2), 64, 64, num_warps=4)
    return out


def softmax(scores: torch.Tensor, keys: int, dtype: torch.dtype, scale: float = 1.0) -> torch.Tensor:
    """Return `scale` times the softmax of the first `keys` columns of float32 scores (row, padded), zeros
    behind them.
    """
    out = torch.empty_like(scores, dtype=dtype)
    chunk = min(
        4096, triton.next_power_of_2(keys + 1) // 2
    )  # no chunk may begin empty: -inf less -inf is no number
    _softmax[(len(scores),)](scores, out, keys, scores.shape[1], scale, chunk, num_warps=8)
    return out
