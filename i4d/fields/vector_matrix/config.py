"""Options of the vector-matrix field and of how it is fitted (docs/fields.md)."""

from __future__ import annotations

from dataclasses import dataclass

from i4d.config.blocks import FieldConfig
from i4d.config.options import opt
from i4d.errors import ConfigError


@dataclass
class VectorMatrixConfig(FieldConfig):
    """Streaming vector-matrix factors."""

    grid_start: int = opt(2097152, "voxels at the start (128^3)", low=512)
    grid_end: int = opt(262144000, "voxels at the end (640^3)", low=512)
    growth_at: list = opt([0.1, 0.2, 0.35, 0.5], "growth points as shares of `fit_steps`")
    density_components: list = opt([16, 16, 16], "components per plane-line pair: xy, xz, yz")
    colour_components: list = opt([24, 24, 24], "likewise for appearance")
    channels_per_frame: float = opt(2.0, "new streaming channels per frame", low=0.0, high=16.0)
    feature_dim: int = opt(27, "appearance features", low=3, high=256)
    mlp_width: int = opt(128, "hidden width of the colour MLP", low=8, high=1024)
    permanent_share: float = opt(
        0.5, "share of the components that never leave; the others stream", low=0.0, high=1.0
    )
    view_frequencies: int = opt(
        0,
        "frequencies of the viewing direction in colour; 0: none. A dozen cameras are learned by heart",
        low=0,
        high=8,
    )
    density: str = opt("softplus", "activation of density", choices=("relu", "softplus"))
    density_scale: float = opt(25.0, "density per field unit of an activation of 1 (distance scale)", low=0.0)
    density_shift: float = opt(
        -3.0, "added before softplus; a fit that starts as fog finds surfaces,", low=-100.0, high=100.0
    )
    samples: int = opt(0, "intervals per ray; 0: from the grid's resolution", low=0, high=8192)
    proposals: int = opt(
        0, "looks at the coarse density map per ray; 0: from the grid's resolution", low=0, high=8192
    )
    shaded: int = opt(
        16,
        "places per ray where colour is read: groups of intervals of about equal weight; 0: every interval",
        low=0,
        high=8192,
    )
    cameras: str = opt(
        "fixed",
        "refined: small corrections of the trained cameras' poses and focal lengths are found in the fit",
        choices=("fixed", "refined"),
    )
    background: list = opt([], "colour behind the field, RGB in [0, 1]; empty: the field's far end is opaque")
    learn_background: bool = opt(
        False, "fit the colour behind the field along, from `background` or, where that is empty, from grey"
    )
    rays: int = opt(8192, "rays per step", low=16)
    lr_grid: float = opt(0.05, "Adam rate of planes and lines", low=0.0)
    lr_mlp: float = opt(0.001, "Adam rate of the MLP", low=0.0)
    lr_decay: float = opt(0.1, "rate at the end of a phase relative to its start", low=0.0, high=1.0)
    refit_rate: float = opt(0.4, "rates of a refit relative to the fit's", low=0.0)
    tv_weight: float = opt(5.0, "total variation weight (planes x 1e-2, lines x 1e-3)", low=0.0)
    distortion: float = opt(
        0.0,
        "weight of the distortion loss in a fit: draws the weight of a ray together (mip-NeRF 360)",
        low=0.0,
        high=10.0,
    )
    refit_perceptual: float = opt(
        0.01, "weight of the perceptual term beside the squared error", low=0.0, high=10.0
    )
    refit_patch: int = opt(
        48, "pixels a side of the patch that the perceptual term compares in every step", low=36, high=512
    )
    refit_variation: float = opt(
        1.0,
        "total variation of a refit relative to the fit's: less keeps more of an edit's texture",
        low=0.0,
        high=10.0,
    )
    refit_geometry: float = opt(
        0.1, "rate of density in a refit relative to colour's: edits seldom move things", low=0.0, high=10.0
    )
    motion_share: float = opt(
        0.2, "share of rays from moving pixels in a fit and the first half of a refit", low=0.0, high=1.0
    )
    dtype: str = opt("auto", "compute type", choices=("auto", "float32", "bfloat16", "float16"))
    kernels: str = opt(
        "auto",
        "fused GPU kernels; auto: in CUDA graphs where Triton is installed; eager: without graphs",
        choices=("auto", "graphs", "eager", "off"),
    )


def own_options(config: FieldConfig) -> VectorMatrixConfig:
    """Return a block of the configuration as this kind's; ConfigError where it is another kind's."""
    if not isinstance(config, VectorMatrixConfig):
        raise ConfigError(f"field.kind = {config.kind}", "its options are not those of vector_matrix")
    return config
