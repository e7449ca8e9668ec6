"""The demo scene as a rig of cameras, and as a folder in N3DV layout with exact answers beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from i4d.errors import SceneError
from i4d.geometry.cameras import camera_tensors
from i4d.scenes.procedural.render import exact, exact_flow, render
from i4d.scenes.procedural.world import World, demo_world
from i4d.scenes.video import ImageWriter, VideoWriter
from i4d.types import Camera

NUM_CAMERAS, NUM_FRAMES, WIDTH, HEIGHT, FPS = 10, 24, 160, 120, 12
FOCAL = 0.95  # in image widths
TARGET = np.array([0.0, 0.15, 4.4])
RAYS_PER_CALL = (
    200_000  # keeps the temporaries of one call near 50 MB on a CPU; GPUs take forty times as many
)


def demo_cameras(
    width: int = WIDTH, height: int = HEIGHT, num_cameras: int = NUM_CAMERAS
) -> tuple[Camera, ...]:
    """Return the rig: cam00 in the middle (held out by the shipped config), the others on a forward-facing
    arc of +-0.9 units, alternately a little above and below, all looking at one point."""
    K = np.array([[FOCAL * width, 0, width / 2], [0, FOCAL * width, height / 2], [0, 0, 1.0]])
    cameras = []
    for i in range(num_cameras):
        if i == 0:
            centre = np.zeros(3)
        else:
            share = 2 * (i - 1) / max(1, num_cameras - 2) - 1
            centre = np.array([0.9 * share, 0.22 * (-1) ** i, 0.12 * share**2])
        forward = (TARGET - centre) / np.linalg.norm(TARGET - centre)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, centre], 1)
        cameras.append(Camera(f"cam{i:02d}", width, height, K.copy(), pose))
    return tuple(cameras)


def frame_time(frame: int, num_frames: int) -> float:
    """Return the world's time of a frame: the motion is one period whatever the number of frames."""
    return frame / max(1, num_frames - 1)


def render_frames(
    camera: Camera,
    frames: Sequence[int],
    num_frames: int,
    device: str = "cpu",
    samples: int = 2,
    edit: Callable[[World], World] | None = None,
) -> Iterator[np.ndarray]:
    """Yield frames of one camera as uint8 (height, width, 3); `edit` may change the world's materials
    first.
    """
    rays = RAYS_PER_CALL * (40 if device != "cpu" else 1)
    batch = max(1, rays // (camera.width * camera.height * samples**2))
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        world = demo_world(torch.tensor([frame_time(f, num_frames) for f in part], device=device))
        world = edit(world) if edit else world
        K, pose = (
            torch.stack(x) for x in zip(*(camera_tensors(camera.at(f), device) for f in part), strict=True)
        )
        images = render(world, K, pose, camera.width, camera.height, samples)[:, 0]
        yield from (images * 255 + 0.5).to(torch.uint8).cpu().numpy()


def exact_answers(camera: Camera, num_frames: int, device: str = "cpu") -> dict[str, np.ndarray]:
    """Return `depth` float32 (n, h, w) along the optical axis, `id` uint8 (n, h, w) and `flow` float16 (n-1,
    h, w, 2): where each pixel of frame i is at frame i+1, in pixels."""
    depth, ids, flow = [], [], []
    worlds = [demo_world(torch.tensor([frame_time(f, num_frames)], device=device)) for f in range(num_frames)]
    for i, world in enumerate(worlds):
        K, pose = (x[None] for x in camera_tensors(camera.at(i), device))
        now = exact(world, K, pose, camera.width, camera.height)
        depth.append(now.depth[0].cpu().numpy())
        ids.append(now.id[0].to(torch.uint8).cpu().numpy())
        if i + 1 < num_frames:
            after = (x[None] for x in camera_tensors(camera.at(i + 1), device))
            flow.append(exact_flow(now, worlds[i + 1], *after)[0].to(torch.float16).cpu().numpy())
    return {"depth": np.stack(depth), "id": np.stack(ids), "flow": np.stack(flow) if flow else np.zeros((0,))}


def llff_row(camera: Camera, near: float, far: float) -> np.ndarray:
    """Return the 17 numbers of one row of `poses_bounds.npy`: 3x5 [down, right, back, position, (H, W,
    focal)], near, far.
    """
    R = camera.world_from_camera[:3, :3]
    hwf = np.array([camera.height, camera.width, camera.K[0, 0]])
    matrix = np.stack([R[:, 1], R[:, 0], -R[:, 2], camera.centre, hwf], 1)
    return np.concatenate([matrix.ravel(), [near, far]])


def write_demo(
    folder: Path,
    width: int = WIDTH,
    height: int = HEIGHT,
    num_frames: int = NUM_FRAMES,
    num_cameras: int = NUM_CAMERAS,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    images: bool = False,
) -> None:
    """Write the demo scene in N3DV layout (cam*.mp4, poses_bounds.npy) with `exact/cam*.npz` beside it.

    `images` writes `frames/cam*/*.png` instead of videos, for hosts without PyAV. Deterministic. Made in a
    temporary folder and renamed, so a half-written scene is never found. `progress` is called with
    (frames done, frames in all).
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "exact").mkdir(parents=True)
    except OSError as err:
        raise SceneError(
            f"{partial}: cannot write the demo scene: {err.strerror}", "choose another --data folder"
        ) from None
    cameras, rows = demo_cameras(width, height, num_cameras), []
    for i, camera in enumerate(cameras):
        target = partial / "frames" / camera.name if images else partial / f"{camera.name}.mp4"
        with (
            ImageWriter(target)
            if images
            else VideoWriter(target, width, height, FPS, quality="archive") as video
        ):
            for f, image in enumerate(render_frames(camera, range(num_frames), num_frames, device)):
                video.write(image)
                if progress:
                    progress(i * num_frames + f + 1, num_cameras * num_frames)
        answers = exact_answers(camera, num_frames, device)
        depth, solid, flow = answers["depth"], answers["id"], answers["flow"]
        np.savez(partial / "exact" / f"{camera.name}.npz", depth=depth, id=solid, flow=flow)
        rows.append(
            llff_row(camera, 0.9 * float(answers["depth"].min()), 1.05 * float(answers["depth"].max()))
        )
    np.save(partial / "poses_bounds.npy", np.stack(rows))
    (partial / "scene.json").write_text(
        json.dumps({"kind": "i4d-demo", "num_frames": num_frames, "fps": FPS})
    )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
