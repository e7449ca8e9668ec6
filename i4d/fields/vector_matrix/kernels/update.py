"""The optimiser on the channels that a step touched. Twins: `factors.total_variation` and
`optim.SliceAdam`.
"""

import triton
import triton.language as tl


@triton.jit
def variation_grad(value, grad, table, factor, weight, height, width, BLOCK: tl.constexpr):
    """Write (not add) the gradient of total variation of the planes in `table` to grad (channel, height,
    width), two vertices or more a side.

    `factor` holds weight / channels of the group by channel; a gradient buffer that starts out this way needs
    no zeroing.
    """
    c = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * width
    mask = at < size
    scale = 2 * weight * tl.load(factor + c)
    local = grad + c.to(tl.int64) * size
    if scale != 0:
        plane = value + tl.load(table + c).to(tl.int64) * size
        row, column = at // width, at % width
        centre = tl.load(plane + at, mask, 0.0)
        left = tl.load(plane + at - 1, mask & (column > 0), 0.0)
        right = tl.load(plane + at + 1, mask & (column < width - 1), 0.0)
        across = tl.where(column > 0, centre - left, 0.0) - tl.where(column < width - 1, right - centre, 0.0)
        total = across * (scale / (height * (width - 1)))
        up = tl.load(plane + at - width, mask & (row > 0), 0.0)
        down = tl.load(plane + at + width, mask & (row < height - 1), 0.0)
        along = tl.where(row > 0, centre - up, 0.0) - tl.where(row < height - 1, down - centre, 0.0)
        total += along * (scale / ((height - 1) * width))
        tl.store(local + at, total, mask)
    else:
        tl.store(local + at, tl.zeros([BLOCK], tl.float32), mask)


@triton.jit
def adam(value, grad, first, second, table, rates, bias, b1, b2, eps, size, BLOCK: tl.constexpr):
    """Move the channels in `table`: rates holds rate / (1 - b1^n), bias sqrt(1 - b2^n); a rate of 0 skips a
    channel.
    """
    c = tl.program_id(1)
    rate = tl.load(rates + c)
    if rate != 0:
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        mask = at < size
        far = tl.load(table + c).to(tl.int64) * size + at
        g = tl.load(grad + c.to(tl.int64) * size + at, mask, 0.0)
        m = tl.load(first + far, mask, 0.0)
        v = tl.load(second + far, mask, 0.0)
        m = m + (1 - b1) * (g - m)
        v = b2 * v + (1 - b2) * g * g
        step = rate * m / (tl.sqrt(v) / tl.load(bias + c) + eps)
        tl.store(first + far, m, mask)
        tl.store(second + far, v, mask)
        tl.store(value + far, tl.load(value + far, mask, 0.0) - step, mask)
