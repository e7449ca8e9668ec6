"""A kind of field that i4d has never heard of: coloured voxels that stand still, fitted by autograd."""

import json
import struct

import safetensors.torch
import torch

from i4d.fields.protocol import FieldImage, FitReport, Header
from i4d.geometry.cameras import camera_rays

SIDE, SAMPLES = 16, 24


class Voxels:
    def __init__(self, config, scene, seed, device):
        self.config, self.scene, self.seed, self.kernels = config, scene, seed, "off"
        self.step = self.total_steps = 0
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

    def begin(self, phase, steps):
        self.step, self.total_steps = 0, steps

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

    def exposed(self, rgb, view):
        return rgb

    def corrected(self, camera, view):
        return camera

    def to(self, device):
        self.grid = self.grid.to(device)

    def save(self, light=False):
        about = {"format": Kind.format, "step": self.step, "total": self.total_steps, "light": light}
        return safetensors.torch.save({"grid": self.grid.contiguous()}, {"i4d": json.dumps(about)})

    def load(self, data):
        self.grid = safetensors.torch.load(bytes(data))["grid"]
        self.step, self.total_steps = about(data)["step"], about(data)["total"]

    def summary(self):
        return f"{SIDE} voxels a side"


def about(data):
    (length,) = struct.unpack("<Q", bytes(data[:8]))
    return json.loads(json.loads(bytes(data[8 : 8 + length]))["__metadata__"]["i4d"])


class Kind:
    name, format = "voxels", "toy voxels 1"

    def make(self, config, scene, seed, device="cpu", workers=None, group=None, distance=None):
        return Voxels(config, scene, seed, device)

    def open(self, data, config, scene, device="cpu", workers=None):
        field = Voxels(config, scene, 0, device)
        field.load(data)
        return field

    def peek(self, data):
        return Header("voxels", about(data)["step"], 0, about(data)["light"], "ndc")

    def predicted_bytes(self, config, num_frames, fields=1):
        return 16 * SIDE**3 * fields


KIND = Kind()
