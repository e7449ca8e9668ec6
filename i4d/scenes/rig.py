"""Reader of any calibrated rig: a JSON of OpenCV K, R, t (and distortion) per video.

{"cameras": [{"name": "cam01", "video": "cam01.mp4", "width": 1080, "height": 1920, "K": [[...]],
"distortion": [k1, k2, p1, p2],
              "R": [[...]], "t": [x, y, z]}, ...]}          x_camera = R x_world + t; a list alone is accepted
              too
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.bounds import frustum_bounds
from i4d.scenes.json_file import read_json
from i4d.scenes.sources import VideoFiles, checked_timeline, working_size
from i4d.types import Camera, Scene

_NAME = re.compile(r"[\w-][\w. -]{0,63}")
_NEEDED = (
    "a camera needs K (3x3, pixels) and R (3x3), t (3) of x_camera = R x_world + t; or list it in "
    "scene.drop; see docs/scenes.md"
)


def read_rig(config: SceneConfig, root: Path) -> Scene:
    """Return the scene of a rig's JSON and its videos."""
    if not root.is_dir():
        where = (
            "set scene.root to the folder that holds the videos and cameras.json; relative ones count "
            "from where i4d is started"
        )
        raise SceneError(f"{root}: no such folder", where)
    path = root / config.cameras_file
    entries = _entries(path)
    names = [str(e.get("name", "")) for e in entries]
    if len(set(names)) != len(names) or not all(names):
        raise SceneError(f"{path}: camera names must be present and different", f"found {names}")
    for name in names:
        if not _NAME.fullmatch(name):  # it becomes part of file names
            raise SceneError(
                f"{path}: a camera cannot be called {name!r}",
                "letters, digits, '.', '_', '-' and blanks, the first no '.'",
            )
    for listed, option in ((config.drop, "scene.drop"), (config.held_out, "scene.held_out")):
        unknown = [n for n in listed if n not in names]
        if unknown:
            raise SceneError(
                f"{option}: no camera {', '.join(unknown)} in {path}", f"there are {', '.join(names)}"
            )
    entries = [e for e in entries if e["name"] not in config.drop]
    source = VideoFiles({e["name"]: _inside(root, e.get("video"), path) for e in entries})
    num_frames, fps = checked_timeline(config, source, [e["name"] for e in entries], root)
    originals = [_camera(e, path) for e in entries]
    for camera in originals:
        if source.size(camera.name) != (camera.width, camera.height):
            width, height = source.size(camera.name)
            raise SceneError(
                f"{path}: {camera.name} is declared {camera.width}x{camera.height}, its video is "
                f"{width}x{height}",
                "calibrate for the video's own size, or mend width and height",
            )
    width, height = working_size(config, originals[0].width, originals[0].height)
    cameras = tuple(_without_distortion(c.resized(width, height)) for c in originals)
    kind = "box" if config.bounds in ("auto", "ndc") else config.bounds
    bounds = frustum_bounds(cameras, kind, config.near, config.far, config.aabb)
    return Scene(
        config.name, cameras, num_frames, fps, bounds, tuple(config.held_out), source, tuple(originals)
    )


def _entries(path: Path) -> list[dict[str, Any]]:
    tree = read_json(path, "set scene.cameras_file to the rig's JSON")
    entries = tree.get("cameras") if isinstance(tree, dict) else tree
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise SceneError(f"{path}: expected a list of cameras under 'cameras'")
    return entries


def _inside(root: Path, name: Any, path: Path) -> Path:
    """Return root / name, refusing names that leave the folder."""
    video = root / str(name or "")
    if not name or not video.resolve().is_relative_to(root.resolve()):
        raise SceneError(f"{path}: video {name!r} is not a file in {root}")
    if not video.is_file():
        raise SceneError(
            f"{video}: missing",
            f"it is named in {path}; drop its camera with scene.drop if you do not have it",
        )
    return video


def _numbers(entry: dict, key: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    try:
        value = np.array(entry[key], dtype=np.float64).reshape(shape)
    except KeyError:
        raise SceneError(f"{path}: {entry['name']} has no {key}", _NEEDED) from None
    except (ValueError, TypeError):
        raise SceneError(
            f"{path}: {key} of {entry['name']} is not {'x'.join(map(str, shape))} numbers"
        ) from None
    if not np.isfinite(value).all():
        raise SceneError(
            f"{path}: {key} of {entry['name']} holds NaN or infinity", "recalibrate, or list it in scene.drop"
        )
    return value


def _camera(entry: dict, path: Path) -> Camera:
    K, R, t = (
        _numbers(entry, "K", (3, 3), path),
        _numbers(entry, "R", (3, 3), path),
        _numbers(entry, "t", (3,), path),
    )
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise SceneError(
            f"{path}: R of {entry['name']} is no rotation", "x_camera = R x_world + t, row-major"
        )
    width, height = (int(_numbers(entry, k, (), path)) for k in ("width", "height"))
    distortion = entry.get("distortion") or []
    if len(distortion) not in (0, 4, 5, 8):
        raise SceneError(
            f"{path}: distortion of {entry['name']} has {len(distortion)} numbers",
            "OpenCV's 4, 5 or 8: k1 k2 p1 p2 [k3 ...]",
        )
    values = tuple(map(float, _numbers(entry, "distortion", (len(distortion),), path))) if distortion else ()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R.T, -R.T @ t
    return Camera(entry["name"], width, height, K, pose, values if any(values) else ())


def _without_distortion(camera: Camera) -> Camera:
    return Camera(camera.name, camera.width, camera.height, camera.K, camera.world_from_camera)
