"""The shape of a field that a configuration asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from i4d.errors import FitError
from i4d.fields.protocol import Phase
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.model import FieldShape


def shape_from(config: VectorMatrixConfig, num_frames: int, views: Sequence[int] = ()) -> FieldShape:
    """Return the field shape that a configuration asks for, to be fitted to these views."""
    return FieldShape(
        num_frames=num_frames,
        density_components=tuple(config.density_components),
        colour_components=tuple(config.colour_components),
        channels_per_frame=config.channels_per_frame,
        permanent_share=config.permanent_share,
        feature_dim=config.feature_dim,
        mlp_width=config.mlp_width,
        view_frequencies=config.view_frequencies,
        density_scale=config.density_scale,
        density=config.density,
        density_shift=config.density_shift,
        frame_lines=True,
        learned_background=config.learn_background,
        exposures=tuple(views) if config.exposure == "camera" else (),
        refined=tuple(views) if config.cameras == "refined" else (),
    )


def check_goes_on(config: VectorMatrixConfig, shape: FieldShape, phase: Phase) -> None:
    """Raise FitError where a phase asks for what a field was not made with."""
    if config.exposure == "camera" and not shape.exposures:
        raise FitError(
            "field.exposure = camera: the field was fitted without gains",
            "fit it anew, or set field.exposure=off",
        )
    if phase == "fit" and config.cameras == "refined" and len(shape.refined) < 2:
        many = (
            "a single camera has no others to agree with" if shape.refined else "the field was made without"
        )
        raise FitError(f"field.cameras = refined: {many}", "set field.cameras=fixed")


def check_views(shape: FieldShape, trained: tuple[int, ...]) -> None:
    """Raise FitError where exposures or cameras of a field are those of other views than the trained ones."""
    for what, views in (("exposures", shape.exposures), ("corrected cameras", shape.refined)):
        if views not in ((), trained):
            raise FitError(f"the field has {what} of views {views}", f"trained are {trained}")


def voxel_levels(config: VectorMatrixConfig) -> list[int]:
    """Return the voxel count of each level, log-spaced from `grid_start` to `grid_end`."""
    count = len(config.growth_at) + 1
    if count == 1:
        return [config.grid_end]
    low, high = math.log(config.grid_start), math.log(config.grid_end)
    return [round(math.exp(low + (high - low) * i / (count - 1))) for i in range(count)]
