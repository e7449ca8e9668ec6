"""The demo world seen by one moving camera, as a DyCheck folder with exact answers beside it, and a still
camera to measure with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from i4d.errors import SceneError
from i4d.geometry.paths import looking_at
from i4d.scenes.procedural.demo import FOCAL, FPS, TARGET, exact_answers, render_frames
from i4d.types import Camera

NUM_FRAMES, WIDTH, HEIGHT = 36, 160, 120
KIND = "i4d-demo-mono"
SWEEPS = 3  # of the camera, left and right, while the world's motion runs once


def mono_cameras(
    width: int = WIDTH, height: int = HEIGHT, num_frames: int = NUM_FRAMES
) -> tuple[Camera, Camera]:
    """Return the camera that moves (cam00: it swings 0.8 units left and right and 0.2 up and down) and one
    that stands in the middle.
    """
    K = np.array([[FOCAL * width, 0, width / 2], [0, FOCAL * width, height / 2], [0, 0, 1.0]])
    poses = []
    for frame in range(num_frames):
        angle = 2 * np.pi * SWEEPS * frame / max(1, num_frames - 1)
        centre = np.array([0.8 * np.sin(angle), 0.2 * np.cos(0.5 * angle), 0.0])
        poses.append(looking_at(centre, TARGET, np.array([0.0, 1.0, 0.0])))
    path = np.stack(poses)
    still = looking_at(np.zeros(3), TARGET, np.array([0.0, 1.0, 0.0]))
    return Camera("cam00", width, height, K, path[num_frames // 2], path=path), Camera(
        "cam01", width, height, K.copy(), still
    )


def write_mono(
    folder: Path,
    width: int = WIDTH,
    height: int = HEIGHT,
    num_frames: int = NUM_FRAMES,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the scene in DyCheck's layout with `exact/cam*.npz`. Deterministic; made in a temporary folder
    and renamed.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in ("rgb/1x", "camera", "exact"):
            (partial / name).mkdir(parents=True)
    except OSError as err:
        raise SceneError(
            f"{partial}: cannot write the demo scene: {err.strerror}", "choose another --data folder"
        ) from None
    cameras, ids, depths = mono_cameras(width, height, num_frames), {}, []
    for number, camera in enumerate(cameras):
        ids[number] = [f"{number}_{frame:05d}" for frame in range(num_frames)]
        for frame, image in enumerate(render_frames(camera, range(num_frames), num_frames, device)):
            Image.fromarray(image).save(
                partial / "rgb" / "1x" / f"{ids[number][frame]}.png", compress_level=1
            )
            (partial / "camera" / f"{ids[number][frame]}.json").write_text(
                json.dumps(camera_file(camera.at(frame)))
            )
            if progress:
                progress(number * num_frames + frame + 1, len(cameras) * num_frames)
        answers = exact_answers(camera, num_frames, device)
        depth, solid, flow = answers["depth"], answers["id"], answers["flow"]
        np.savez(partial / "exact" / f"{camera.name}.npz", depth=depth, id=solid, flow=flow)
        depths += [float(answers["depth"].min()), float(answers["depth"].max())]
    metadata = {
        i: {"camera_id": n, "warp_id": t, "appearance_id": t} for n in ids for t, i in enumerate(ids[n])
    }
    files = {
        "dataset.json": {"ids": ids[0] + ids[1], "train_ids": ids[0], "val_ids": ids[1]},
        "metadata.json": metadata,
        "extra.json": {"fps": FPS},
        "scene.json": {
            "kind": KIND,
            "center": [0, 0, 0],
            "scale": 1,
            "near": 0.9 * min(depths),
            "far": 1.05 * max(depths),
        },
    }
    for name, tree in files.items():
        (partial / name).write_text(json.dumps(tree))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def camera_file(camera: Camera) -> dict:
    """Return a camera as DyCheck writes it: orientation is camera from world, in OpenCV axes."""
    return {
        "orientation": camera.world_from_camera[:3, :3].T.tolist(),
        "position": camera.centre.tolist(),
        "focal_length": float(camera.K[0, 0]),
        "principal_point": [float(camera.K[0, 2]), float(camera.K[1, 2])],
        "skew": 0.0,
        "pixel_aspect_ratio": 1.0,
        "radial_distortion": [0.0, 0.0, 0.0],
        "tangential_distortion": [0.0, 0.0],
        "image_size": [camera.width, camera.height],
    }
