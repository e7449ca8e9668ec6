"""What a window's frames start from, and how they are averaged afterwards: pixels pulled by flow and carried by depth.

Shapes: frames (frames, 3, height, width), float in [0, 1]; masks bool (frames, 1, height, width); flow (frames, 2, height, width)
in pixels, *pull*. Everything stays in floating point on the device.
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


@dataclass(frozen=True, eq=False)
class Pull:
    """Pixels from elsewhere laid over a window's frames, and where they can be trusted."""

    frames: torch.Tensor
    mask: torch.Tensor


def pull_by_flow(reference: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor, use_mask: bool = True) -> Pull:
    """Return an edited reference (1 or frames, 3, h, w) pulled into each frame.

    `forward` is the flow from the unedited reference to each unedited frame, `backward` from each frame to the reference.
    Trusted where the two agree (`use_mask`), else wherever the pixel looks inside the reference.
    """
    mask = consistency_mask(forward, backward) if use_mask else inside(backward)
    return Pull(warp(reference.expand(len(backward), -1, -1, -1), backward), mask)


def pull_by_depth(
    frames: torch.Tensor, depths: torch.Tensor, cameras: Sequence[Camera],
    own_depths: torch.Tensor, own_cameras: Sequence[Camera], threshold: float,
) -> Pull:  # fmt: skip
    """Return another camera's frames carried into one's own frames of the same instants; a camera may move from frame to frame.

    `depths` and `own_depths` (frames, h', w') are z depths in world units and may be coarser than the frames. Trusted where the
    3D points of both cameras meet within `threshold` (world units).
    """
    height, width = frames.shape[-2:]
    images, masks = [], []
    fine, own_fine = (_at_size(d, height, width) for d in (depths, own_depths))
    for frame, depth, camera, own, own_camera in zip(frames, fine, cameras, own_fine, own_cameras, strict=True):
        image, mask = warp_by_depth(unproject(own, own_camera), frame, depth, camera, threshold)
        images.append(image)
        masks.append(mask)
    return Pull(torch.stack(images), torch.stack(masks))


def _at_size(depths: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return depths at another size; what is mixed across an edge lies on neither surface and fails the match."""
    if depths.shape[-2:] == (height, width):
        return depths
    return F.interpolate(depths[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def merged(current: torch.Tensor, pulls: Sequence[Pull]) -> tuple[torch.Tensor, float]:
    """Return frames made of what was pulled (its average where several are trusted) and of `current` elsewhere, and the pulled share."""
    if not pulls:
        return current, 0.0
    weight = sum(pull.mask.to(current.dtype) for pull in pulls)
    total = sum(torch.where(pull.mask, pull.frames, torch.zeros_like(pull.frames)) for pull in pulls)
    explained = weight > 0
    return torch.where(explained, total / weight.clamp_min(1), current), float(explained.float().mean())


def blended(
    frames: torch.Tensor, reference: torch.Tensor, flows: Mapping[tuple[int, int], tuple[torch.Tensor, torch.Tensor]],
    use_mask: bool = True, detail: float = 0.0,
) -> torch.Tensor:  # fmt: skip
    """Return each frame averaged with its neighbours, pulled into it where flows agree; every frame counts as it came in.

    `flows` has, per pair of `pairs_within`, the flow (2, h, w) from frame i to frame j of the unedited video and the one back; frame -1
    is the edited `reference` (1, 3, h, w), which others see and which is not changed. A frame keeps its own detail finer than
    `detail` (standard deviation of a Gaussian, as a share of the image height): what flow pulls is interpolated and never lies
    exactly right, so averaging fine detail blurs it, and flicker is mostly coarser than that. 0 averages everything.
    """
    total, weight = frames.clone(), torch.ones_like(frames[:, :1])
    for (i, j), (there, back) in flows.items():
        source = reference[0] if i < 0 else frames[i]
        _add(total, weight, j, pull_by_flow(source[None], there[None], back[None], use_mask))
        if i >= 0:
            _add(total, weight, i, pull_by_flow(frames[j : j + 1], back[None], there[None], use_mask))
    average = total / weight
    return average if detail == 0 else frames + smoothed(average - frames, detail * frames.shape[-2])


def smoothed(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return images (frames, channel, h, w) under a Gaussian of `sigma` pixels, cut off at three; the border's pixels go on outside."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    for lines in (kernel, kernel.transpose(-1, -2)):
        pads = [lines.shape[-1] // 2] * 2 + [lines.shape[-2] // 2] * 2
        images = F.conv2d(F.pad(images, pads, mode="replicate"), lines, groups=images.shape[1])
    return images


def _add(total: torch.Tensor, weight: torch.Tensor, index: int, pull: Pull) -> None:
    total[index] += torch.where(pull.mask, pull.frames, torch.zeros_like(pull.frames))[0]
    weight[index] += pull.mask[0].to(weight.dtype)


def adapted(strength: Strength, explained: float, least_steps: int = 1) -> Strength:
    """Return the strength of a window whose warps explain a share of its pixels, in [0, 1].

    What no warp explains starts from the unedited picture, and T alone decides whether it leaves it: T grows from half to all of it at
    2 % unexplained. Steps are finish, and grow in proportion to the unexplained share up to all of them at a quarter.
    """
    unexplained = 1.0 - explained
    steps = min(strength.n, max(least_steps, -int(-strength.n * min(1.0, unexplained / STEPS_WHOLE_AT) // 1)))
    return Strength(max(steps, round(strength.T * (LEAST_T + (1 - LEAST_T) * min(1.0, unexplained / T_WHOLE_AT)))), steps)
