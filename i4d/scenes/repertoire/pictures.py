"""Whole-image and painterly edits as deterministic functions of a picture.

Every function maps (B, 3, h, w) in [0, 1] to the same. Those of the first group look at one pixel at a time
(fog also blurs a little); the painterly ones look at a neighbourhood of a few pixels, so what they do sticks
to the picture's content, not to the screen: the same surface is painted alike from every camera and at every
moment.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def luma(x: Tensor) -> Tensor:
    """Return (B, 1, h, w): ITU-R BT.601 luma."""
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Return x convolved with a Gaussian of `sigma` pixels, edges replicated."""
    radius = max(1, int(2.5 * sigma + 0.5))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(x.shape[1], 1, -1)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), taps[:, :, None], groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), taps[..., None], groups=x.shape[1])


def saturated(x: Tensor, gain: float) -> Tensor:
    """Return x with its distance from its own grey multiplied by `gain`."""
    grey = luma(x)
    return (grey + gain * (x - grey)).clamp(0, 1)


def edges(x: Tensor, sigma: float) -> Tensor:
    """Return (B, 1, h, w) >= 0: gradient magnitude of the blurred luma, per pixel."""
    y = F.pad(blurred(luma(x), sigma), (1, 1, 1, 1), mode="replicate")
    gx, gy = (y[..., 1:-1, 2:] - y[..., 1:-1, :-2]) / 2, (y[..., 2:, 1:-1] - y[..., :-2, 1:-1]) / 2
    return (gx * gx + gy * gy + 1e-8).sqrt()


def kuwahara(x: Tensor, radius: int) -> Tensor:
    """Return the Kuwahara filter of x, with soft choice: each pixel becomes the mean of those of its four
    quadrants that vary least, which flattens surfaces and keeps their borders, as a loaded brush does."""
    k = radius + 1
    padded = F.pad(torch.cat([x, luma(x) ** 2], 1), (radius, radius, radius, radius), mode="replicate")
    means = F.avg_pool2d(padded, k, 1)
    h, w = x.shape[2:]
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for dy in (0, radius):
        for dx in (0, radius):
            quadrant = means[:, :, dy : dy + h, dx : dx + w]
            variance = (quadrant[:, 3:] - luma(quadrant[:, :3]) ** 2).clamp_min(0)
            weight = 1 / (variance + 2e-4) ** 2
            total, weights = total + weight * quadrant[:, :3], weights + weight
    return total / weights


def _rgb(x: Tensor, *colour: float) -> Tensor:
    return torch.tensor(colour, device=x.device, dtype=x.dtype).view(1, 3, 1, 1)


def _mix(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    return a + share * (b - a)


def sepia(x: Tensor) -> Tensor:
    grey = luma(x)
    return (grey * _rgb(x, 1.08, 0.87, 0.62) + _rgb(x, 0.06, 0.03, 0.0)).clamp(0, 1)


def black_and_white(x: Tensor) -> Tensor:
    return _mix(luma(x), torch.sigmoid(7 * (luma(x) - 0.48)), 0.5).expand_as(x)


def night(x: Tensor) -> Tensor:
    return (_mix(luma(x), x, 0.5) * _rgb(x, 0.24, 0.32, 0.55) + _rgb(x, 0.0, 0.01, 0.05)).clamp(0, 1)


def sunset(x: Tensor) -> Tensor:
    tone = _mix(_rgb(x, 0.24, 0.06, 0.22), _rgb(x, 1.0, 0.74, 0.40), luma(x))
    return _mix(x, tone, 0.65).clamp(0, 1)


def snow(x: Tensor) -> Tensor:
    grey = luma(x)
    cold = _mix(grey, x, 0.35) * _rgb(x, 0.90, 0.97, 1.08)
    return _mix(cold, _rgb(x, 0.94, 0.97, 1.0).expand_as(x), 0.85 * torch.sigmoid(9 * (grey - 0.36))).clamp(
        0, 1
    )


def fog(x: Tensor) -> Tensor:
    return _mix(_mix(x, blurred(x, 1.5), 0.6), _rgb(x, 0.78, 0.80, 0.83), 0.62)


def autumn(x: Tensor) -> Tensor:
    r, g, b = x.split(1, 1)
    return torch.cat(
        [0.80 * r + 0.35 * g + 0.08 * b, 0.20 * r + 0.48 * g, 0.04 * r + 0.08 * g + 0.28 * b], 1
    ).clamp(0, 1)


def van_gogh(x: Tensor) -> Tensor:
    """Flat strokes in blues and yellows; bands of light and dark paint run along the lines of equal
    brightness, so they circle lights and follow forms as in the Starry Night."""
    paint = saturated(kuwahara(x, 2), 1.5)
    grey = blurred(luma(x), 1.2)
    dusk = _mix(_rgb(x, 0.05, 0.12, 0.45), _rgb(x, 0.22, 0.50, 0.80), torch.sigmoid(9 * (grey - 0.27)))
    palette = _mix(dusk, _rgb(x, 1.0, 0.86, 0.30), torch.sigmoid(12 * (grey - 0.58)))
    bands = torch.sin(2 * torch.pi * 7 * grey) * (1 - torch.exp(-(edges(x, 1.2) / 0.006)))
    return (_mix(paint, palette, 0.55) * (1 + 0.20 * bands) - 0.8 * edges(x, 0.8)).clamp(0, 1)


def watercolour(x: Tensor) -> Tensor:
    wash = saturated(kuwahara(x, 3), 1.35)
    return (1 - (1 - wash) * 0.68 - 1.1 * edges(kuwahara(x, 2), 0.8)).clamp(0, 1)


def pencil_sketch(x: Tensor) -> Tensor:
    grey = luma(x)
    tone = _mix(torch.ones_like(grey), blurred(grey, 1.0), 0.28)
    return (tone - 5.0 * edges(x, 0.7)).clamp(0.08, 1).expand_as(x)


def cartoon(x: Tensor) -> Tensor:
    flat = saturated(kuwahara(x, 3), 1.6)
    grey = luma(flat)
    level = 5 * grey
    step = torch.floor(level) + torch.sigmoid(14 * (level - torch.floor(level) - 0.5))
    ink = torch.sigmoid(90 * (edges(x, 0.9) - 0.055))
    return (flat * ((step / 5 + 0.04) / (grey + 0.04))).clamp(0, 1) * (1 - 0.9 * ink)


WHOLE = {f.__name__: f for f in (sepia, black_and_white, night, sunset, snow, fog, autumn)}
PAINTERLY = {f.__name__: f for f in (van_gogh, watercolour, pencil_sketch, cartoon)}
PICTURES = WHOLE | PAINTERLY
