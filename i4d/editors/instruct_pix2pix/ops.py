"""Operations of the editor with a kernel on CUDA devices and plain arithmetic elsewhere, opaque to
`torch.compile`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def plain_group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    add: torch.Tensor | None,
    silu: bool,
) -> torch.Tensor:
    """Return [silu](group_norm(x + add)) with torch's own layers: the twin of the kernel."""
    out = F.group_norm(x if add is None else x + add[..., None, None], groups, weight, bias, eps)
    return F.silu(out) if silu else out


@torch.library.custom_op("i4d::group_norm", mutates_args=(), device_types="cpu")
def group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    add: torch.Tensor | None,
    silu: bool,
) -> torch.Tensor:
    """Return [silu](group_norm(x + add)), channels-last; x (image, channel, h, w), `add` (image, channel) or
    None.
    """
    return plain_group_norm(x, groups, weight, bias, eps, add, silu).contiguous(
        memory_format=torch.channels_last
    )


@group_norm.register_kernel("cuda")
def _(x, groups, weight, bias, eps, add, silu):
    from i4d.editors.instruct_pix2pix.kernels.group_norm import group_norm as kernel

    add = None if add is None else add.contiguous()
    return kernel(x.contiguous(memory_format=torch.channels_last), groups, weight, bias, eps, add, silu)


@group_norm.register_fake
def _(x, groups, weight, bias, eps, add, silu):
    return torch.empty_like(x, memory_format=torch.channels_last)


@torch.library.custom_op("i4d::layer_norm", mutates_args=(), device_types="cpu")
def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, add: torch.Tensor | None
) -> torch.Tensor:
    """Return layer_norm(x + add) over the last axis, `add` (channel,) or None."""
    return F.layer_norm(x if add is None else x + add, weight.shape, weight, bias, eps).contiguous()


@layer_norm.register_kernel("cuda")
def _(x, weight, bias, eps, add):
    from i4d.editors.instruct_pix2pix.kernels.rowwise import layer_norm as kernel

    return kernel(x.contiguous(), weight, bias, eps, add)


@layer_norm.register_fake
def _(x, weight, bias, eps, add):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("i4d::gated", mutates_args=(), device_types="cpu")
def gated(x: torch.Tensor) -> torch.Tensor:
    """Return x_1 * gelu(x_2) of the two halves of the last axis (GEGLU, Shazeer 2020)."""
    value, gate = x.chunk(2, -1)
    return value * F.gelu(gate)


@gated.register_kernel("cuda")
def _(x):
    from i4d.editors.instruct_pix2pix.kernels.rowwise import gate as kernel

    return kernel(x.contiguous())


@gated.register_fake
def _(x):
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


@torch.library.custom_op("i4d::added", mutates_args=(), device_types="cpu")
def added(x: torch.Tensor, h: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return x + h + bias, channels-last; x and h (image, channel, h, w), bias (channel,)."""
    return (x + (h + bias[:, None, None])).contiguous(memory_format=torch.channels_last)


@added.register_kernel("cuda")
def _(x, h, bias):
    from i4d.editors.instruct_pix2pix.kernels.rowwise import add as kernel

    return kernel(*(t.contiguous(memory_format=torch.channels_last) for t in (x, h)), bias)


@added.register_fake
def _(x, h, bias):
    return torch.empty_like(x, memory_format=torch.channels_last)


@torch.library.custom_op("i4d::woven", mutates_args=(), device_types="cpu")
def woven(phases: Sequence[torch.Tensor], bias: torch.Tensor) -> torch.Tensor:
    """Return the image (n, channel, 2h, 2w) whose pixels (2y + i, 2x + j) are those at (y + i, x + j) of
    phase 2i + j, plus bias.

    The four phases are (n, channel, h + 1, w + 1); channels-last.
    """
    n, channels, height, width = phases[0].shape
    out = (
        phases[0]
        .new_empty(n, channels, 2 * (height - 1), 2 * (width - 1))
        .to(memory_format=torch.channels_last)
    )
    for index, phase in enumerate(phases):
        i, j = divmod(index, 2)
        out[..., i::2, j::2] = phase[..., i : i + height - 1, j : j + width - 1] + bias[:, None, None]
    return out


@woven.register_kernel("cuda")
def _(phases, bias):
    from i4d.editors.instruct_pix2pix.kernels.rowwise import weave

    return weave([phase.contiguous(memory_format=torch.channels_last) for phase in phases], bias)


@woven.register_fake
def _(phases, bias):
    n, channels, height, width = phases[0].shape
    return (
        phases[0]
        .new_empty(n, channels, 2 * (height - 1), 2 * (width - 1))
        .to(memory_format=torch.channels_last)
    )


_LIFT = 64.0  # keeps weights of one in many thousands out of float16's coarse range; undone afterwards
_QUERIES = 4096  # of an attention with wide heads that are scored at a time: bounds its memory


@torch.library.custom_op("i4d::wide_attention", mutates_args=(), device_types="cpu")
def wide_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(d)) V of one head, (image, tokens, d) each; heads too wide for library
    kernels.
    """
    return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]


@wide_attention.register_kernel("cuda")
def _(query, key, value):
    if query.dtype == torch.float32:
        return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0].contiguous()
    from i4d.editors.instruct_pix2pix.kernels.rowwise import softmax

    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    tokens = key.shape[1]
    missing = -tokens % 64  # matrix products of odd lengths are slow
    for image in range(len(query)):
        seen = F.pad(key[image] * query.shape[-1] ** -0.5, (0, 0, 0, missing)).t()
        values = F.pad(value[image], (0, 0, 0, missing))
        for start in range(0, query.shape[1], _QUERIES):
            rows = slice(start, start + _QUERIES)
            scores = torch.mm(query[image, rows], seen, out_dtype=torch.float32)
            torch.mm(softmax(scores, tokens, query.dtype, _LIFT), values, out=out[image, rows])
    return out.mul_(1 / _LIFT)


@wide_attention.register_fake
def _(query, key, value):
    return torch.empty_like(query, memory_format=torch.contiguous_format)


def thinned(tokens: torch.Tensor, height: int, width: int, side: int = 2) -> torch.Tensor:
    """Return tokens (n, height * width, channels) of an image averaged over side x side neighbours, fewer at
    its far edges.
    """
    image = tokens.transpose(1, 2).unflatten(2, (height, width))
    return (
        F.avg_pool2d(image, side, ceil_mode=True, count_include_pad=False)
        .flatten(2)
        .transpose(1, 2)
        .contiguous()
    )


def pack_keys(key: torch.Tensor, value: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an anchor's keys and values (branch, tokens, channels) as `anchor_attention` wants them.

    Where there is a kernel (CUDA, float16, heads of 40) they are packed, (branch, heads, padded tokens, 48);
    elsewhere unchanged.
    """
    if key.is_cuda and key.dtype == torch.float16 and key.shape[-1] == 40 * heads:
        from i4d.editors.instruct_pix2pix.kernels import anchor_attention as kernel

        return kernel.pack(key, value, heads)
    return key, value


def anchor_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Return attention of queries (branch, n, channels) to keys and values as `pack_keys` returns them."""
    if key.dim() == 4:
        return packed_attention(query, key, value, heads)
    return plain_attention(query, key, value, heads)


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Return scaled dot-product attention of (n, tokens, channels) in `heads` heads, same layout as the
    query.
    """
    query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


@torch.library.custom_op("i4d::packed_attention", mutates_args=(), device_types="cuda")
def packed_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Return `anchor_attention` from packed keys and values, by the kernel."""
    from i4d.editors.instruct_pix2pix.kernels import anchor_attention as kernel

    return kernel.attend(query.contiguous(), key.flatten(0, 1), value.flatten(0, 1), heads)


@packed_attention.register_fake
def _(query, key, value, heads):
    return torch.empty_like(query, memory_format=torch.contiguous_format)
