"""Options of InstructPix2Pix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from i4d.config.blocks import EditorConfig
from i4d.config.options import opt
from i4d.errors import ConfigError
from i4d.types import Norm


@dataclass
class InstructPix2PixConfig(EditorConfig):
    """An InstructPix2Pix and what it may approximate."""

    turbo_keys: int = opt(
        16, "turbo: anchor keys thinned to one in so many at the top level", choices=(1, 4, 16)
    )
    turbo_second_keys: int = opt(4, "turbo: likewise at the second level", choices=(1, 4, 16))
    turbo_depth: int = opt(2, "turbo: deeper levels of the UNet at every n-th step", low=1, high=8)
    turbo_guidance: int = opt(
        2, "turbo: guidance branches besides the full one at every n-th step", low=1, high=8
    )
    compile: str = opt(
        "off",
        "torch.compile on top of the editor's own kernels, in exact and turbo mode; takes minutes; auto: off",
        choices=("auto", "off", "on"),
    )
    norm: Norm = opt("frame", "GroupNorm over one frame or the whole window", choices=get_args(Norm))


def own_options(config: EditorConfig) -> InstructPix2PixConfig:
    """Return a block of the configuration as this kind's; ConfigError where it is another kind's."""
    if not isinstance(config, InstructPix2PixConfig):
        raise ConfigError(f"editor.kind = {config.kind}", "its options are not those of instruct_pix2pix")
    return config
