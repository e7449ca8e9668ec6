"""Procedural worlds of any seed, seen by rigs of several layouts: what defaults are chosen and tested on.

The demo scene is one world seen by one narrow arc. Real rigs are wide, tilted, uneven, or stand all around
the scene; a default that was only seen on the demo is not known to hold anywhere else.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i4d.geometry.cameras import camera_tensors
from i4d.scenes.procedural.demo import FOCAL, FPS, frame_time, llff_row
from i4d.scenes.procedural.render import exact, render
from i4d.scenes.procedural.world import World, random_worlds
from i4d.scenes.video import ImageWriter, VideoWriter, available
from i4d.types import Camera

MIDDLE = np.array([0.0, 0.3, 4.2])
RADIUS = 4.6  # half the side of the room around MIDDLE
# half the arc in degrees, nearest and farthest distance from MIDDLE, largest roll in degrees, elevation
LAYOUTS = {
    "narrow": (12.0, 3.9, 3.9, 0.0, (-2.0, 6.0)),
    "wide": (40.0, 2.9, 4.2, 15.0, (0.0, 14.0)),
    "ring": (135.0, 3.3, 3.7, 0.0, (6.0, 16.0)),
}


def rig_cameras(layout: str, width: int, height: int, count: int, seed: int) -> tuple[Camera, ...]:
    """Return `count` cameras of a layout around MIDDLE; cam00 stands in the middle of the arc."""
    half, nearest, farthest, roll, (low, high) = LAYOUTS[layout]
    random = np.random.default_rng(seed)
    K = np.array([[FOCAL * width, 0, width / 2], [0, FOCAL * width, height / 2], [0, 0, 1.0]])
    cameras = []
    for i in range(count):
        share = 0.0 if i == 0 else 2 * (i - 1) / max(1, count - 2) - 1
        yaw = math.radians(half * share)
        pitch = math.radians(random.uniform(low, high))
        distance = random.uniform(nearest, farthest)
        away = np.array([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), -math.cos(yaw) * math.cos(pitch)])
        centre, forward = MIDDLE + distance * away, -away
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        turn = math.radians(random.uniform(-roll, roll)) if roll else 0.0
        right, down = (
            math.cos(turn) * right + math.sin(turn) * down,
            math.cos(turn) * down - math.sin(turn) * right,
        )
        pose = np.eye(4)
        pose[:3] = np.stack([right, down, forward, centre], 1)
        cameras.append(Camera(f"cam{i:02d}", width, height, K.copy(), pose))
    return tuple(cameras)


def rig_world(seed: int, time: Tensor) -> World:
    """Return the world of a seed at times (B,) in [0, 1]: all solids present, in a room with space around
    them, each turning about its own upright axis and moving along a line of its own; a ball also hops."""
    generator = torch.Generator().manual_seed(seed)
    still = random_worlds(1, generator)
    frames, device = len(time), time.device
    K = still.present.shape[1]
    way = (torch.rand(K, generator=generator) * 2 * math.pi)[:, None]
    reach = 0.3 + 0.5 * torch.rand(K, 1, generator=generator)
    spin = 0.4 + 1.2 * torch.rand(K, generator=generator)
    hop = 0.5 * torch.rand(K, generator=generator) * torch.tensor([1.0] + [0.0] * (K - 1))
    swing = (2 * math.pi * time.cpu()).sin()[:, None, None]
    straight = torch.cat([way.cos(), torch.zeros(K, 1), way.sin()], 1)[None] * reach[None]
    shift = 0.5 * swing * straight
    shift[..., 1] -= hop[None] * (0.5 - 0.5 * (4 * math.pi * time.cpu()).cos())[:, None]
    fields = {f.name: getattr(still, f.name) for f in dataclasses.fields(still)}
    fields["local_from_world"] = _moved(still.local_from_world[0], spin[None] * time.cpu()[:, None], shift)
    fields["present"] = torch.ones(frames, K, dtype=torch.bool)
    floor = float(still.room_high[0, 1])
    low, high = MIDDLE - RADIUS, MIDDLE + RADIUS
    fields["room_low"] = torch.tensor([[low[0], -2.4, low[2]]], dtype=torch.float32)
    fields["room_high"] = torch.tensor([[high[0], floor, high[2]]], dtype=torch.float32)
    return World(**{name: _for_frames(value, frames, device) for name, value in fields.items()})


def _for_frames(value: Any, frames: int, device: torch.device) -> Any:
    """Return a field of a world, a tensor or a material, once for every frame."""
    if isinstance(value, Tensor):
        return (value if len(value) == frames else value.expand(frames, *value.shape[1:])).to(device)
    parts = {f.name: _for_frames(getattr(value, f.name), frames, device) for f in dataclasses.fields(value)}
    return type(value)(**parts)


def _moved(local: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """Return local_from_world (B, K, 3, 4) of solids `local` (K, 3, 4) turned by `turn` (B, K) about the
    upright axis through their centres and shifted by `shift` (B, K, 3)."""
    linear = local[:, :, :3]
    centre = -torch.linalg.solve(linear, local[:, :, 3:])[..., 0]
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    back = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).unflatten(-1, (3, 3))
    offset = centre - (back @ (centre + shift)[..., None])[..., 0]
    moved = linear[None] @ back
    return torch.cat([moved, (linear[None] @ offset[..., None]) + local[None, :, :, 3:]], -1)


def write_rig(
    folder: Path,
    layout: str,
    seed: int,
    width: int,
    height: int,
    num_frames: int,
    num_cameras: int,
    device: str = "cpu",
) -> None:
    """Write a world of a seed, seen by a layout, in N3DV layout and with cameras.json beside it.

    Videos, or folders of pictures where PyAV is not installed; `exact/` holds depth of every frame. Made in a
    temporary folder and renamed.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "exact").mkdir(parents=True)
    rows, listed = [], []
    for camera in rig_cameras(layout, width, height, num_cameras, seed):
        K, pose = (t[None] for t in camera_tensors(camera, device))
        depths = []
        target = partial / (f"{camera.name}.mp4" if available() else f"frames/{camera.name}")
        writer = VideoWriter(target, width, height, FPS, "archive") if available() else ImageWriter(target)
        with writer as video:
            for frame in range(num_frames):
                world = rig_world(seed, torch.tensor([frame_time(frame, num_frames)], device=device))
                image = render(world, K, pose, width, height)[0, 0]
                video.write((image * 255 + 0.5).to(torch.uint8).cpu().numpy())
                depths.append(exact(world, K, pose, width, height).depth[0].cpu().numpy())
        depth = np.stack(depths).astype(np.float32)
        np.savez(partial / "exact" / f"{camera.name}.npz", depth=depth)
        rows.append(llff_row(camera, 0.9 * float(depth.min()), 1.05 * float(depth.max())))
        listed.append(_json(camera, target.name))
    np.save(partial / "poses_bounds.npy", np.stack(rows))
    (partial / "cameras.json").write_text(json.dumps({"cameras": listed}))
    (partial / "scene.json").write_text(json.dumps({"kind": "i4d-rig", "layout": layout, "seed": seed}))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _json(camera: Camera, video: str) -> dict:
    inverse = np.linalg.inv(camera.world_from_camera)
    return {
        "name": camera.name,
        "video": video,
        "width": camera.width,
        "height": camera.height,
        "K": camera.K.tolist(),
        "R": inverse[:3, :3].tolist(),
        "t": inverse[:3, 3].tolist(),
    }
