"""Along the rays: weights of samples, and where to put them. One program a ray. Twins: `render.composite`,
`render.propose`.
"""

import triton
import triton.language as tl


@triton.jit
def _opaque(optical):
    """Return 1 - exp(-x), without cancellation where x is small."""
    return tl.where(optical < 1e-3, optical * (1 - optical * (0.5 - optical / 6)), 1 - tl.exp(-optical))


@triton.jit
def _activate(raw, scale, shift, SOFTPLUS: tl.constexpr):
    if SOFTPLUS:
        y = raw + shift
        e = tl.exp(tl.minimum(y, 20.0))
        small = e * (1 - e * (0.5 - e / 3))  # log(1 + e) where 1 + e would round
        return scale * tl.where(y > 20.0, y, tl.where(e < 5e-3, small, tl.log(1 + e)))
    else:
        return scale * tl.maximum(raw, 0.0)


@triton.jit
def _slope(raw, scale, shift, SOFTPLUS: tl.constexpr):
    if SOFTPLUS:
        return scale / (1 + tl.exp(-(raw + shift)))
    else:
        return tl.where(raw > 0, scale, 0.0)


@triton.jit
def weights_forward(
    raw,
    lengths,
    valid,
    weights,
    scale,
    shift,
    samples,
    SOFTPLUS: tl.constexpr,
    CLOSED: tl.constexpr,
    S: tl.constexpr,
):
    """Write quadrature weights (ray, samples) of raw densities. CLOSED: the last interval takes what light is
    left.
    """
    ray = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, S)
    mask = k < samples
    density = _activate(tl.load(raw + ray * samples + k, mask, 0.0), scale, shift, SOFTPLUS)
    optical = tl.where(mask, density * tl.load(lengths + ray * samples + k, mask, 0.0), 0.0)
    before = tl.cumsum(optical, 0) - optical
    opaque = _opaque(optical)
    if CLOSED:
        hit = tl.load(valid + ray) != 0
        opaque = tl.where((k == samples - 1) & hit, 1.0, opaque)
    tl.store(weights + ray * samples + k, tl.exp(-before) * opaque, mask)


@triton.jit
def weights_backward(
    raw,
    lengths,
    valid,
    weights,
    dweights,
    draw,
    scale,
    shift,
    samples,
    SOFTPLUS: tl.constexpr,
    CLOSED: tl.constexpr,
    S: tl.constexpr,
):
    """Write d loss / d raw (ray, samples): with x = density * length, dx_i = dw_i exp(-x_0..-x_i) - sum_j>i
    dw_j w_j.
    """
    ray = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, S)
    mask = k < samples
    value = tl.load(raw + ray * samples + k, mask, 0.0)
    length = tl.load(lengths + ray * samples + k, mask, 0.0)
    optical = tl.where(mask, _activate(value, scale, shift, SOFTPLUS) * length, 0.0)
    g = tl.load(dweights + ray * samples + k, mask, 0.0)
    taken = g * tl.load(weights + ray * samples + k, mask, 0.0)
    behind = tl.cumsum(taken, 0, reverse=True) - taken
    dx = g * tl.exp(-tl.cumsum(optical, 0)) - behind
    if CLOSED:
        hit = tl.load(valid + ray) != 0
        dx = tl.where((k == samples - 1) & hit, 0.0, dx)
    tl.store(draw + ray * samples + k, dx * length * _slope(value, scale, shift, SOFTPLUS), mask)


@triton.jit
def map_weights(
    points, lengths, valid, cells, weights, count, X, Y, Z, CLOSED: tl.constexpr, P: tl.constexpr
):
    """Write the weights (ray, count) that the coarse density map `cells` (Z, Y, X) gives to even
    intervals.
    """
    ray = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, P)
    mask = k < count
    at = ray * count + k
    x = ((tl.load(points + 3 * at, mask, 0.0) + 1) * 0.5 * X).to(tl.int32)
    y = ((tl.load(points + 3 * at + 1, mask, 0.0) + 1) * 0.5 * Y).to(tl.int32)
    z = ((tl.load(points + 3 * at + 2, mask, 0.0) + 1) * 0.5 * Z).to(tl.int32)
    x = tl.minimum(tl.maximum(x, 0), X - 1)
    y = tl.minimum(tl.maximum(y, 0), Y - 1)
    z = tl.minimum(tl.maximum(z, 0), Z - 1)
    density = tl.load(cells + (z * Y + y) * X + x, mask, 0.0)
    optical = tl.where(mask, density * tl.load(lengths + at, mask, 0.0), 0.0)
    before = tl.cumsum(optical, 0) - optical
    opaque = _opaque(optical)
    if CLOSED:
        hit = tl.load(valid + ray) != 0
        opaque = tl.where((k == count - 1) & hit, 1.0, opaque)
    tl.store(weights + at, tl.exp(-before) * opaque, mask)


@triton.jit
def draw_edges(
    weights,
    offsets,
    edges,
    count,
    uniform,
    SAMPLES: tl.constexpr,
    REACH: tl.constexpr,
    JITTER: tl.constexpr,
    P: tl.constexpr,
    U: tl.constexpr,
):
    """Write edges (ray, samples + 1), drawn from the widened weights (ray, count) by the inverse of their
    sum.

    U edges at a time: each counts the intervals whose sum lies below its level, which is a search without
    branches.
    """
    ray = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, P)
    mask = k < count
    wide = tl.load(weights + ray * count + k, mask, 0.0)
    for step in range(1, REACH + 1):
        wide = tl.maximum(wide, tl.load(weights + ray * count + k - step, mask & (k >= step), 0.0))
        wide = tl.maximum(wide, tl.load(weights + ray * count + k + step, k + step < count, 0.0))
    even = tl.load(uniform)
    share = wide / tl.maximum(tl.sum(wide, 0), 1e-6)
    share = tl.where(mask, (1 - even) * share + even / count, 0.0)
    share = share / tl.sum(share, 0)
    passed = tl.cumsum(share, 0)
    for first in range(0, SAMPLES - 1, U):
        i = first + tl.arange(0, U)
        if JITTER:
            place = tl.load(offsets + ray * (SAMPLES - 1) + i, i < SAMPLES - 1, 0.5)
        else:
            place = tl.full([U], 0.5, tl.float32)
        level = (i + place) / (SAMPLES - 1)
        below = (passed[None, :] <= level[:, None]) & mask[None, :]
        index = tl.minimum(tl.sum(below.to(tl.int32), 1), count - 1)
        low = tl.max(tl.where(below, passed[None, :], 0.0), 1)
        above = (passed[None, :] > level[:, None]) & mask[None, :]
        high = tl.min(tl.where(above, passed[None, :], 1.0), 1)
        inside = tl.minimum((level - low) / tl.maximum(high - low, 1e-9), 1.0)
        tl.store(edges + ray * (SAMPLES + 1) + 1 + i, (index + inside) / count, i < SAMPLES - 1)
    tl.store(edges + ray * (SAMPLES + 1), 0.0)
    tl.store(edges + ray * (SAMPLES + 1) + SAMPLES, 1.0)
