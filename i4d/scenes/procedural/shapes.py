"""Intersections of rays with unit solids, batched; and the inside of a room.

Rays are given in the solid's own (affine) coordinates with *unnormalised* directions, so the ray parameter t
is the same in every frame of reference: a solid that moves, turns and deforms is only another matrix. y
points down; solids fill [-1, 1]^3. Every function takes origins and directions (3, ...) and returns the first
t > `EPS` (inf where the ray misses) and the outward normal (3, ...) there in the same coordinates, not
normalised. Components come first: the arithmetic then runs over contiguous memory, which is twice as fast on
a CPU as (..., 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-4
INF = float("inf")


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the scalar product over the leading axis of 3."""
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def normalized(a: Tensor) -> Tensor:
    """Return a / |a| over the leading axis of 3."""
    return a * dot(a, a).clamp_min(1e-20).rsqrt()


def _safe(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-9, 1e-9, x)


def _nearest(a: tuple[Tensor, Tensor], t: Tensor, valid: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearer of hit `a` and the candidate (t, normal), where that is valid and in front."""
    nearer = valid & (t > EPS) & (t < a[0])
    return torch.where(nearer, t, a[0]), torch.where(nearer, normal, a[1])


def ball(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The unit sphere."""
    a, b, c = dot(d, d), dot(o, d), dot(o, o) - 1
    disc = b * b - a * c
    root = disc.clamp_min(0).sqrt()
    near = (-b - root) / a
    t = torch.where(near > EPS, near, (-b + root) / a)
    t = torch.where((disc > 0) & (t > EPS), t, INF)
    return t, o + torch.where(t < INF, t, 0) * d


def box(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The cube [-1, 1]^3, by slabs."""
    inverse = 1 / _safe(d)
    t0, t1 = (-1 - o) * inverse, (1 - o) * inverse
    low, high = torch.minimum(t0, t1), torch.maximum(t0, t1)
    near = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    far = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    t = torch.where((near < far) & (near > EPS), near, INF)
    return t, torch.where(low == near, -torch.sign(d), 0.0)


def _disc(hit: tuple[Tensor, Tensor], o: Tensor, d: Tensor, y: float) -> tuple[Tensor, Tensor]:
    """A horizontal unit disc at height y, facing away from the origin."""
    t = (y - o[1]) / _safe(d[1])
    x, z = o[0] + t * d[0], o[2] + t * d[2]
    normal = torch.tensor([0.0, 1.0 if y > 0 else -1.0, 0.0], device=d.device).view(3, *[1] * (d.dim() - 1))
    return _nearest(hit, t, x * x + z * z <= 1, normal)


def _swept(o: Tensor, d: Tensor, m: float, slope: float) -> tuple[Tensor, Tensor]:
    """Nearest crossing of x^2 + z^2 = (m + slope*y)^2 between y = -1 and y = 1: cylinder (1, 0), cone (1/2,
    1/2).
    """
    radius_o, radius_d = m + slope * o[1], slope * d[1]
    a = d[0] ** 2 + d[2] ** 2 - radius_d**2
    b = o[0] * d[0] + o[2] * d[2] - radius_o * radius_d
    disc = b * b - a * (o[0] ** 2 + o[2] ** 2 - radius_o**2)
    root, inverse = disc.clamp_min(0).sqrt(), 1 / _safe(a)
    best = torch.full_like(a, INF)
    for t in ((-b - root) * inverse, (-b + root) * inverse):
        on_side = (disc > 0) & ((o[1] + t * d[1]).abs() <= 1)
        best = torch.where(on_side & (t > EPS) & (t < best), t, best)
    p = o + torch.where(best < INF, best, 0) * d
    return best, torch.stack([p[0], -slope * (m + slope * p[1]), p[2]])


def pillar(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The upright cylinder of radius 1 and height 2, closed at both ends."""
    return _disc(_disc(_swept(o, d, 1.0, 0.0), o, d, -1.0), o, d, 1.0)


def cone(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """The upright cone: tip at y = -1 (up), base of radius 1 at y = 1."""
    return _disc(_swept(o, d, 0.5, 0.5), o, d, 1.0)


SOLIDS = {"ball": ball, "box": box, "cone": cone, "pillar": pillar}


def room(o: Tensor, d: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inside of the box low..high (3, ...): exit t, inward normal, and face 0..5 (-x +x -y +y -z +z)."""
    inverse = 1 / _safe(d)
    exits = torch.maximum((low - o) * inverse, (high - o) * inverse)
    t = torch.minimum(torch.minimum(exits[0], exits[1]), exits[2])
    normal = torch.where(exits == t, -torch.sign(d), 0.0)
    axis = torch.where(exits[0] == t, 0, torch.where(exits[1] == t, 1, 2))
    positive = torch.where(axis == 0, d[0], torch.where(axis == 1, d[1], d[2])) > 0
    return t, normal, axis * 2 + positive
