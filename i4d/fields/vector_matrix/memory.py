"""Predicted peak of device memory of a fit, before anything is allocated."""

from __future__ import annotations

from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.factors import factor_size, resolution
from i4d.fields.vector_matrix.from_config import shape_from
from i4d.fields.vector_matrix.view import render_settings

FIT_COPIES = 4  # parameters, gradient and Adam's two moments


def field_parameters(config: VectorMatrixConfig, num_frames: int) -> int:
    """Return how many numbers the factors hold at the end of the fit, on a cube of `grid_end` voxels."""
    grid = resolution(config.grid_end, (1.0, 1.0, 1.0))
    total = 0
    for key, stream in shape_from(config, num_frames).streams().items():
        height, width, length = factor_size(grid, int(key[-1]))
        total += stream.channels * (height * width + length)
    return total


def predicted_bytes(config: VectorMatrixConfig, num_frames: int, fields: int = 1) -> int:
    """Return the peak of a fit in bytes: parameters with Adam's moments and gradient, a growth step, one
    batch's activations, and `fields` - 1 more fields that are only looked at.
    """
    settings = render_settings(config, resolution(config.grid_end, (1.0, 1.0, 1.0)))
    features = sum(config.density_components) + 2 * sum(config.colour_components) + 4 * config.mlp_width
    activations = config.rays * max(settings.samples, settings.proposals) * features * 4 * 3
    copies = FIT_COPIES + fields - 1
    return copies * 4 * field_parameters(config, num_frames) + activations
