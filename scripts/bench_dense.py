"""The dense reference of a fit, for measurements: even intervals along every ray, all of them read, no trick
at all.
"""

from __future__ import annotations

import numpy as np
import torch

from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.render import coarse_map, render_dense, render_rays
from i4d.geometry.cameras import camera_rays
from i4d.types import Camera

EVERY = (
    4  # pixels across and down of the images that are judged: a dense image takes half a minute at full size
)
CHUNK = 1024  # rays


def dense_samples(cells: tuple[int, int, int]) -> int:
    """Return the authors' number of intervals: two to a voxel along the diagonal (462 at the small grid, 2313
    at the large).
    """
    return round(2 * float(np.linalg.norm(np.array(cells) - 1)))


def dense_steps(bank: FrameBank, fitter: Fitter, count: int, samples: int, chunk: int) -> None:
    """Take steps of a fit by the plain reference, in chunks of rays."""
    for _ in range(count):
        frame, pixels = fitter.draw(bank, fitter.step)
        rays = bank.rays(pixels, fitter.device)
        moment = fitter.field.at(frame, grad=True)
        for part in torch.arange(len(rays.rgb), device=fitter.device).split(chunk):
            seen, _ = render_dense(
                moment, fitter.field.space, rays.origins[part], rays.directions[part], samples
            )
            ((seen.rgb - rays.rgb[part]).square().sum() / rays.rgb.numel()).backward(retain_graph=True)
        fitter.update([moment.leaves])
        fitter.step += 1


@torch.no_grad()
def psnr_of_pixels(fitter: Fitter, camera: Camera, truth: dict[int, np.ndarray], samples: int = 0) -> float:
    """Return PSNR in dB of every fourth pixel across and down of some frames (`truth`: by their numbers,
    uint8).

    `samples`: rendered by the dense reference with so many intervals; 0: by the plain twin of the tricks.
    """
    origins, directions = (t[::EVERY, ::EVERY].reshape(-1, 3) for t in camera_rays(camera, fitter.device))
    errors, settings, space = [], fitter.render_settings(), fitter.field.space
    for frame, image in truth.items():
        moment = fitter.field.at(frame)
        cells = coarse_map(moment, fitter.field.cells, settings.map_cells)
        target = (
            torch.from_numpy(np.ascontiguousarray(image[::EVERY, ::EVERY]))
            .to(fitter.device)
            .reshape(-1, 3)
            .float()
            / 255
        )
        for part in torch.arange(len(target), device=fitter.device).split(CHUNK):
            if samples:
                seen, _ = render_dense(moment, space, origins[part], directions[part], samples)
            else:
                seen, _ = render_rays(moment, space, cells, origins[part], directions[part], settings)
            errors.append((seen.rgb.clamp(0, 1) - target[part]).square().mean(1))
    return -10 * torch.cat(errors).mean().log10().item()
