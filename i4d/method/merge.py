"""What a window's frames start from, and how they are averaged afterwards: pixels pulled by flow and carried
by depth.

Shapes: frames (frames, 3, height, width), float in [0, 1]; masks bool (frames, 1, height, width); flow
(frames, 2, height, width) in pixels, *pull*. Everything stays in floating point on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i4d.flow.warp import consistency_mask, inside, warp
from i4d.geometry.cameras import unproject
from i4d.geometry.warps import warp_by_depth
from i4d.types import Camera, Strength

STEPS_WHOLE_AT = 0.25  # unexplained share of a window from which on an adaptive repaint has all of its steps
T_WHOLE_AT = 0.02  # likewise all of its T: no average over pixels helps those that start unedited
LEAST_T = 0.5  # share of T that an adaptive repaint has where everything is explained
SLOPE_EPS = 1e-4  # variance of luma, of [0, 1], below which a surface counts as flat

FlowPair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Warp:
    """Pixels from elsewhere laid over a window's frames, and where they can be trusted."""

    frames: torch.Tensor
    mask: torch.Tensor


def warp_by_flow(
    reference: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor, use_mask: bool = True
) -> Warp:
    """Return an edited reference (1 or frames, 3, h, w) pulled into each frame.

    `forward` is the flow from the unedited reference to each unedited frame, `backward` from each frame to
    the reference. Trusted where the two agree (`use_mask`), else wherever the pixel looks inside the
    reference.
    """
    mask = consistency_mask(forward, backward) if use_mask else inside(backward)
    return Warp(warp(reference.expand(len(backward), -1, -1, -1), backward), mask)


def warp_from_view(
    frames: torch.Tensor,
    depths: torch.Tensor,
    cameras: Sequence[Camera],
    own_depths: torch.Tensor,
    own_cameras: Sequence[Camera],
    threshold: float,
) -> Warp:
    """Return another camera's frames carried into one's own frames of the same instants; a camera may move
    from frame to frame.

    `depths` and `own_depths` (frames, h', w') are z depths in world units and may be coarser than the frames.
    Trusted where the 3D points of both cameras meet within `threshold` (world units).
    """
    height, width = frames.shape[-2:]
    images, masks = [], []
    fine, own_fine = (_at_size(d, height, width) for d in (depths, own_depths))
    for frame, depth, camera, own, own_camera in zip(
        frames, fine, cameras, own_fine, own_cameras, strict=True
    ):
        image, mask = warp_by_depth(unproject(own, own_camera), frame, depth, camera, threshold)
        images.append(image)
        masks.append(mask)
    return Warp(torch.stack(images), torch.stack(masks))


def _at_size(depths: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return depths at another size; what is mixed across an edge lies on neither surface and fails the
    match.
    """
    if depths.shape[-2:] == (height, width):
        return depths
    return F.interpolate(depths[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def merged(current: torch.Tensor, warps: Sequence[Warp]) -> tuple[torch.Tensor, float]:
    """Return frames made of what was pulled (its average where several are trusted) and of `current`
    elsewhere, and the pulled share.
    """
    if not warps:
        return current, 0.0
    masks = [pulled.mask.to(current.dtype) for pulled in warps]
    images = [torch.where(pulled.mask, pulled.frames, torch.zeros_like(pulled.frames)) for pulled in warps]
    weight, total = sum(masks[1:], masks[0]), sum(images[1:], images[0])
    explained = weight > 0
    return torch.where(explained, total / weight.clamp_min(1), current), float(explained.float().mean())


def blended(
    frames: torch.Tensor,
    reference: torch.Tensor,
    originals: torch.Tensor,
    flows: Mapping[tuple[int, int], FlowPair],
    use_mask: bool = True,
    sigma: float = 0.0,
    detail: bool = False,
) -> torch.Tensor:
    """Return each frame averaged with its neighbours, pulled into it where flows agree; every frame counts as
    it came in.

    `flows` has, per pair of `pairs_within`, the flow (2, h, w) from frame i to frame j of the unedited video
    and the one back; frame -1 is the edited `reference` (1, 3, h, w), which others see and which is not
    changed. `originals` (1 + frames, 3, h, w) are the unedited frames, the reference's first.

    `sigma`: a neighbour's pixel weighs as much as its *original*, pulled along the same flow, resembles the
    original that it is laid over (`resemblance`): the range weight of a joint bilateral filter (Petschnigg et
    al., SIGGRAPH 2004; Eisemann and Durand 2004) between frames. What flow has missed shows there, whatever
    the edit looks like. 0: every pixel where the flows agree weighs 1. `detail`: what the two originals still
    differ by (light that changed, detail that interpolation took away) is added as the edit would render it,
    by its local slope over the original's luma (`slope_over_luma`, after the guided filter of He et al., ECCV
    2010).
    """
    edited = torch.cat([reference, frames])
    slopes = slope_over_luma(edited, originals) if detail else originals[:, :0]
    sources = torch.cat([edited, originals, slopes], 1)
    total, weight = frames.clone(), torch.ones_like(frames[:, :1])
    for (i, j), (there, back) in flows.items():
        for into, source, forward, backward in ((j, i, there, back), (i, j, back, there)):
            if into < 0:
                continue
            pulled = warp_by_flow(sources[source + 1 : source + 2], forward[None], backward[None], use_mask)
            pixels, unedited, slope = pulled.frames[:, :3], pulled.frames[:, 3:6], pulled.frames[:, 6:]
            original, share = originals[into + 1 : into + 2], pulled.mask.to(frames.dtype)
            if sigma:
                share = share * resemblance(unedited, original, sigma)
            if detail:
                pixels = pixels + slope * luma(original - unedited)
            total[into] += (share * pixels)[0]
            weight[into] += share[0]
    return total / weight


def luma(images: torch.Tensor) -> torch.Tensor:
    """Return (n, 1, h, w): ITU-R BT.601 luma of images (n, 3, h, w)."""
    return images[:, :1] * 0.299 + images[:, 1:2] * 0.587 + images[:, 2:3] * 0.114


def slope_over_luma(edited: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Return by how much each channel of edited (n, 3, h, w) grows with the luma of its original: least
    squares over squares of 5 pixels, drawn to zero where the original is flat (a of the guided filter, He et
    al., eq. 5; eps 1e-4).
    """
    bright = luma(originals)
    mean, mean_bright = mean_around(edited), mean_around(bright)
    together = mean_around(edited * bright) - mean * mean_bright
    return together / (mean_around(bright * bright) - mean_bright.square() + SLOPE_EPS)


def mean_around(images: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Return the mean of every pixel's square of 2 radius + 1 pixels; the border's pixels go on outside."""
    return F.avg_pool2d(F.pad(images, (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1)


def resemblance(pulled: torch.Tensor, original: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return exp(-d / (2 sigma^2)), (n, 1, h, w) in (0, 1], where d is the mean squared difference of two
    pictures (n, 3, h, w) over the channels and a square of 3 pixels: noise of a camera is averaged, a line
    that lies beside itself is not.
    """
    return torch.exp(mean_around((pulled - original).square().mean(1, keepdim=True), 1) / (-2 * sigma**2))


def adapted(strength: Strength, explained: float, least_steps: int = 1) -> Strength:
    """Return the strength of a window whose warps explain a share of its pixels, in [0, 1].

    What no warp explains starts from the unedited picture, and T alone decides whether it leaves it: T grows
    from half to all of it at 2 % unexplained. Steps are finish, and grow in proportion to the unexplained
    share up to all of them at a quarter.
    """
    unexplained = 1.0 - explained
    steps = min(strength.n, max(least_steps, -int(-strength.n * min(1.0, unexplained / STEPS_WHOLE_AT) // 1)))
    return Strength(
        max(steps, round(strength.T * (LEAST_T + (1 - LEAST_T) * min(1.0, unexplained / T_WHOLE_AT)))), steps
    )
