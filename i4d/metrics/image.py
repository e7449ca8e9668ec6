"""Image metrics: peak signal-to-noise ratio and structural similarity.

A field's reconstruction is one thing wherever it is told (report, console, scripts/bench_scenes.py): its
renders of a camera, clamped and rounded to 8 bits, against that camera's original frames; `image_psnr` and
`image_ssim` of every frame that the camera took, and the mean over images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def image_psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the PSNR in dB of two uint8 images, inside a mask (height, width) where given; at most 100."""
    error = (image.astype(np.float64) - reference) / 255
    error = (error if mask is None else error[mask]) ** 2
    return min(100.0, -10 * math.log10(max(float(error.mean()), 1e-12)))


def image_ssim(image: np.ndarray, reference: np.ndarray, device: torch.device | str = "cpu") -> float | None:
    """Return the structural similarity of two uint8 images (height, width, channel); None where a side is
    shorter than the window.
    """
    if min(image.shape[:2]) < _WINDOW:
        return None
    return ssim(*(torch.from_numpy(np.array(x)).to(device).float() / 255 for x in (image, reference)))


def as_uint8(rgb: Tensor) -> np.ndarray:
    """Return colours (..., 3) as renders are stored: clamped to [0, 1] and rounded to the nearest of 256
    levels.
    """
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def psnr(image: Tensor, reference: Tensor, mask: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio of images (..., channel) in [0, 1]: -10 log10 of the squared
    error, dB.

    Over all pixels of all images given, or those where the boolean `mask` (...) holds. Higher is better;
    equal images give infinity. ValueError if shapes differ or the mask is empty.
    """
    _check(image, reference)
    error = (image.double() - reference.double()).square()
    if mask is not None:
        if not mask.any():
            raise ValueError("psnr: the mask is empty")
        error = error[mask]
    mean = error.mean().item()
    return math.inf if mean == 0 else -10 * math.log10(mean)


def ssim(image: Tensor, reference: Tensor) -> float:
    """Return the mean structural similarity of images ([image,] height, width, channel) in [0, 1].

    Wang et al. 2004: Gaussian window of 11x11 with sigma 1.5, C1 = 0.01^2, C2 = 0.03^2, biased (co)variances,
    per channel, mean over the positions where the window lies wholly inside the image. In [-1, 1]; 1 for
    equal images. ValueError if shapes differ or a side is shorter than 11.
    """
    _check(image, reference)
    x, y = (_planes(t) for t in (image, reference))
    if min(x.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"ssim: images must be at least {_WINDOW} pixels high and wide, got {tuple(image.shape)}"
        )
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return (luminance * structure).mean().item()


def _check(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ValueError(f"images differ in shape: {tuple(image.shape)} and {tuple(reference.shape)}")


def _planes(image: Tensor) -> Tensor:
    """Return every channel of every image as a picture of its own: (n, 1, height, width), float64."""
    batch = image if image.dim() == 4 else image[None]
    return batch.double().permute(0, 3, 1, 2).flatten(0, 1)[:, None]


def _blur(planes: Tensor) -> Tensor:
    """Return planes (n, 1, height, width) under the Gaussian window, valid positions only."""
    offset = torch.arange(_WINDOW, dtype=planes.dtype, device=planes.device) - _WINDOW // 2
    kernel = torch.exp(-(offset**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    return F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
