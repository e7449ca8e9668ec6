"""Vector-matrix lookups, lattices, growth and total variation against slow twins; laws of the streaming
slice.
"""

import pytest
import torch

from i4d.fields.vector_matrix.factors import (
    PAIRS,
    add_line_variation_grad,
    add_plane_variation_grad,
    grow_line,
    grow_plane,
    lattice,
    plane_line,
    resolution,
    total_variation,
)
from i4d.fields.vector_matrix.streaming import Stream, split_permanent


def slow_lookup(plane, line, points, pair):
    """One sample and one channel at a time, by the definition of linear interpolation between vertices."""

    def split(value, count):
        place = (value.clamp(-1, 1) + 1) / 2 * (count - 1)
        low = int(min(place.floor().item(), count - 2))
        return low, place - low

    a, b, c = PAIRS[pair]
    rows = []
    for p in points:
        x, fx = split(p[a], plane.shape[2])
        y, fy = split(p[b], plane.shape[1])
        z, fz = split(p[c], line.shape[1])
        top = plane[:, y, x] * (1 - fx) + plane[:, y, x + 1] * fx
        bottom = plane[:, y + 1, x] * (1 - fx) + plane[:, y + 1, x + 1] * fx
        rows.append((top * (1 - fy) + bottom * fy) * (line[:, z] * (1 - fz) + line[:, z + 1] * fz))
    return torch.stack(rows, -1)


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_lookup_equals_its_slow_twin_forward_and_backward(pair):
    generator = torch.Generator().manual_seed(pair)
    plane = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    line = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    points = torch.rand(40, 3, generator=generator, dtype=torch.float64) * 2.2 - 1.1  # some outside
    seed = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    fast, slow = plane_line(plane, line, points, pair), slow_lookup(plane, line, points, pair)
    torch.testing.assert_close(fast, slow)
    for ours, theirs in zip(
        torch.autograd.grad(fast, [plane, line], seed),
        torch.autograd.grad(slow, [plane, line], seed),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_lattice_is_the_sum_of_products_of_cell_averages(pair):
    shape = (4, 3, 5)  # cells along x, y, z
    a, b, c = PAIRS[pair]
    plane, line = torch.randn(2, 2 * shape[b], 2 * shape[a]), torch.randn(2, 2 * shape[c])
    got = lattice(plane, line, pair, shape)
    assert got.shape == shape[::-1]
    for cell in [(0, 0, 0), (3, 2, 4), (1, 2, 3)]:
        i, j, k = cell[a], cell[b], cell[c]
        area = plane[:, 2 * j : 2 * j + 2, 2 * i : 2 * i + 2].mean((1, 2))
        expected = (area * line[:, 2 * k : 2 * k + 2].mean(1)).sum()
        torch.testing.assert_close(got[cell[2], cell[1], cell[0]], expected)


def test_growth_keeps_values_at_kept_vertices_and_between():
    plane, line = torch.randn(2, 4, 5), torch.randn(2, 6)
    torch.testing.assert_close(grow_plane(plane, 7, 9)[:, ::2, ::2], plane)
    torch.testing.assert_close(grow_line(line, 11)[:, ::2], line)
    points = torch.rand(50, 3) * 2 - 1
    before = plane_line(plane, line, points, 0)
    torch.testing.assert_close(plane_line(grow_plane(plane, 10, 13), grow_line(line, 16), points, 0), before)


def test_variation_gradient_equals_autograd():
    plane, line = torch.randn(3, 6, 5, requires_grad=True), torch.randn(3, 7, requires_grad=True)
    expected = torch.autograd.grad(0.7 * total_variation([plane], [line]), [plane, line])
    grads = torch.zeros(3, 6, 5), torch.zeros(3, 7)
    add_plane_variation_grad(grads[0], plane.detach(), 0.7e-2)
    add_line_variation_grad(grads[1], line.detach(), 0.7e-3)
    for ours, theirs in zip(grads, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_resolution_makes_cubic_voxels():
    cells = resolution(640**3, (3.0, 3.34, 2.0))
    assert cells == (706, 786, 471)  # the figures of the authors' code
    assert resolution(128**3, (3.0, 3.34, 2.0)) == (141, 157, 94)


@pytest.mark.parametrize("per_frame", [0.0, 0.2, 0.5, 1.0, 1.7])
def test_slices_slide_inside_the_pool_and_weights_are_whole(per_frame):
    stream = Stream(permanent=3, window=4, per_frame=per_frame, num_frames=11)
    for frame in range(11):
        piece = stream.at(frame)
        assert piece.ranges[-1][1] <= stream.channels
        assert piece.weights.sum().item() == pytest.approx(stream.slots)
        seen = torch.zeros(stream.slots).index_add_(0, piece.slots, piece.weights)
        torch.testing.assert_close(seen, torch.ones(stream.slots))  # every slot is read once, wholly
    assert stream.at(10).ranges[-1][1] == stream.channels  # no channel is in vain


def test_a_field_is_continuous_in_time():
    stream = Stream(permanent=1, window=3, per_frame=0.5, num_frames=9)
    values = torch.randn(stream.channels)

    def at(frame):
        piece = stream.at(frame)
        parts = torch.cat([values[a:b] for a, b in piece.ranges])
        return (parts * piece.weights).sum()

    for frame in torch.linspace(0, 7.9, 80).tolist():
        assert abs(at(frame + 1e-3) - at(frame)) < 1e-2


def test_without_streaming_nothing_moves():
    stream = Stream(permanent=4, window=0, per_frame=0.5, num_frames=9)
    assert stream.channels == 4
    assert stream.at(0).ranges == stream.at(8).ranges == ((0, 4),)
    with pytest.raises(ValueError, match="outside"):
        stream.at(9)


def test_split_of_components():
    assert split_permanent(8, 0.5) == 4
    assert split_permanent(4, 0.99) == 3  # something streams unless all is permanent
    assert split_permanent(4, 1.0) == 4
    assert split_permanent(4, 0.0) == split_permanent(0, 0.5) == 0
