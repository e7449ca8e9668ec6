"""Flow without learning: pyramidal Lucas-Kanade and Horn-Schunck in torch, DIS through OpenCV.

Both torch methods share one coarse-to-fine frame: start at the coarsest level with zero flow, linearise the
brightness constancy around the current flow (warp `b` by it), solve for an update, smooth outliers with a
median, go one level up.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from i4d.flow.warp import inside, warp

LUMA = (0.299, 0.587, 0.114)  # Rec. 601
COARSEST_PX = 16  # shorter side of the coarsest level
DIS_SMALLEST_PX = 16  # OpenCV refuses images below 12 pixels; those are grown by their border


def _grey(image: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor(LUMA, device=image.device)[None, :, None, None]
    return (image.float() * weights).sum(1, keepdim=True)


def _pyramid(image: torch.Tensor) -> list[torch.Tensor]:
    levels = [image]
    while min(levels[-1].shape[-2:]) >= 2 * COARSEST_PX:
        h, w = levels[-1].shape[-2:]
        levels.append(F.interpolate(levels[-1], ((h + 1) // 2, (w + 1) // 2), mode="area"))
    return levels[::-1]


def _resize_flow(flow: torch.Tensor, height: int, width: int) -> torch.Tensor:
    h, w = flow.shape[-2:]
    scale = torch.tensor([width / w, height / h], device=flow.device)[None, :, None, None]
    return F.interpolate(flow, (height, width), mode="bilinear", align_corners=False) * scale


def _gradients(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return central differences along x and y, per pixel, (n, 1, h, w) each."""
    p = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2


def _median(flow: torch.Tensor, size: int = 5) -> torch.Tensor:
    """Return each flow component's median over a size x size neighbourhood (Sun et al., CVPR 2010, sec.
    4).
    """
    r = size // 2
    p = F.pad(flow, (r, r, r, r), mode="replicate")
    h, w = flow.shape[-2:]
    stack = torch.stack([p[..., y : y + h, x : x + w] for y in range(size) for x in range(size)])
    return stack.median(0).values


def _linearise(
    a: torch.Tensor, b: torch.Tensor, flow: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return I_x, I_y, I_t around `flow`; zero where it looks outside the image, so that nothing is pulled
    there.
    """
    moved = warp(b, flow)
    ax, ay = _gradients(a)
    bx, by = _gradients(moved)
    seen = inside(flow).float()
    return (ax + bx) / 2 * seen, (ay + by) / 2 * seen, (moved - a) * seen


Update = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def coarse_to_fine(a: torch.Tensor, b: torch.Tensor, warps: int, update: Update) -> torch.Tensor:
    """Return flow (n, 2, h, w) from `warps` calls of `update(a, b, flow)` on each level of the pyramid."""
    levels = list(zip(_pyramid(_grey(a)), _pyramid(_grey(b)), strict=True))
    flow = levels[0][0].new_zeros(len(a), 2, *levels[0][0].shape[-2:])
    for small_a, small_b in levels:
        if flow.shape[-2:] != small_a.shape[-2:]:
            flow = _resize_flow(flow, *small_a.shape[-2:])
        for _ in range(warps):
            flow = _median(update(small_a, small_b, flow))
    return flow


class _WithoutWeights:
    on_host = False

    def to(self, device: torch.device | str) -> None:
        """Nothing to move: computed where the images are (DIS: on the CPU)."""


class LucasKanade(_WithoutWeights):
    """Pyramidal Lucas-Kanade (1981; Bouguet 2001), dense: motion is constant in a Gaussian window of
    `sigma_px`.
    """

    name = "lucas_kanade"
    identity = "lucas_kanade-1"

    def __init__(self, sigma_px: float = 4.0, warps: int = 5, ridge: float = 1e-4) -> None:
        self.warps, self.ridge = warps, ridge
        radius = int(2.5 * sigma_px)
        taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma_px) ** 2)
        self._taps = taps / taps.sum()

    def _window(self, x: torch.Tensor) -> torch.Tensor:
        taps, r = self._taps.to(x.device), len(self._taps) // 2
        groups = x.shape[1]
        x = F.pad(x, (r, r, r, r), mode="replicate")
        x = F.conv2d(x, taps[None, None, None, :].expand(groups, 1, 1, -1), groups=groups)
        return F.conv2d(x, taps[None, None, :, None].expand(groups, 1, -1, 1), groups=groups)

    def _update(self, a: torch.Tensor, b: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        ix, iy, it = _linearise(a, b, flow)
        sums = self._window(torch.cat([ix * ix, ix * iy, iy * iy, ix * it, iy * it], 1))
        xx, xy, yy, xt, yt = sums.unbind(1)
        xx, yy = xx + self.ridge, yy + self.ridge  # keeps flat regions where they are
        det = xx * yy - xy * xy
        step = torch.stack([(xy * yt - yy * xt) / det, (xy * xt - xx * yt) / det], 1)
        return flow + step.clamp(-2, 2)  # the linearisation holds for a pixel or two

    @torch.inference_mode()
    def estimate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pull flow from `a` to `b`; see FlowEstimator."""
        return coarse_to_fine(a, b, self.warps, self._update)


def _neighbour_mean(flow: torch.Tensor) -> torch.Tensor:
    """Return the mean of the 8 neighbours, weights 1/6 beside and 1/12 across (Horn & Schunck, sec. 8)."""
    p = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    columns = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    ring = columns[..., :-2, :] + 2 * columns[..., 1:-1, :] + columns[..., 2:, :]
    return (ring - 4 * flow) / 12


class HornSchunck(_WithoutWeights):
    """Pyramidal, warping Horn-Schunck (1981): brightness constancy plus `alpha`^2 times the squared flow
    gradient.
    """

    name = "horn_schunck"
    identity = "horn_schunck-1"

    def __init__(self, alpha: float = 0.03, warps: int = 4, iterations: int = 40) -> None:
        self.alpha, self.warps, self.iterations = alpha, warps, iterations

    def _update(self, a: torch.Tensor, b: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        ix, iy, it = _linearise(a, b, flow)
        gradient = torch.cat([ix, iy], 1)
        scale = gradient / (self.alpha**2 + (gradient**2).sum(1, keepdim=True))
        rest = it - (gradient * flow).sum(1, keepdim=True)
        for _ in range(self.iterations):  # Jacobi
            mean = _neighbour_mean(flow)
            flow = mean - scale * ((gradient * mean).sum(1, keepdim=True) + rest)
        return flow

    @torch.inference_mode()
    def estimate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pull flow from `a` to `b`; see FlowEstimator."""
        return coarse_to_fine(a, b, self.warps, self._update)


class DisFlow(_WithoutWeights):
    """Dense inverse search (Kroeger et al., ECCV 2016) through OpenCV; fast, on the CPU, needs no weights."""

    name = "dis"
    identity = "dis-medium-1"
    on_host = True

    def estimate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pull flow from `a` to `b`; see FlowEstimator. OpenCV takes 8-bit grey, so matching sees
        that.
        """
        solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        height, width = a.shape[-2:]
        pad = (0, max(0, DIS_SMALLEST_PX - width), 0, max(0, DIS_SMALLEST_PX - height))
        # on the CPU, wherever the images are: a GPU's sums may round a grey value to its neighbour
        grey = [F.pad(_grey(x.cpu()), pad, mode="replicate")[:, 0] for x in (a, b)]
        eight_bit = [(x * 255).round().clamp(0, 255).to(torch.uint8).numpy() for x in grey]
        pairs = zip(*eight_bit, strict=True)
        found = [solver.calc(p, q, None) for p, q in pairs]  # type: ignore[call-overload]  # None: a new flow
        flows = torch.from_numpy(np.stack(found))
        return flows.permute(0, 3, 1, 2)[..., :height, :width].contiguous().to(a.device)
