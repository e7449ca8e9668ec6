"""A kind of field that i4d has never heard of: coloured voxels that stand still, fitted by autograd."""

from dataclasses import dataclass

import torch

from i4d.config import FieldConfig
from i4d.config.options import opt
from i4d.fields.base import BaseField, BaseKind, read_plain, write_plain
from i4d.fields.protocol import FieldImage, FitReport, Header, StepWork
from i4d.geometry.cameras import camera_rays

SIDE, SAMPLES = 16, 24


@dataclass
class Options(FieldConfig):
    rays: int = opt(256, "rays per step", low=1)


class Voxels(BaseField):
    def __init__(self, config, scene, seed, device):
        super().__init__(KIND.identity(config))
        self.config, self.scene, self.seed = config, scene, seed
        near, far = scene.bounds.near, min(scene.bounds.far, 4 * scene.bounds.near)
        self.depths = torch.linspace(near, far, SAMPLES)
        ends = [o + d * z for c in scene.cameras for o, d in [camera_rays(c)] for z in (near, far)]
        ends = torch.cat([e.reshape(-1, 3) for e in ends])
        self.low, self.high = ends.min(0).values, ends.max(0).values
        self.grid = torch.zeros(1, 4, SIDE, SIDE, SIDE, device=device)

    def colours(self, origins, directions):
        points = origins[:, None] + self.depths[None, :, None] * directions[:, None]
        points = (points - self.low) / (self.high - self.low) * 2 - 1
        seen = torch.nn.functional.grid_sample(self.grid, points[None, None], align_corners=True)[0, :, 0]
        alpha = 1 - torch.exp(-torch.nn.functional.softplus(seen[3]))
        alpha = torch.cat([alpha[:, :-1], torch.ones_like(alpha[:, :1])], 1)  # the last voxel is a wall
        left = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], 1), 1)
        weights = alpha * left
        middle = (weights.cumsum(1) < 0.5).sum(1).clamp(max=SAMPLES - 1)
        return (weights * seen[:3].sigmoid()).sum(-1).T, self.depths[middle]

    def advance(self, bank, num_steps):
        for _ in range(min(num_steps, self.total_steps - self.step)):
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
            frame = int(torch.randint(self.scene.num_frames, (1,), generator=draw))
            rays = bank.draw(frame, self.config.rays, draw)
            self.grid.requires_grad_(True)
            loss = ((self.colours(rays.origins, rays.directions)[0] - rays.rgb) ** 2).mean()
            (grad,) = torch.autograd.grad(loss, self.grid)
            self.grid = (self.grid - 0.3 * grad.sign() * (grad != 0)).detach()
            self.step += 1
        return FitReport(self.step, self.total_steps, float(-10 * loss.log10()), self.step * self.config.rays)

    @torch.no_grad()
    def image(self, camera, frame):
        origins, directions = camera_rays(camera)
        rgb, depth = self.colours(origins.reshape(-1, 3), directions.reshape(-1, 3))
        size = camera.height, camera.width
        return FieldImage(rgb.view(*size, 3), depth.view(size), torch.ones(size))

    def save(self, light=False):
        return write_plain(Kind.format, {"grid": self.grid}, step=self.step, total=self.total_steps)

    def load(self, data):
        tensors, about = read_plain(data)
        self.grid, self.step, self.total_steps = tensors["grid"], about["step"], about["total"]


class Kind(BaseKind):
    name, format, options = "voxels", "toy voxels 1", Options

    def work(self, config):
        return StepWork(config.rays, "rays", 10_000)

    def make(self, config, scene, seed, device="cpu", workers=None, group=None, distance=None):
        return Voxels(config, scene, seed, device)

    def peek(self, data):
        return Header("voxels", read_plain(data)[1]["step"], 0, False, "ndc")

    def predicted_bytes(self, config, num_frames, fields=1):
        return 16 * SIDE**3 * fields


KIND = Kind()
