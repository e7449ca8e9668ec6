"""Learned perceptual distance, LPIPS (Zhang et al., CVPR 2018, version 0.1 with the AlexNet trunk), without
torchvision.

The distance of two images is the weighted squared difference of their unit-normalised features at five depths
of AlexNet, averaged over positions and summed over depths. Trunk: the five convolutions of torchvision's
AlexNet. Heads: one weight per channel, from the lpips package or its file. 0 for equal images; about 0.1 is
hard to see, 0.7 is another picture. Lower is better. Differentiable in both images, so it also serves as a
loss.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i4d.errors import WeightsError

TRUNKS = ("alexnet-owt-7be5be79.pth", "alexnet_features.pth")  # torchvision's file, or its convolutions alone
HEADS = ("lin_alex_v0.1.pth", "alex.pth")
HOW = (
    "put alexnet-owt-7be5be79.pth (torchvision's AlexNet) and lin_alex_v0.1.pth (or pip install "
    "--no-deps lpips) into a folder: I4D_LPIPS"
)
# (in, out, kernel, stride, padding) of features.0, .3, .6, .8, .10; a 3x3 pooling of stride 2 stands before
# the second and third
_LAYERS = (
    (3, 64, 11, 4, 2),
    (64, 192, 5, 1, 2),
    (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)
_NAMES = (0, 3, 6, 8, 10)
_SMALLEST = 35  # pixels: less, and nothing is left at the deepest layer


class Lpips(nn.Module):
    """LPIPS with given weights: `trunk` by torchvision's key names, `heads` five tensors (1, channels, 1,
    1).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: dict[str, Tensor], heads: list[Tensor]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, k, s, p) for i, o, k, s, p in _LAYERS)
        for name, convolution in zip(_NAMES, self.convolutions, strict=True):
            convolution.load_state_dict(
                {part: trunk[f"features.{name}.{part}"] for part in ("weight", "bias")}
            )
        for depth, head in enumerate(heads):
            self.register_buffer(f"head{depth}", head.reshape(1, -1, 1, 1).float())
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        x = (2 * images - 1 - self.shift) / self.scale
        for depth, convolution in enumerate(self.convolutions):
            if depth in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            yield x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """Return the distance of each pair, (n,), of images (n, 3, h, w) in [0, 1]. ValueError under 35
        pixels a side.
        """
        if images.shape != references.shape or min(images.shape[-2:]) < _SMALLEST:
            shapes = f"{tuple(images.shape)}, {tuple(references.shape)}"
            raise ValueError(f"lpips: two batches (n, 3, h, w) of {_SMALLEST} pixels or more, not {shapes}")
        total = images.new_zeros(len(images))
        for depth, (a, b) in enumerate(zip(self._features(images), self._features(references), strict=True)):
            total = total + ((a - b).square() * getattr(self, f"head{depth}")).sum(1).mean((1, 2))
        return total


def folders() -> list[Path]:
    """Return where weights are looked for: I4D_LPIPS, the data root's weights/, torch's cache."""
    named = [Path(os.environ["I4D_LPIPS"])] if os.environ.get("I4D_LPIPS") else []
    return [
        *named,
        Path(os.environ.get("I4D_DATA", "data")) / "weights",
        Path(torch.hub.get_dir()) / "checkpoints",
    ]


def lpips_files() -> tuple[Path, Path]:
    """Return the files of the trunk's and the heads' weights on this machine; WeightsError says where was
    looked.
    """
    trunk = _first(TRUNKS, folders())
    packaged = importlib.util.find_spec("lpips")  # not imported: that would need torchvision
    shipped = [Path(packaged.origin).parent / "weights" / "v0.1"] if packaged and packaged.origin else []
    heads = _first(HEADS, [*folders(), *shipped])
    missing = [
        what for what, found in (("trunk " + TRUNKS[0], trunk), ("heads " + HEADS[0], heads)) if found is None
    ]
    if missing or trunk is None or heads is None:
        places = ", ".join(str(folder) for folder in folders())
        raise WeightsError(f"LPIPS: {' and '.join(missing)} not found in {places}", HOW)
    return trunk, heads


def find_lpips(device: torch.device | str = "cpu") -> Lpips:
    """Return LPIPS with the weights found on this machine; nothing is downloaded. WeightsError says where was
    looked.
    """
    trunk, heads = lpips_files()
    state, head_state = _read(trunk), _read(heads)
    try:
        return (
            Lpips(state, [head_state[f"lin{depth}.model.1.weight"] for depth in range(len(_LAYERS))])
            .to(device)
            .eval()
        )
    except (KeyError, RuntimeError) as err:
        raise WeightsError(
            f"{trunk}, {heads}: not the weights of LPIPS ({str(err).splitlines()[0]})", HOW
        ) from None


def _first(names: tuple[str, ...], places: list[Path]) -> Path | None:
    return next((folder / name for folder in places for name in names if (folder / name).is_file()), None)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, BadZipFile, EOFError, ValueError) as err:
        raise WeightsError(
            f"{path}: not a checkpoint that torch can read ({type(err).__name__})", HOW
        ) from None
