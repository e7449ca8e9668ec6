"""How much memory a fit will take at its peak, predicted from the configuration before any of it is made."""

from __future__ import annotations

from i4d.config import FieldConfig
from i4d.field.factors import factor_size, resolution
from i4d.field.fit import render_settings, shape_from
from i4d.field.spaces import Space, extents

FLOAT_BYTES = 4
BASE_BYTES = 600 << 20  # what a CUDA context and its libraries take before the first tensor


def parameter_counts(config: FieldConfig, space: Space, num_frames: int) -> tuple[int, int]:
    """Return the numbers of a field at its last grid, and of those that one frame reads."""
    vertices = resolution(config.grid_end, extents(space))
    total = read = 0
    for key, stream in shape_from(config, num_frames).streams().items():
        height, width, length = factor_size(vertices, int(key[-1]))
        total += stream.channels * (height * width + length)
        read += (stream.slots + 1) * (height * width + length)
    return total, read


def peak_bytes(config: FieldConfig, space: Space, num_frames: int) -> int:
    """Return the predicted peak in bytes of fitting and rendering on a GPU; within a factor of about 1.5.

    Field and two moments, all three once more where the grid grows (half as large before); per step the frame's slice, its
    copy without seams and its gradient; activations of the intervals, forward and backward; the coarse map.
    """
    vertices = resolution(config.grid_end, extents(space))
    total, read = parameter_counts(config, space, num_frames)
    settings = render_settings(config, vertices)
    density, colour = sum(config.density_components) + 3, sum(config.colour_components) + 3
    per_ray = 6 * settings.samples * density + 6 * settings.shaded * colour + 24 * settings.proposals
    cells = 4 * min(settings.map_cells, max(vertices) // 2) ** 3
    rays = max(config.rays, 65536 // 3)  # rendering keeps no graph: about a third of a training ray
    return BASE_BYTES + FLOAT_BYTES * (3 * total * 3 // 2 + 4 * read + rays * per_ray + cells)
