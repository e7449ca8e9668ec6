"""How much fine detail pictures hold, and how much of it is kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def laplacian_energy(images: torch.Tensor) -> float:
    """Return the mean squared 5-point Laplacian of images (n, 3, h, w) in [0, 1], per pixel and channel."""
    kernel = images.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return float(F.conv2d(images.flatten(0, 1)[:, None], kernel).square().mean())


def sharpness_kept(images: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the Laplacian energy of images over that of their reference, both (n, 3, h, w) in [0, 1].

    1: as much detail as the reference; under 1: blurred; over 1: noise or added strokes. Range [0, inf).
    ValueError where the reference has no detail at all.
    """
    energy = laplacian_energy(reference)
    if energy == 0:
        raise ValueError("sharpness_kept: the reference has no detail")
    return laplacian_energy(images) / energy


def gradient_psnr(images: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the PSNR in dB of the forward differences (dx, dy) of images against those of their reference,
    (n, 3, h, w).

    The peak is 1, as for the images themselves. Higher is better; equal gradients give infinity.
    """
    error = 0.0
    count = 0
    for axis in (-1, -2):
        difference = images.double().diff(dim=axis) - reference.double().diff(dim=axis)
        error += float(difference.square().sum())
        count += difference.numel()
    return (
        float("inf")
        if error == 0
        else float(-10 * torch.log10(torch.tensor(error / count, dtype=torch.float64)))
    )
