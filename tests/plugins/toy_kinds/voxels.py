"""A kind of field that i4d has never heard of: coloured voxels that stand still, fitted by autograd."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from i4d.config import FieldConfig, opt
from i4d.fields.base import BaseField, BaseKind
from i4d.fields.description import contents, description, write_plain
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
        self.depths, rays = torch.linspace(near, far, SAMPLES), map(camera_rays, scene.cameras)
        ends = torch.cat([(o + d * z).reshape(-1, 3) for o, d in rays for z in (near, far)])
        self.low, self.scale = ends.min(0).values, 2 / (ends.max(0).values - ends.min(0).values)
        self.grid = torch.zeros(1, 4, SIDE, SIDE, SIDE, device=device)

    def colours(self, origins, directions):
        points = origins[:, None] - self.low + self.depths[None, :, None] * directions[:, None]
        seen = F.grid_sample(self.grid, points[None, None] * self.scale - 1, align_corners=True)[0, :, 0]
        clear = torch.exp(-F.softplus(seen[3, :, :-1]))  # behind the last voxel is a wall
        weights = (1 - F.pad(clear, (0, 1))) * torch.cumprod(F.pad(clear, (1, 0), value=1.0), 1)
        middle = (weights.cumsum(1) < 0.5).sum(1).clamp(max=SAMPLES - 1)
        return (weights * seen[:3].sigmoid()).sum(-1).T, self.depths[middle]

    def advance(self, bank, num_steps):
        for _ in range(min(num_steps, self.total_steps - self.step)):
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
            frame = torch.randint(self.scene.num_frames, (1,), generator=draw)
            rays = bank.draw(int(frame), self.config.rays, draw)
            self.grid.requires_grad_(True)
            loss = F.mse_loss(self.colours(rays.origins, rays.directions)[0], rays.rgb)
            self.grid = (self.grid - 0.3 * torch.autograd.grad(loss, self.grid)[0].sign()).detach()
            self.step += 1
        return FitReport(self.step, self.total_steps, float(-10 * loss.log10()), self.step * self.config.rays)

    def image(self, camera, frame):
        rgb, depth = self.colours(*(part.reshape(-1, 3) for part in camera_rays(camera)))
        depth = depth.view(camera.height, camera.width)
        return FieldImage(rgb.view(*depth.shape, 3), depth, torch.ones_like(depth))

    def save(self, light=False):
        return write_plain(Kind.format, {"grid": self.grid}, step=self.step, total=self.total_steps)

    def load(self, data):
        tensors, about = contents(data)
        self.grid, self.step, self.total_steps = tensors["grid"], about["step"], about["total"]


class Kind(BaseKind):
    name, format, options = "voxels", "toy voxels 1", Options

    def work(self, config):
        return StepWork(config.rays, "rays", 10_000)

    def make(self, config, scene, seed, device="cpu", workers=None, group=None, distance=None):
        return Voxels(config, scene, seed, device)

    def peek(self, data):
        return Header("voxels", description(data)["step"], 0, False, "ndc")

    def predicted_bytes(self, config, num_frames, fields=1):
        return 16 * SIDE**3 * fields


KIND = Kind()
