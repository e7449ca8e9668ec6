"""`prepare`: decode a scene once into immutable blocks (frame table version 0).

Frames are undistorted and brought to the working size here, so everything downstream sees one pinhole rig of
one size. Memory holds one block per call; a block that is already stored is not decoded again, so an
interrupted `prepare` goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.lens import pull_maps
from i4d.store.blocks import write_block
from i4d.store.named import get_named, put_named
from i4d.store.objects import ObjectStore
from i4d.types import Camera, Scene, TableRun

ProgressFn = Callable[[int, int], None]


def prepare(
    scene: Scene, config: SceneConfig, store: ObjectStore, progress: ProgressFn | None = None
) -> tuple[TableRun, ...]:
    """Write every camera's frames as uint8 blocks of `config.block_frames` rows and return the runs of table
    version 0.

    `progress` is called with (frames done, frames in all). Raises SceneError naming the camera and frame
    where the input is corrupt; blocks written before that stay and are found again.
    """
    runs: list[TableRun] = []
    total = len(scene.cameras) * scene.num_frames
    for view, (camera, original) in enumerate(zip(scene.cameras, scene.source_cameras, strict=True)):
        chunks = [
            (a, min(a + config.block_frames, scene.num_frames))
            for a in range(0, scene.num_frames, config.block_frames)
        ]
        keys = [_key(scene, config, camera, original, chunk) for chunk in chunks]
        found = [get_named(store, key) for key in keys]
        first = next((i for i, ref in enumerate(found) if ref is None), len(chunks))
        frames = working_frames(scene, config, view, chunks[first][0]) if first < len(chunks) else iter(())
        for i, ((start, stop), ref) in enumerate(zip(chunks, found, strict=True)):
            rows = []
            for f in range(start, stop) if i >= first else ():
                rows.append(next(frames))
                if progress:
                    progress(view * scene.num_frames + f + 1, total)
            if ref is None:
                ref = write_block(store, np.stack(rows))
                put_named(store, keys[i], ref)
            runs.append(TableRun(view, start, stop, ref.digest, 0))
        if progress:
            progress((view + 1) * scene.num_frames, total)
    return tuple(runs)


def _key(scene: Scene, config: SceneConfig, camera: Camera, original: Camera, chunk: tuple[int, int]) -> str:
    """Return the name under which a prepared block is remembered: all that its pixels follow from."""
    parts = [
        config.name,
        config.root,
        camera.name,
        camera.width,
        camera.height,
        original.lens,
        original.distortion,
        original.K.tolist(),
        scene.source.stamp(camera.name),
        scene.first,
        config.stride,
        *chunk,
    ]
    return "prepared/" + hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def working_frames(scene: Scene, config: SceneConfig, view: int, first: int = 0) -> Iterator[np.ndarray]:
    """Yield a view's frames from `first` on, uint8 (height, width, 3), undistorted, at the working size.

    Raises SceneError naming camera and frame where what is decoded has another size than declared.
    """
    camera, original = scene.cameras[view], scene.source_cameras[view]
    start = scene.first + first * config.stride
    stop = scene.first + (scene.num_frames - 1) * config.stride + 1
    maps = undistortion(original) if original.distortion else None
    for i, frame in enumerate(scene.source.read(camera.name, start, stop, config.stride)):
        if frame.shape[:2] != (original.height, original.width):
            raise SceneError(
                f"{camera.name}, frame {start + i * config.stride}: decoded "
                f"{frame.shape[1]}x{frame.shape[0]}, "
                f"declared {original.width}x{original.height}",
                "re-encode the video or mend the declared size",
            )
        if maps is not None:
            frame = cv2.remap(frame, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        if (camera.width, camera.height) != (original.width, original.height):
            shrinking = camera.width < original.width
            frame = cv2.resize(
                frame,
                (camera.width, camera.height),
                interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC,
            )
        yield frame


def undistortion(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return OpenCV's pull maps from the undistorted pinhole of the same K."""
    return pull_maps(camera.lens, camera.distortion, camera.K, camera.K, camera.width, camera.height)


def scene_to_dict(scene: Scene) -> dict:
    """Return cameras, timeline, bounds and held-out names as plain values: what a run keeps of its scene."""
    cameras = [
        {
            "name": c.name,
            "width": c.width,
            "height": c.height,
            "K": c.K.tolist(),
            "world_from_camera": c.world_from_camera.tolist(),
            "path": None if c.path is None else c.path.tolist(),
        }
        for c in scene.cameras
    ]
    return {
        "name": scene.name,
        "cameras": cameras,
        "num_frames": scene.num_frames,
        "fps": scene.fps,
        "bounds": {k: v for k, v in asdict(scene.bounds).items() if k != "rig_from_world" or v},
        "held_out": list(scene.held_out),
        "exact": scene.exact,
        "first": scene.first,
        "missing": [list(run) for run in scene.missing],
        "notes": list(scene.notes),
    }
