"""Pulling images along a flow, and telling where two flows agree.

Shapes: images (batch, channel, height, width), flow (batch, 2, height, width) with channels (dx, dy) in
pixels. Pulling never leaves floating point: bilinear in the values, exact at integer flow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pixel_grid(flow: torch.Tensor) -> torch.Tensor:
    """Return where each pixel of a pull flow looks: (batch, 2, height, width) of (column, row) indices."""
    height, width = flow.shape[-2:]
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    return torch.stack([flow[:, 0] + columns[None, None, :], flow[:, 1] + rows[None, :, None]], 1)


def sample_at(image: torch.Tensor, where: torch.Tensor, *, padding: str = "border") -> torch.Tensor:
    """Return the values of an image at (column, row) indices, bilinearly.

    `image` is (batch, channel, height, width), `where` (batch, 2, rows, columns) in index units: integers are
    pixel centres. Outside, the nearest border value (`padding` "border") or zero ("zeros").
    """
    height, width = image.shape[-2:]
    x = (where[:, 0] + 0.5) * (2.0 / width) - 1.0
    y = (where[:, 1] + 0.5) * (2.0 / height) - 1.0
    grid = torch.stack([x, y], -1).to(image.dtype)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Return `image` pulled along `flow`: out[y, x] = image[y + dy, x + dx]; beyond the border the nearest
    pixel.
    """
    return sample_at(image, pixel_grid(flow))


def inside(flow: torch.Tensor) -> torch.Tensor:
    """Return which pixels look inside the image (half a pixel around the outer centres): bool (batch, 1, h,
    w).
    """
    height, width = flow.shape[-2:]
    where = pixel_grid(flow)
    x, y = where[:, 0:1], where[:, 1:2]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def consistency_mask(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Return where `backward` is confirmed by `forward`: bool (batch, 1, height, width).

    `backward` maps the current frame into the reference, `forward` the reference into the current frame. A
    pixel counts when it looks inside the reference and |b + f_b| < 0.5 (|b| + |f_b|) + 0.5 with f_b =
    `forward` pulled along `backward` (Instruct 4D-to-4D, sliding-window warping).
    """
    pulled = warp(forward, backward)
    norm_b = backward.norm(dim=1, keepdim=True)
    norm_f = pulled.norm(dim=1, keepdim=True)
    gap = (backward + pulled).norm(dim=1, keepdim=True)
    return (gap < 0.5 * (norm_b + norm_f) + 0.5) & inside(backward)
