"""Training pairs for the demonstration editor: procedural worlds and scikit-image's photographs, with every
edit's exact answer.

A *pair* is two frames of one world (other camera, moved solids) or two crops of one photograph, so that the
editor can be trained with the anchor attention that it will be used with.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i4d.scenes.procedural.render import exact, render
from i4d.scenes.procedural.world import FIRST_SOLID_ID, World, random_worlds
from i4d.scenes.repertoire.objects import OBJECTS, edited_material, solid_of
from i4d.scenes.repertoire.phrases import EDITS
from i4d.scenes.repertoire.pictures import PICTURES

HEIGHT, WIDTH = 96, 128
MIN_SHARE = 0.02  # an object edit counts where the object fills at least this share of both frames
TRAIN_PHOTOS = (
    "astronaut.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "coins.png",
    "ihc.png",
    "brick.png",
    "grass.png",
)
HELD_OUT_PHOTOS = ("chelsea.png", "coffee.png")


@dataclass
class Pairs:
    """`images` (P, 2, 1 + E, 3, h, w) uint8: originals, then every edit of `EDITS`; `valid` (P, E) bool;
    `mask` (P, 2, E, h, w) bool: what an object edit changes (all true for the others)."""

    images: Tensor
    valid: Tensor
    mask: Tensor


def random_cameras(B: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return K (B, 3, 3) and world_from_camera (B, 4, 4) of cameras near the origin that look into the
    room.
    """
    dev = generator.device
    u = lambda n, low, high: low + (high - low) * torch.rand(B, n, generator=generator, device=dev)
    focal = 150 * u(1, 0.75, 1.35)[:, 0]
    K = torch.zeros(B, 3, 3, device=dev)
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = focal, focal, 1.0
    K[:, 0, 2], K[:, 1, 2] = WIDTH / 2 + u(1, -14, 14)[:, 0], HEIGHT / 2 + u(1, -10, 10)[:, 0]
    yaw, pitch, roll = u(3, -1, 1).unbind(-1)
    yaw, pitch, roll = 0.22 * yaw, 0.08 * pitch, 0.03 * roll
    o, z = torch.ones_like(yaw), torch.zeros_like(yaw)
    turn = lambda *r: torch.stack(r, -1).unflatten(-1, (3, 3))
    R = turn(yaw.cos(), z, yaw.sin(), z, o, z, -yaw.sin(), z, yaw.cos())
    R = R @ turn(o, z, z, z, pitch.cos(), -pitch.sin(), z, pitch.sin(), pitch.cos())
    R = R @ turn(roll.cos(), -roll.sin(), z, roll.sin(), roll.cos(), z, z, z, o)
    pose = torch.eye(4, device=dev).repeat(B, 1, 1)
    pose[:, :3, :3] = R
    pose[:, :3, 3] = u(3, -1, 1) * torch.tensor([0.9, 0.3, 0.5], device=dev)
    return K, pose


def _moved(world: World, K: Tensor, pose: Tensor, generator: torch.Generator) -> tuple[World, Tensor, Tensor]:
    """Return the same worlds a moment later from a camera beside: what another frame of the same window
    shows.
    """
    shift = (
        0.5 * torch.rand(world.local_from_world.shape[:2] + (3,), generator=generator, device=K.device) - 0.25
    )
    matrices = world.local_from_world.clone()
    matrices[..., 3] += shift
    beside = pose.clone()
    beside[:, :3, 3] += 0.4 * torch.rand(pose.shape[0], 3, generator=generator, device=K.device) - 0.2
    return World(**{**vars(world), "local_from_world": matrices}), K, beside


def _all_targets(pictures: Tensor, objects: list[Tensor]) -> Tensor:
    """Return (B, 1 + E, 3, h, w) uint8 from originals and object answers in [0, 1], in the order of
    `EDITS`.
    """
    stack = [pictures, *(f(pictures) for f in PICTURES.values()), *objects]
    return (torch.stack(stack, 1).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def world_pairs(count: int, seed: int, device: str, chunk: int = 32) -> Iterator[Pairs]:
    """Yield `count` pairs of procedural worlds in chunks; the seed decides everything."""
    generator = torch.Generator(device).manual_seed(seed)
    for start in range(0, count, chunk):
        B = min(chunk, count - start)
        world = random_worlds(B, generator)
        K, pose = random_cameras(B, generator)
        frames = [(world, K, pose), _moved(world, K, pose, generator)]
        images, masks = [], []
        for w, k, p in frames:
            coats = [w.solids, *(edited_material(w.solids, e) for e in OBJECTS)]
            views = render(w, k, p, WIDTH, HEIGHT, 2, coats).movedim(-1, 2)
            images.append(_all_targets(views[:, 0], list(views[:, 1:].unbind(1))))
            ids = exact(w, k, p, WIDTH, HEIGHT).id
            hit = [
                ids == FIRST_SOLID_ID + solid_of(e)
                if e in OBJECTS
                else torch.ones_like(ids, dtype=torch.bool)
                for e in EDITS
            ]
            masks.append(torch.stack(hit, 1))
        mask = torch.stack(masks, 1)
        yield Pairs(torch.stack(images, 1), (mask.float().mean((-1, -2)) >= MIN_SHARE).all(1), mask)


def photo_pairs(names: tuple[str, ...], count: int, seed: int, device: str) -> Pairs:
    """Return `count` pairs of overlapping crops of photographs, colours jittered; object edits are not valid
    there.
    """
    rng = np.random.default_rng(seed)
    photos = []
    for name in names:
        photo = _read_photo(name)
        photos.append(
            torch.as_tensor(np.stack([photo] * 3, -1) if photo.ndim == 2 else photo[..., :3].copy())
        )
    crops = []
    for i in range(count):
        photo = photos[i % len(photos)].to(device).permute(2, 0, 1)[None].float() / 255
        height = rng.uniform(0.35, 0.9) * min(photo.shape[2], photo.shape[3] * HEIGHT / WIDTH)
        width = height * WIDTH / HEIGHT
        gain = torch.tensor(rng.uniform(0.75, 1.1, 3), device=device, dtype=torch.float32).view(1, 3, 1, 1)
        y, x = rng.uniform(0, photo.shape[2] - height), rng.uniform(0, photo.shape[3] - width)
        two = []
        for _ in range(2):
            y0 = int(np.clip(y + rng.uniform(-0.1, 0.1) * height, 0, photo.shape[2] - height))
            x0 = int(np.clip(x + rng.uniform(-0.1, 0.1) * width, 0, photo.shape[3] - width))
            part = photo[:, :, y0 : y0 + int(height), x0 : x0 + int(width)]
            two.append(
                torch.nn.functional.interpolate(
                    part, (HEIGHT, WIDTH), mode="bilinear", antialias=True, align_corners=False
                )
            )
        crops.append((torch.cat(two) * gain).clamp(0, 1))
    pictures = torch.cat(crops)
    targets = _all_targets(pictures, [pictures] * len(OBJECTS)).unflatten(0, (count, 2))
    valid = torch.tensor([e in PICTURES for e in EDITS], device=device).expand(count, -1)
    return Pairs(
        targets,
        valid.clone(),
        torch.ones(count, 2, len(EDITS), HEIGHT, WIDTH, dtype=torch.bool, device=device),
    )


def _read_photo(name: str) -> np.ndarray:
    """Return a photograph that scikit-image ships, without importing it (it would offer to download what it
    lacks).
    """
    folder = Path(importlib.util.find_spec("skimage").origin).parent / "data"
    return np.asarray(Image.open(folder / name))
