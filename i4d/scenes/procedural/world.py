"""What a procedural world is made of: solids with affine motion, materials, a room and a light. All batched
over images.

World axes are OpenCV's of the middle camera: x right, y down, z forward; lengths are in no particular unit,
the middle camera sits at the origin and the room ends at about z = 6. `B` is the number of images, `K` of
solids.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("ball", "box", "cone", "pillar")  # one of each at most, so that a name means one thing
PLAIN, WOOD, STRIPES, CHECKS, MARBLE = range(5)
FIRST_SOLID_ID = 6  # ids 0..5 are the room's faces (-x +x -y +y -z +z)


@dataclass
class Material:
    """Surface colours, each (B, N, 3) in [0, 1]; `pattern` (B, N) int; `scale` (B, N) repeats per unit;
    `metal` (B, N) in [0, 1].
    """

    first: Tensor
    second: Tensor
    pattern: Tensor
    scale: Tensor
    metal: Tensor

    def replaced(self, index: int, other: Material) -> Material:
        """Return a copy whose entry `index` is the single entry of `other`."""
        out = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name).clone()
            value[:, index] = getattr(other, f.name)[:, 0].to(value)
            out[f.name] = value
        return Material(**out)


@dataclass
class World:
    """One world per image: `local_from_world` (B, K, 3, 4), `present` (B, K) bool, room corners and light (B,
    3).
    """

    local_from_world: Tensor
    present: Tensor
    solids: Material  # (B, K)
    room_low: Tensor
    room_high: Tensor
    walls: Material  # (B, 6)
    light: Tensor
    ambient: Tensor  # (B, 3) in [0, 1]
    diffuse: Tensor  # (B, 3) in [0, 1]


def affine(centre: Tensor, size: Tensor, turn: Tensor, shear: Tensor) -> Tensor:
    """Return local_from_world (..., 3, 4) of a solid of half-extents `size` (..., 3) at `centre` (..., 3),
    turned by `turn` (...) radians about the vertical and leaning by `shear` (..., 2) (x and z shift per unit
    of height).
    """
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    rotate = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).unflatten(-1, (3, 3))
    lean = torch.stack([one, shear[..., 0], zero, zero, one, zero, zero, shear[..., 1], one], -1).unflatten(
        -1, (3, 3)
    )
    world_from_local = lean @ rotate @ torch.diag_embed(size)
    inverse = torch.linalg.inv(world_from_local)
    return torch.cat([inverse, -(inverse @ centre[..., None])], -1)


def material(
    colour: Tensor, second: Tensor | None = None, pattern: int = PLAIN, scale: float = 1.0, metal: float = 0.0
) -> Material:
    """Return a material of one entry per image from colours (B, 3)."""
    B = colour.shape[0]
    full = lambda value, kind: torch.full((B, 1), value, dtype=kind, device=colour.device)
    second = colour if second is None else second
    return Material(
        colour[:, None],
        second[:, None],
        full(pattern, torch.long),
        full(scale, torch.float32),
        full(metal, torch.float32),
    )


def _joined(parts: list[Material]) -> Material:
    return Material(
        *(torch.cat([getattr(p, f.name) for p in parts], 1) for f in dataclasses.fields(Material))
    )


def demo_world(time: Tensor) -> World:
    """Return the demo scene at times (B,) in [0, 1]: a bouncing ball that squashes, a turning box that
    travels, a swaying cone, and a striped pillar that turns and stretches, in a textured room with one
    light.
    """
    B, dev = time.shape[0], time.device
    rgb = lambda *c: torch.tensor(c, device=dev).expand(B, 3)
    col = lambda *c: torch.stack([x if torch.is_tensor(x) else torch.full_like(time, x) for x in c], -1)
    swing = 2 * math.pi * time
    hop = 0.5 - 0.5 * (swing + 0.9).cos()
    squash = 1 + 0.16 * (1 - 2 * (1 - hop) ** 3)
    floor, r = 1.15, 0.42
    solids = [
        affine(
            col(-0.95 + 0.5 * time, floor - r * squash - 0.6 * hop, 3.15),
            col(r / squash.sqrt(), r * squash, r / squash.sqrt()),
            0.35 * swing,
            col(0.0, 0.0),
        ),
        affine(
            col(1.05 + 0.12 * swing.sin(), floor - 0.45, 4.0 - 0.3 * time),
            col(0.45, 0.45, 0.45),
            0.5 + 1.0 * time,
            col(0.0, 0.0),
        ),
        affine(
            col(0.12, floor - 0.6, 4.7), col(0.5, 0.6, 0.5), 0.3 * swing, col(0.32 * (swing + 0.6).sin(), 0.0)
        ),
        affine(
            col(-1.45, floor - 0.75 - 0.1 * swing.sin(), 4.75),
            col(0.34, 0.75 + 0.1 * swing.sin(), 0.34),
            1.4 * time,
            col(0.0, 0.0),
        ),
    ]
    coats = [
        material(rgb(0.82, 0.24, 0.20), rgb(0.93, 0.62, 0.55), CHECKS, 1.6),
        material(rgb(0.22, 0.55, 0.62), rgb(0.36, 0.70, 0.74), CHECKS, 1.0),
        material(rgb(0.88, 0.70, 0.22)),
        material(rgb(0.30, 0.36, 0.66), rgb(0.62, 0.66, 0.86), STRIPES, 1.0),
    ]
    walls = [
        material(rgb(0.62, 0.50, 0.42), rgb(0.52, 0.40, 0.33), STRIPES, 1.1),
        material(rgb(0.50, 0.60, 0.50), rgb(0.42, 0.52, 0.43), CHECKS, 0.7),
        material(rgb(0.86, 0.85, 0.82)),
        material(rgb(0.66, 0.52, 0.38), rgb(0.50, 0.37, 0.26), CHECKS, 0.8),
        material(rgb(0.5, 0.5, 0.5)),
        material(rgb(0.70, 0.66, 0.56), rgb(0.52, 0.56, 0.60), CHECKS, 0.6),
    ]
    return World(
        torch.stack(solids, 1),
        torch.ones(B, 4, dtype=torch.bool, device=dev),
        _joined(coats),
        rgb(-2.9, -1.7, -3.0),
        rgb(2.9, floor, 6.2),
        _joined(walls),
        rgb(0.9, -1.5, 1.6),
        rgb(0.40, 0.40, 0.43),
        rgb(0.72, 0.70, 0.65),
    )


def hsv(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """Return RGB (..., 3) of hue, saturation, value in [0, 1]."""
    k = (torch.tensor([5.0, 3.0, 1.0], device=h.device) + 6 * h[..., None]) % 6
    return v[..., None] * (1 - s[..., None] * torch.minimum(k, 4 - k).clamp(0, 1))


def random_worlds(B: int, generator: torch.Generator) -> World:
    """Return B unrelated worlds for training: other rooms, colours, places, sizes, poses and lights than the
    demo's. Each solid is present with probability 0.8. `generator` decides everything; its device is where
    tensors lie.
    """
    dev = generator.device
    u = lambda *shape, low=0.0, high=1.0: (
        low + (high - low) * torch.rand(B, *shape, generator=generator, device=dev)
    )
    pick = lambda high, *shape: torch.randint(0, high, (B, *shape), generator=generator, device=dev)
    K = len(KINDS)
    floor = u(low=0.9, high=1.3)
    size = u(K, 3, low=0.32, high=0.62)
    size[:, 0] = size[:, 0, :1] * u(3, low=0.85, high=1.15)
    size[:, 3, 1] = size[:, 3, 1] * 1.4
    slots = torch.rand(B, K, generator=generator, device=dev).argsort(
        -1
    )  # which of four places along x each solid takes
    x = -1.5 + slots + u(K, low=-0.25, high=0.25)
    z = 3.0 + u(K, low=0.0, high=2.2)
    y = floor[:, None] - size[..., 1] - torch.where(u(K) < 0.3, u(K, low=0.0, high=0.9), 0.0)
    places = affine(
        torch.stack([x * z / 4.0, y, z], -1), size, u(K, low=0.0, high=6.28), u(K, 2, low=-0.25, high=0.25)
    )
    first = hsv(u(K), u(K, low=0.05, high=0.95), u(K, low=0.3, high=0.95))
    fade = u(K, 1, low=0.3, high=0.8)
    solids = Material(
        first,
        first * fade + (1 - fade) * u(K, 3),
        torch.where(u(K) < 0.45, 0, pick(5, K)),
        u(K, low=0.6, high=1.8),
        torch.zeros(B, K, device=dev),
    )
    base = hsv(u(6), u(6, low=0.0, high=0.5), u(6, low=0.35, high=0.9))
    walls = Material(
        base,
        (base * u(6, 1, low=0.65, high=1.2)).clamp(0, 1),
        torch.where(u(6) < 0.35, 0, pick(5, 6)),
        u(6, low=0.35, high=1.1),
        torch.zeros(B, 6, device=dev),
    )
    low = torch.stack([u(low=-3.6, high=-2.4), u(low=-2.2, high=-1.4), torch.full_like(floor, -3.0)], -1)
    high = torch.stack([u(low=2.4, high=3.6), floor, u(low=5.4, high=7.5)], -1)
    light = torch.stack([u(low=-1.8, high=1.8), u(low=-1.3, high=-1.0), u(low=0.5, high=2.8)], -1)
    strength = u(1, low=0.55, high=0.85)
    tint = 1 - 0.15 * u(3)
    return World(
        places, u(K) < 0.8, solids, low, high, walls, light, (1.12 - strength) * tint * 0.8, strength * tint
    )
