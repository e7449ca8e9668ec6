"""Attention of many queries to one set of keys with heads of 40 numbers, as a Triton kernel (imports triton).

The top level of an SD 1.5 UNet has 8 heads of 40: library kernels multiply 64 columns. Here a head's queries
and keys are laid out as 48 = 32 + 16 columns, and the spare ones carry the rest of the softmax through the
matrix units: a query's column 40 is one, a key's is zero, or so low that its weight is nothing (rows beyond
the last key); a value's column 40 is one, so that the product with the weights also counts their sum.

Weights are taken relative to the largest score of a sample of the keys, not of all of them (softmax does not
depend on it): no maximum has to be followed through the loop. A row whose true maximum lies 2^15 above that
of the sample would overflow; a second launch does such blocks again and follows the maximum (online softmax,
Milakov & Gimelshein 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

HEAD = 40
_ROWS = 256  # packed keys are padded to whole blocks of this many
_NEVER = -60000.0  # score of a row beyond the last key


@triton.jit
def _exp2(x, ASM: tl.constexpr):
    if ASM:  # without the detour for denormal results, which are nothing here
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:  # Triton's interpreter has no assembler
        return tl.exp2(x)


@triton.jit
def _scores(q1, q2, K, rows):
    k1 = tl.load(K + rows[None, :] * 48 + tl.arange(0, 32)[:, None])
    k2 = tl.load(K + rows[None, :] * 48 + 32 + tl.arange(0, 16)[:, None])
    return tl.dot(q2, k2, tl.dot(q1, k1))


@triton.jit
def _attend(
    Q,
    K,
    V,
    OUT,
    AGAIN,
    scale,
    num_queries,
    q_batch,
    q_row,
    o_batch,
    o_row,
    keys_padded: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ASM: tl.constexpr,
    FOLLOW: tl.constexpr,
):
    block, pair = tl.program_id(0), tl.program_id(1)
    if FOLLOW:
        if tl.load(AGAIN + pair * tl.num_programs(0) + block) == 0:
            return
    batch, head = (pair // HEADS).to(tl.int64), pair % HEADS
    m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    n, c, c2 = tl.arange(0, BLOCK_N), tl.arange(0, 64), tl.arange(0, 16)
    q_rows = Q + batch * q_batch + head * 40 + m[:, None].to(tl.int64) * q_row
    inside = m[:, None] < num_queries
    q1 = tl.load(q_rows + tl.arange(0, 32)[None, :], mask=inside, other=0.0)
    q2 = tl.load(q_rows + 32 + c2[None, :], mask=inside & (c2[None, :] < 8), other=0.0)
    q2 = tl.where(c2[None, :] == 8, 1.0, q2).to(tl.float16)
    K += pair.to(tl.int64) * (keys_padded * 48)
    V += pair.to(tl.int64) * (keys_padded * 64)
    top = tl.max(_scores(q1, q2, K, n * (keys_padded // BLOCK_N)), 1) * scale
    acc = tl.zeros([BLOCK_M, 64], tl.float32)
    for start in range(0, keys_padded, BLOCK_N):
        s = _scores(q1, q2, K, start + n)
        if FOLLOW:
            now = tl.maximum(top, tl.max(s, 1) * scale)
            acc *= _exp2(top - now, ASM)[:, None]
            top = now
        w = _exp2(s * scale - top[:, None], ASM).to(tl.float16)
        acc = tl.dot(w, tl.load(V + (start + n)[:, None] * 64 + c[None, :]), acc)
    total = tl.sum(tl.where(c[None, :] == 40, acc, 0.0), 1)
    if not FOLLOW:
        good = (total < 1e30) | (m >= num_queries)  # false for NaN too
        tl.store(AGAIN + pair * tl.num_programs(0) + block, 1 - tl.min(good.to(tl.int32), 0))
    o_rows = OUT + batch * o_batch + head * 40 + m[:, None].to(tl.int64) * o_row
    tl.store(o_rows + c[None, :], (acc / total[:, None]).to(tl.float16), mask=inside & (c[None, :] < 40))


def pack(key: torch.Tensor, value: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys (batch, heads, padded tokens, 48) and values (.., 64) for `attend`; given (batch, tokens,
    heads * 40) each.
    """
    batch, tokens, _ = key.shape
    padded = -(-tokens // _ROWS) * _ROWS
    packed_key, packed_value = (key.new_zeros(batch, heads, padded, width) for width in (48, 64))
    packed_key[:, :, :tokens, :HEAD] = key.unflatten(-1, (heads, HEAD)).transpose(1, 2)
    packed_value[:, :, :tokens, :HEAD] = value.unflatten(-1, (heads, HEAD)).transpose(1, 2)
    packed_key[:, :, tokens:, HEAD] = _NEVER
    packed_value[:, :, :tokens, HEAD] = 1.0
    return packed_key, packed_value


@dataclass(frozen=True)
class Shape:
    """How the kernel is cut: rows of queries and of keys per block, warps, stages of the loads, registers a
    thread may take.
    """

    block_m: int = 128
    block_n: int = 64
    num_warps: int = 4
    num_stages: int = 3
    maxnreg: int | None = 168


def attend(
    query: torch.Tensor,
    packed_key: torch.Tensor,
    packed_value: torch.Tensor,
    heads: int,
    shape: Shape = Shape(),
    asm: bool = True,
) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(40)) V, float16 (batch, queries, heads * 40), from packed keys and values.

    `asm` False leaves out what Triton's interpreter does not know.
    """
    batch, queries, _ = query.shape
    out = torch.empty_like(query)
    grid = (triton.cdiv(queries, shape.block_m), batch * heads)
    again = torch.empty(grid[1], grid[0], dtype=torch.int32, device=query.device)
    scale = math.log2(math.e) / math.sqrt(HEAD)
    for follow in (False, True):
        _attend[grid](
            query,
            packed_key,
            packed_value,
            out,
            again,
            scale,
            queries,
            query.stride(0),
            query.stride(1),
            out.stride(0),
            out.stride(1),
            packed_key.shape[-2],
            heads,
            shape.block_m,
            shape.block_n,
            asm,
            follow,
            num_warps=shape.num_warps,
            num_stages=shape.num_stages,
            maxnreg=None if follow else shape.maxnreg,
        )
    return out
