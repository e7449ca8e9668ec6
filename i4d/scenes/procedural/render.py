"""A small batched ray caster: primary rays, hard shadows, deferred shading, so that re-rendering an edit
costs only shading.

Colour is display-referred: what is computed is what is stored, in [0, 1]. Anti-aliasing averages `samples`^2
rays a pixel; depth, flow and ids come from the ray through the pixel's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i4d.geometry.cameras import rays_through
from i4d.scenes.procedural.shapes import INF, SOLIDS, dot, normalized, room
from i4d.scenes.procedural.world import CHECKS, FIRST_SOLID_ID, KINDS, MARBLE, STRIPES, WOOD, Material, World


@dataclass
class Hits:
    """First hits of B x P rays: `t` (B, P), `id` (B, P), world `point` and unit `normal` (3, B, P), `local`
    (3, B, P) pattern coordinates, `lit` (B, P) bool, unit view direction `view` (3, B, P)."""

    t: Tensor
    id: Tensor
    point: Tensor
    normal: Tensor
    local: Tensor
    lit: Tensor
    view: Tensor


def _turned(matrix: Tensor, v: Tensor, transposed: bool = False) -> Tensor:
    """Return the (B, 3, 3) part of `matrix` (or its transpose) times vectors (3, B, P)."""
    m = matrix[:, :, :3].transpose(1, 2) if transposed else matrix[:, :, :3]
    rows = [
        torch.addcmul(torch.addcmul(m[:, i, 0, None] * v[0], m[:, i, 1, None], v[1]), m[:, i, 2, None], v[2])
        for i in range(3)
    ]
    return torch.stack(rows)


def _to_local(matrix: Tensor, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    return _turned(matrix, o) + matrix[:, :, 3].T[:, :, None], _turned(matrix, d)


def trace(world: World, o: Tensor, d: Tensor) -> Hits:
    """Return the first hits of rays (3, B, P)."""
    t, normal, ident = room(o, d, world.room_low.T[..., None], world.room_high.T[..., None])
    local = o + t * d
    for k, kind in enumerate(KINDS):
        matrix = world.local_from_world[:, k]
        ol, dl = _to_local(matrix, o, d)
        tk, nk = SOLIDS[kind](ol, dl)
        nearer = (tk < t) & world.present[:, k, None]
        t = torch.where(nearer, tk, t)
        ident = torch.where(nearer, FIRST_SOLID_ID + k, ident)
        normal = torch.where(
            nearer, _turned(matrix, nk, transposed=True), normal
        )  # normals go by the inverse transpose
        local = torch.where(nearer, torch.addcmul(ol, torch.where(nearer, tk, 0), dl), local)
    point, normal = o + t * d, normalized(normal)
    return Hits(t, ident, point, normal, local, _is_lit(world, point + 1e-3 * normal), normalized(d))


def _is_lit(world: World, point: Tensor) -> Tensor:
    """Return whether nothing stands between points (3, B, P) and the light."""
    to_light = world.light.T[..., None] - point
    lit = torch.ones(point.shape[1:], dtype=torch.bool, device=point.device)
    for k, kind in enumerate(KINDS):
        t, _ = SOLIDS[kind](*_to_local(world.local_from_world[:, k], point, to_light))
        lit &= ~((t < 1) & world.present[:, k, None])
    return lit


def _soft(s: Tensor) -> Tensor:
    return torch.sigmoid(6 * s)


def _pattern(local: Tensor, pattern: Tensor, scale: Tensor) -> Tensor:
    """Return the share (B, P) of the second colour. Edges are soft (a few percent of a period), so that a
    pattern holds no more detail than a camera resolves."""
    x, y, z = local * scale
    tau = 2 * torch.pi
    out = torch.zeros_like(x)
    makers = {
        WOOD: lambda: (
            0.5 + 0.5 * (tau * (3 * (x * x + 0.6 * z * z + 1e-6).sqrt() + 0.25 * (2.2 * y).sin())).sin()
        ),
        STRIPES: lambda: _soft((tau * (x + 0.5 * z)).sin()),
        CHECKS: lambda: _soft(
            2 * (tau * x).sin() * (tau * y).sin() + (tau * z).sin() * (tau * (x + y)).sin()
        ),
        MARBLE: lambda: (1 - (2.5 * x + 1.7 * y + 1.2 * (3.1 * z + 2 * y).sin()).sin().abs()) ** 4,
    }
    for index, make in makers.items():
        out = torch.where(pattern == index, make(), out)
    return out


def shade(world: World, hits: Hits, solids: Material) -> Tensor:
    """Return colours (3, B, P) in [0, 1] of hits under the world's light, with these solids' materials."""
    coats = [
        torch.cat([getattr(world.walls, n), getattr(solids, n)], 1)
        for n in ("first", "second", "pattern", "scale", "metal")
    ]
    first, second = (torch.stack([c[..., i].gather(1, hits.id) for i in range(3)]) for c in coats[:2])
    pattern, scale, metal = (c.gather(1, hits.id) for c in coats[2:])
    albedo = first + _pattern(hits.local, pattern, scale) * (second - first)
    to_light = normalized(world.light.T[..., None] - hits.point)
    facing = dot(hits.normal, to_light).clamp_min(0) * hits.lit
    mirrored = hits.view - 2 * dot(hits.view, hits.normal) * hits.normal
    glint = dot(mirrored, to_light).clamp_min(0) ** 24 * hits.lit
    matte = albedo * (world.ambient.T[..., None] + world.diffuse.T[..., None] * facing)
    # A metal mirrors a bright ceiling and a dark floor: a smooth ramp of the mirrored direction's height.
    shine = albedo * (0.35 + 0.85 * torch.sigmoid(-4 * mirrored[1])) + 0.6 * glint
    gloss = 0.12 * glint * (hits.id >= FIRST_SOLID_ID)
    return (matte + gloss + metal * (shine - matte)).clamp(0, 1)


def _rays(K: Tensor, pose: Tensor, width: int, height: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return origins and directions (3, B, P), contiguous."""
    xy = pixel_samples(width, height, samples, K.device)
    o, d = rays_through(xy[None], K[:, None], pose[:, None])
    return o.movedim(-1, 0).contiguous(), d.movedim(-1, 0).contiguous()


def pixel_samples(width: int, height: int, samples: int, device: torch.device) -> Tensor:
    """Return the (height*width*samples^2, 2) image points of a regular sub-pixel grid, samples innermost."""
    offsets = (torch.arange(samples, device=device) + 0.5) / samples
    y = torch.arange(height, device=device)[:, None, None, None] + offsets[None, None, :, None]
    x = torch.arange(width, device=device)[None, :, None, None] + offsets[None, None, None, :]
    shape = (height, width, samples, samples)
    return torch.stack([x.expand(shape), y.expand(shape)], -1).reshape(-1, 2)


def render(
    world: World,
    K: Tensor,
    pose: Tensor,
    width: int,
    height: int,
    samples: int = 2,
    variants: Sequence[Material] | None = None,
) -> Tensor:
    """Return images (B, V, height, width, 3) in [0, 1] of each world from its camera (K (B, 3, 3), pose (B,
    4, 4)), one per material variant (default: the world's own)."""
    hits = trace(world, *_rays(K, pose, width, height, samples))
    images = [
        shade(world, hits, v).unflatten(2, (height, width, samples**2)).mean(-1)
        for v in (variants or [world.solids])
    ]
    return torch.stack(images, 2).permute(1, 2, 3, 4, 0)


@dataclass
class Exact:
    """Exact answers per pixel centre: z `depth` (B, h, w), `id` (B, h, w), world `point` and pattern `local`
    (B, h, w, 3).
    """

    depth: Tensor
    id: Tensor
    point: Tensor
    local: Tensor


def exact(world: World, K: Tensor, pose: Tensor, width: int, height: int) -> Exact:
    """Return the exact answers of the rays through the pixel centres."""
    hits = trace(world, *_rays(K, pose, width, height, 1))
    shape = (height, width)
    point, local = (v.unflatten(2, shape).movedim(0, -1) for v in (hits.point, hits.local))
    return Exact(hits.t.unflatten(1, shape), hits.id.unflatten(1, shape), point, local)


def exact_flow(now: Exact, then: World, K: Tensor, pose: Tensor) -> Tensor:
    """Return flow (B, h, w, 2) in pixels from images of `now` to the same cameras at `then`: where each
    surface point went.
    """
    h, w = now.depth.shape[1:]
    moved = now.point
    for k in range(len(KINDS)):
        matrix = then.local_from_world[:, k]
        world_from_local = torch.linalg.inv(matrix[:, :, :3])
        where = (now.local - matrix[:, None, None, :, 3]) @ world_from_local.transpose(1, 2)[:, None]
        moved = torch.where((now.id == FIRST_SOLID_ID + k)[..., None], where, moved)
    in_camera = (moved - pose[:, None, None, :3, 3]) @ pose[:, None, :3, :3]
    image = in_camera @ K.transpose(1, 2)[:, None]
    xy = image[..., :2] / image[..., 2:].clamp_min(1e-6)
    centres = pixel_samples(w, h, 1, K.device).view(1, h, w, 2)
    return torch.where(
        (image[..., 2:] > 0) & (now.depth[..., None] < INF), xy - centres, torch.zeros_like(xy)
    )
