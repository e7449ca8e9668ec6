"""GroupNorm and SiLU over channels-last images in one pass of statistics and one of writing, as Triton
kernels (imports triton).

Statistics are counted per channel around the first value of each piece of rows (shifted data, so that a large
mean does not eat the variance), then combined per group (Chan, Golub & LeVeque 1983). A number per image and
channel may be added first: that is where the bias of the convolution before and the time embedding go,
without a pass of their own. Channels and sizes are ordinary arguments: few compiled variants serve all
layers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_PIECE = 512  # rows (pixels) whose statistics one program counts


@triton.jit(do_not_specialize=["rows"])
def _count(X, MEAN, M2, rows, channels, PIECE: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    piece, image, part = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    c = part * C + tl.arange(0, C)
    inside = c < channels
    first = piece * PIECE
    count = tl.minimum(rows - first, PIECE)
    base = X + image * rows * channels + c[None, :]
    origin = tl.load(X + (image * rows + first) * channels + c, mask=inside, other=0.0).to(tl.float32)
    one = tl.zeros([R, C], tl.float32)
    two = tl.zeros([R, C], tl.float32)
    for step in range(0, PIECE, R):
        r = step + tl.arange(0, R)[:, None]
        keep = (r < count) & inside[None, :]
        x = tl.load(base + (first + r).to(tl.int64) * channels, mask=keep, other=0.0).to(tl.float32)
        x = tl.where(keep, x - origin[None, :], 0.0)
        one += x
        two += x * x
    s1, s2 = tl.sum(one, 0), tl.sum(two, 0)
    at = (image * tl.num_programs(0) + piece) * channels + c
    tl.store(MEAN + at, origin + s1 / count, mask=inside)
    tl.store(M2 + at, s2 - s1 * s1 / count, mask=inside)


@triton.jit(do_not_specialize=["rows", "pieces", "size"])
def _combine(
    MEAN,
    M2,
    ADD,
    WEIGHT,
    BIAS,
    SCALE,
    SHIFT,
    eps,
    rows,
    channels,
    size,
    pieces,
    C: tl.constexpr,
    PIECE: tl.constexpr,
    P: tl.constexpr,
    HAS_ADD: tl.constexpr,
):
    group, image = tl.program_id(0), tl.program_id(1)
    local = tl.arange(0, C)
    inside = local < size
    c = group * size + local
    add = tl.zeros([C], tl.float32)
    if HAS_ADD:
        add = tl.load(ADD + image * channels + c, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([P, C], tl.float32)
    start = 0
    while start < pieces:
        p = start + tl.arange(0, P)[:, None]
        keep = (p < pieces) & inside[None, :]
        count = tl.minimum(rows - p * PIECE, PIECE).to(tl.float32)
        mean = tl.load(MEAN + (image * pieces + p) * channels + c[None, :], mask=keep, other=0.0)
        total += tl.where(keep, count * (mean + add[None, :]), 0.0)
        start += P
    numbers = rows * size * 1.0
    centre = tl.sum(tl.sum(total, 1), 0) / numbers
    spread = tl.zeros([P, C], tl.float32)
    start = 0
    while start < pieces:
        p = start + tl.arange(0, P)[:, None]
        keep = (p < pieces) & inside[None, :]
        count = tl.minimum(rows - p * PIECE, PIECE).to(tl.float32)
        at = (image * pieces + p) * channels + c[None, :]
        off = tl.load(MEAN + at, mask=keep, other=0.0) + add[None, :] - centre
        spread += tl.where(keep, tl.load(M2 + at, mask=keep, other=0.0) + count * off * off, 0.0)
        start += P
    rate = 1.0 / tl.sqrt(tl.sum(tl.sum(spread, 1), 0) / numbers + eps)
    weight = tl.load(WEIGHT + c, mask=inside, other=0.0).to(tl.float32) * rate
    bias = tl.load(BIAS + c, mask=inside, other=0.0).to(tl.float32)
    tl.store(SCALE + image * channels + c, weight, mask=inside)
    tl.store(SHIFT + image * channels + c, bias + (add - centre) * weight, mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _apply(X, Y, SCALE, SHIFT, rows, channels, R: tl.constexpr, C: tl.constexpr, SILU: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0) * R + tl.arange(0, R)[:, None]
    c = tl.program_id(2) * C + tl.arange(0, C)
    inside = c < channels
    keep = (r < rows) & inside[None, :]
    at = (image * rows + r) * channels + c[None, :]
    x = tl.load(X + at, mask=keep, other=0.0).to(tl.float32)
    scale = tl.load(SCALE + image * channels + c, mask=inside, other=0.0)
    shift = tl.load(SHIFT + image * channels + c, mask=inside, other=0.0)
    y = x * scale[None, :] + shift[None, :]
    if SILU:
        y = y / (1.0 + tl.exp(-y))
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=keep)


def group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    add: torch.Tensor | None,
    silu: bool,
) -> torch.Tensor:
    """Return [silu](group_norm(x + add)); x (image, channel, h, w) channels-last, `add` (image, channel) or
    None.
    """
    images, channels, height, width = x.shape
    rows, pieces = height * width, triton.cdiv(height * width, _PIECE)
    mean, m2 = (torch.empty(images, pieces, channels, device=x.device, dtype=torch.float32) for _ in range(2))
    scale, shift = (torch.empty(images, channels, device=x.device, dtype=torch.float32) for _ in range(2))
    out = torch.empty_like(x)
    wide = 64 if channels % 64 == 0 or channels < 64 else 32
    _count[(pieces, images, triton.cdiv(channels, wide))](
        x, mean, m2, rows, channels, _PIECE, 32, wide, num_warps=4
    )
    group = channels // groups
    _combine[(groups, images)](
        mean,
        m2,
        mean if add is None else add,
        weight,
        bias,
        scale,
        shift,
        eps,
        rows,
        channels,
        group,
        pieces,
        16 if group <= 16 else triton.next_power_of_2(max(128, group)),
        _PIECE,
        32,
        add is not None,
        num_warps=4,
    )
    _apply[(triton.cdiv(rows, 64), images, triton.cdiv(channels, wide))](
        x, out, scale, shift, rows, channels, 64, wide, silu, num_warps=4
    )
    return out
