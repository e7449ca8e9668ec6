"""Plane-line lookups of all three pairs at once (TensoRF, section 4.2), forward and backward.

The torch twin is `factors.plane_line`. Planes are (channel, height, width), whole, however many channels of
them a frame reads: `table` names those channels. Lines are those of the table alone, in its order (channel of
the table, length); `weight` scales them.
Gradients go by atomic adds into buffers that hold only the channels of the table.
"""

import triton
import triton.language as tl


@triton.jit
def _vertex(coordinate, count):
    """Return the vertex below a coordinate in [-1, 1] and the fraction towards the next; outside, the
    border's.
    """
    x = (coordinate + 1) * 0.5 * (count - 1)
    x = tl.minimum(tl.maximum(x, 0.0), 1.0 * (count - 1))  # in this order: what is no number becomes 0
    below = tl.minimum(x.to(tl.int32), count - 2)
    return below, x - below


@triton.jit
def _corners(plane, at, width, mask):
    return (
        tl.load(plane + at, mask, 0.0),
        tl.load(plane + at + 1, mask, 0.0),
        tl.load(plane + at + width, mask, 0.0),
        tl.load(plane + at + width + 1, mask, 0.0),
    )


@triton.jit
def _add_corners(grad, at, width, value, fu, fv, mask):
    top, bottom = value * (1 - fv), value * fv
    tl.atomic_add(grad + at, top * (1 - fu), mask, sem="relaxed")
    tl.atomic_add(grad + at + 1, top * fu, mask, sem="relaxed")
    tl.atomic_add(grad + at + width, bottom * (1 - fu), mask, sem="relaxed")
    tl.atomic_add(grad + at + width + 1, bottom * fu, mask, sem="relaxed")


@triton.jit
def _blend(a, b, c, d, fu, fv):
    top, bottom = a + fu * (b - a), c + fu * (d - c)
    return top + fv * (bottom - top)


@triton.jit
def _pair_sum(plane, line, table, weight, u, v, t, width, height, length, mask, CHANNELS: tl.constexpr):
    iu, fu = _vertex(u, width)
    iv, fv = _vertex(v, height)
    it, ft = _vertex(t, length)
    at = iv * width + iu
    total = tl.zeros_like(u)
    for c in range(CHANNELS):
        channel = tl.load(table + c).to(tl.int64)
        p00, p01, p10, p11 = _corners(plane + channel * width * height, at, width, mask)
        one = tl.load(line + c * length + it, mask, 0.0)
        two = tl.load(line + c * length + it + 1, mask, 0.0)
        total += _blend(p00, p01, p10, p11, fu, fv) * (one + ft * (two - one)) * tl.load(weight + c)
    return total


@triton.jit
def density_forward(
    points,
    raw,
    plane0,
    plane1,
    plane2,
    line0,
    line1,
    line2,
    table,
    weight,
    count,
    X,
    Y,
    Z,
    C0: tl.constexpr,
    C1: tl.constexpr,
    C2: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write raw density (point,): the sum over pairs and channels of plane times line."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    x = tl.load(points + 3 * at, mask, 0.0)
    y = tl.load(points + 3 * at + 1, mask, 0.0)
    z = tl.load(points + 3 * at + 2, mask, 0.0)
    total = _pair_sum(plane0, line0, table, weight, x, y, z, X, Y, Z, mask, C0)
    total += _pair_sum(plane1, line1, table + C0, weight + C0, x, z, y, X, Z, Y, mask, C1)
    total += _pair_sum(plane2, line2, table + C0 + C1, weight + C0 + C1, y, z, x, Y, Z, X, mask, C2)
    tl.store(raw + at, total, mask)


@triton.jit
def _pair_grad(
    dplane, dline, plane, line, table, weight, g, u, v, t, width, height, length, mask, CHANNELS: tl.constexpr
):
    iu, fu = _vertex(u, width)
    iv, fv = _vertex(v, height)
    it, ft = _vertex(t, length)
    at = iv * width + iu
    for c in range(CHANNELS):
        channel, scale = tl.load(table + c).to(tl.int64), tl.load(weight + c)
        p00, p01, p10, p11 = _corners(plane + channel * width * height, at, width, mask)
        one = tl.load(line + c * length + it, mask, 0.0)
        two = tl.load(line + c * length + it + 1, mask, 0.0)
        local = c * width.to(tl.int64) * height
        _add_corners(dplane + local, at, width, g * scale * (one + ft * (two - one)), fu, fv, mask)
        along = g * scale * _blend(p00, p01, p10, p11, fu, fv)
        tl.atomic_add(dline + c * length + it, along * (1 - ft), mask, sem="relaxed")
        tl.atomic_add(dline + c * length + it + 1, along * ft, mask, sem="relaxed")


@triton.jit
def density_backward(
    points,
    draw,
    plane0,
    plane1,
    plane2,
    line0,
    line1,
    line2,
    dplane0,
    dplane1,
    dplane2,
    dline0,
    dline1,
    dline2,
    table,
    weight,
    rays,
    samples,
    X,
    Y,
    Z,
    C0: tl.constexpr,
    C1: tl.constexpr,
    C2: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the gradients of planes and lines for d loss / d raw (ray, sample). Points whose gradient is zero
    cost nothing.

    Neighbouring threads take neighbouring rays, not samples: those of one ray fall on the same vertices (in
    NDC, rays run nearly along one axis), and adds to one address wait for each other.
    """
    turn = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = turn < rays * samples
    at = (turn % rays) * samples + turn // rays
    g = tl.load(draw + at, inside, 0.0)
    mask = inside & (g != 0.0)
    x = tl.load(points + 3 * at, mask, 0.0)
    y = tl.load(points + 3 * at + 1, mask, 0.0)
    z = tl.load(points + 3 * at + 2, mask, 0.0)
    _pair_grad(dplane0, dline0, plane0, line0, table, weight, g, x, y, z, X, Y, Z, mask, C0)
    _pair_grad(dplane1, dline1, plane1, line1, table + C0, weight + C0, g, x, z, y, X, Z, Y, mask, C1)
    table, weight = table + C0 + C1, weight + C0 + C1
    _pair_grad(dplane2, dline2, plane2, line2, table, weight, g, y, z, x, Y, Z, X, mask, C2)


@triton.jit
def features_forward(
    points,
    shares,
    out,
    plane,
    line,
    table,
    weight,
    total,
    width,
    height,
    length,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
    U: tl.constexpr,
    V: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    CB: tl.constexpr,
):
    """Write the products of one pair averaged along every ray: out (ray, total), this pair's columns of it.

    `points` (ray, samples, 3), `shares` (ray, samples): the weights of the average; where one is zero nothing
    is read. One program a ray and CB channels, K samples at a time.
    """
    ray = tl.program_id(0)
    columns = tl.program_id(1) * CB + tl.arange(0, CB)
    inside = columns < CHANNELS
    channel = tl.load(table + columns, inside, 0.0).to(tl.int64)[None, :]
    row = columns[None, :]
    scale = tl.load(weight + columns, inside, 0.0)
    mean = tl.zeros([CB], tl.float32)
    for first in range(0, SAMPLES, K):
        k = first + tl.arange(0, K)
        sample = ray.to(tl.int64) * SAMPLES + k
        share = tl.load(shares + sample, k < SAMPLES, 0.0)
        read = (share != 0.0)[:, None] & inside[None, :]
        iu, fu = _vertex(tl.load(points + 3 * sample + U, k < SAMPLES, 0.0), width)
        iv, fv = _vertex(tl.load(points + 3 * sample + V, k < SAMPLES, 0.0), height)
        it, ft = _vertex(tl.load(points + 3 * sample + T, k < SAMPLES, 0.0), length)
        at = (iv * width + iu)[:, None]
        p00, p01, p10, p11 = _corners(plane + channel * width * height, at, width, read)
        one = tl.load(line + row * length + it[:, None], read, 0.0)
        two = tl.load(line + row * length + it[:, None] + 1, read, 0.0)
        product = _blend(p00, p01, p10, p11, fu[:, None], fv[:, None]) * (one + ft[:, None] * (two - one))
        mean += tl.sum(share[:, None] * product, 0)
    tl.store(out + ray.to(tl.int64) * total + columns, mean * scale, inside)


@triton.jit
def features_backward(
    points,
    shares,
    dout,
    dshares,
    plane,
    line,
    dplane,
    dline,
    table,
    weight,
    total,
    width,
    height,
    length,
    SAMPLES: tl.constexpr,
    CHANNELS: tl.constexpr,
    U: tl.constexpr,
    V: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    CB: tl.constexpr,
):
    """Add the gradients of planes, lines and shares (ray, samples) for d loss / d out (ray, total)."""
    ray = tl.program_id(0)
    columns = tl.program_id(1) * CB + tl.arange(0, CB)
    inside = columns < CHANNELS
    channel = tl.load(table + columns, inside, 0.0).to(tl.int64)[None, :]
    row = columns[None, :]
    scale = tl.load(weight + columns, inside, 0.0)
    g = (scale * tl.load(dout + ray.to(tl.int64) * total + columns, inside, 0.0))[None, :]
    local = columns[None, :].to(tl.int64)
    for first in range(0, SAMPLES, K):
        k = first + tl.arange(0, K)
        sample = ray.to(tl.int64) * SAMPLES + k
        share = tl.load(shares + sample, k < SAMPLES, 0.0)
        read = (share != 0.0)[:, None] & inside[None, :]
        iu, fu = _vertex(tl.load(points + 3 * sample + U, k < SAMPLES, 0.0), width)
        iv, fv = _vertex(tl.load(points + 3 * sample + V, k < SAMPLES, 0.0), height)
        it, ft = _vertex(tl.load(points + 3 * sample + T, k < SAMPLES, 0.0), length)
        fu, fv, ft, it = fu[:, None], fv[:, None], ft[:, None], it[:, None]
        at = (iv * width + iu)[:, None]
        p00, p01, p10, p11 = _corners(plane + channel * width * height, at, width, read)
        one = tl.load(line + row * length + it, read, 0.0)
        two = tl.load(line + row * length + it + 1, read, 0.0)
        on_plane, on_line = _blend(p00, p01, p10, p11, fu, fv), one + ft * (two - one)
        tl.atomic_add(
            dshares + sample, tl.sum(g * on_plane * on_line, 1), (k < SAMPLES) & (share != 0.0), sem="relaxed"
        )
        pull = g * share[:, None]
        _add_corners(dplane + local * width * height, at, width, pull * on_line, fu, fv, read)
        along = pull * on_plane
        tl.atomic_add(dline + local * length + it, along * (1 - ft), read, sem="relaxed")
        tl.atomic_add(dline + local * length + it + 1, along * ft, read, sem="relaxed")


@triton.jit
def pool(
    plane,
    out,
    table,
    height,
    width,
    rows,
    columns,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write averages of some planes over rows x columns cells: out (channel of the table, rows, columns).

    A cell takes the vertices from floor(i n / m) to ceil((i + 1) n / m), HIGH x WIDE at most, as torch's
    adaptive average.
    """
    c = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < rows * columns
    row, column = at // columns, at % columns
    top, bottom = row * height // rows, ((row + 1) * height + rows - 1) // rows
    left, right = column * width // columns, ((column + 1) * width + columns - 1) // columns
    source = plane + tl.load(table + c).to(tl.int64) * height * width
    total = tl.zeros([BLOCK], tl.float32)
    for i in range(HIGH):
        for j in range(WIDE):
            y, x = top + i, left + j
            total += tl.load(source + y * width + x, inside & (y < bottom) & (x < right), 0.0)
    tl.store(out + c.to(tl.int64) * rows * columns + at, total / ((bottom - top) * (right - left)), inside)
