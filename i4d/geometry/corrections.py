"""Small corrections of calibrated cameras: how they move a camera, and where its picture of a point goes.

A correction is seven numbers: a rotation vector (3, radians), a translation (3, world units), both in the
axes of the camera as it was given, and the logarithm of a factor on both focal lengths. A point at Y in the
given camera's axes is seen at K diag(e^s, e^s, 1) exp(-[r]) (Y - t); principal points stay. A camera that
moves has one correction for its whole path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from i4d.types import Camera

UNKNOWNS = 7


def rotation(vector: Tensor) -> Tensor:
    """Return the matrix (3, 3) of a rotation vector (3,) in radians."""
    return torch.linalg.matrix_exp(crossed(vector))


def crossed(vectors: Tensor) -> Tensor:
    """Return the matrices (..., 3, 3) that take the cross product of vectors (..., 3) with what follows."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def corrected(camera: Camera, correction: Tensor) -> Camera:
    """Return a camera, of any picture size, with its correction (7,) applied."""
    values = correction.detach().double().cpu()
    if not values.any():
        return camera
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation(values[:3]).numpy(), values[3:6].numpy()
    K = camera.K.copy()
    K[:2, :2] *= float(values[6].exp())
    path = None if camera.path is None else camera.path @ move
    return replace(camera, K=K, world_from_camera=camera.world_from_camera @ move, path=path)


def image_points(points: Tensor, K: Tensor, correction: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a corrected camera sees points (point, 3), given in the axes of the camera as it was given
    and in front of it: pixels (point, 2), and their derivatives (point, 2, 7) by the correction (7,).

    The derivative by the rotation vector goes through the right Jacobian of the exponential map to first
    order, I - [r] / 2: of corrections of a degree that leaves an error below 0.01 %.
    """
    turn, scale = rotation(correction[:3]), correction[6].exp()
    seen = (points - correction[3:6]) @ turn  # rows times the matrix: its transpose turns the points
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    by_turn = crossed(seen) @ (eye - crossed(correction[:3]) / 2)
    moved = torch.cat([by_turn, -turn.T.expand(len(points), 3, 3)], -1)
    flat = K[:2, :2] * scale
    slopes = seen[:, :2] / seen[:, 2:]
    shift = slopes @ flat.T
    by_point = torch.cat([flat.expand(len(points), 2, 2), -shift[..., None]], -1) / seen[:, 2:, None]
    return shift + K[:2, 2], torch.cat([by_point @ moved, shift[..., None]], -1)


def without_common(corrections: Tensor, cameras: Sequence[Camera], spread: Tensor) -> Tensor:
    """Return corrections (camera, 7) less what they have in common, which says nothing about a rig: the
    motion and scaling of the whole world, and the mean of the logarithms of the focal factors.

    The common motion is the one that explains rotations and translations best, by least squares in units of
    `spread` (7,), the standard deviations they are expected to have.
    """
    axes = torch.tensor(np.stack([c.world_from_camera[:3, :3] for c in cameras])).to(corrections)
    centres = torch.tensor(np.stack([c.centre for c in cameras])).to(corrections)
    away = centres - centres.mean(0)
    none = torch.zeros_like(axes)
    # of a world turned by w about the cameras' middle, moved by u and scaled by 1 + s, camera by camera
    turned = torch.cat([axes.mT, none, none[..., :1]], -1)
    shifted = torch.cat([-axes.mT @ crossed(away), axes.mT, axes.mT @ away[..., None]], -1)
    design = torch.cat([turned / spread[0], shifted / spread[3]], 1).flatten(0, 1)
    given = torch.cat([corrections[:, :3] / spread[0], corrections[:, 3:6] / spread[3]], 1).flatten()
    common = torch.linalg.lstsq(design.cpu(), given.cpu(), driver="gelsd").solution.to(corrections)
    rest = (given - design @ common).view(-1, 6)
    focal = corrections[:, 6:] - corrections[:, 6:].mean()
    return torch.cat([rest[:, :3] * spread[0], rest[:, 3:] * spread[3], focal], 1)
