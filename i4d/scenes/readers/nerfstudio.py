"""Reader of `transforms.json` (nerfstudio, Blender, instant-ngp): a pose for every frame.

    {"camera_model": "OPENCV", "fl_x": 600, "fl_y": 600, "cx": 320, "cy": 240, "w": 640, "h": 480, "k1": 0,
    "k2": 0, "p1": 0, "p2": 0,
     "frames": [{"file_path": "images/0001.png", "time": 0.0, "transform_matrix": [[...], [...], [...], [0, 0,
     0, 1]]}, ...]}

`transform_matrix` is world_from_camera in OpenGL axes (x right, y up, z back). Frames go by `time`; times
that repeat are several cameras, and without times `scene.capture` must say what the frames are (`listed.py`).
Lens entries may stand in every frame, or once above. `depth_file_path` (16-bit PNG,
millimetres unless `depth_unit_scale_factor` says otherwise) settles how near and far the scene is. Masks are
not read; `--where` takes those of an edit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.json_file import read_json
from i4d.scenes.lens import Kind, lens_of_keys
from i4d.scenes.listed import cameras_of, check_film
from i4d.scenes.moving import Capture, Shot, checked_pose, scene_of
from i4d.scenes.names import camera_name, file_inside
from i4d.scenes.video import image_orientation, image_size
from i4d.types import Scene

FILE = "transforms.json"
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
LARGEST = 1e9  # in pixels
_DEPTHS_LOOKED_AT = 8  # frames spread over the capture


def read_nerfstudio(
    config: SceneConfig, root: Path, progress: Callable[[int, int], None] | None = None
) -> Scene:
    """Return the scene of a folder with `transforms.json`; SceneError names the frame that cannot be used."""
    path = root / FILE
    tree = read_json(path, "set scene.root to the folder that holds transforms.json")
    frames = tree.get("frames") if isinstance(tree, dict) else None
    if (
        not isinstance(frames, list)
        or not frames
        or not all(isinstance(f, dict) and f.get("file_path") for f in frames)
    ):
        raise SceneError(f"{path}: expected a list of frames, each with file_path and transform_matrix")
    listed, notes = cameras_of(frames, config.capture, path)
    captures = [
        Capture(
            camera_name(c.name, str(path)), tuple(_shot(tree, f, root, path) for f in c.frames), c.instants
        )
        for c in listed
    ]
    if config.capture == "auto" and len(captures) == 1:
        check_film([s.pose for s in captures[0].shots], [str(f["file_path"]) for f in listed[0].frames], path)
    near, far = _range(tree, frames, root)
    exact = root / "exact"
    fps = _number(tree, "fps", path) or 30.0
    if not 0 < fps < 1e5:
        raise SceneError(f"{path}: fps {fps:g}", "frames a second, such as 30")
    return scene_of(config, root, captures, near, far, fps, str(exact) if exact.is_dir() else "", notes)


def _number(tree: dict, key: str, path: Path, default: float = 0.0) -> float:
    try:
        value = float(tree.get(key) or default)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SceneError(f"{path}: {key} is not a number")
    return value


def _shot(tree: dict, frame: dict, root: Path, path: Path) -> Shot:
    name = str(frame["file_path"])
    file = file_inside(root, name if Path(name).suffix else name + ".png", str(path))
    try:
        matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise SceneError(f"{path}: {name} has no transform_matrix of 4x4 numbers") from None
    K, lens, distortion = _lens({**tree, **frame}, file, f"{path}: {name}")
    pose = checked_pose(matrix, f"{path}: {name}") @ OPENCV_FROM_OPENGL
    return Shot(file, K, distortion, pose, lens)


def _lens(entry: dict[str, Any], file: Path, where: str) -> tuple[np.ndarray, Kind, tuple[float, ...]]:
    """Return K in pixels of the file as displayed, the kind of lens and its numbers; SceneError where the
    lens is of a kind that is not read, or missing.
    """
    fisheye = "OPENCV_FISHEYE" if entry.get("is_fisheye") else "OPENCV"
    model = str(entry.get("camera_model", fisheye))
    width, height = image_size(file)
    try:
        w, h = float(entry.get("w", width)), float(entry.get("h", height))
        sx, sy = width / w, height / h
        if "fl_x" in entry:
            fx = float(entry["fl_x"])
            fy = float(entry.get("fl_y", fx))
        else:
            fx = fy = w / 2 / math.tan(float(entry["camera_angle_x"]) / 2)
        cx, cy = float(entry.get("cx", w / 2)), float(entry.get("cy", h / 2))
        lens, distortion = lens_of_keys(model, entry, where)
        usable = fx > 0 and fy > 0 and w > 0 and h > 0
        if not usable or not all(abs(v) < LARGEST for v in (fx, fy, cx, cy, *distortion)):
            raise ValueError
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise SceneError(
            f"{where}: no usable lens", "give fl_x (and fl_y, cx, cy, w, h) or camera_angle_x"
        ) from None
    if abs(sx / sy - 1) > 0.01:
        stored = image_orientation(file) >= 5 and abs(width / h * w / height - 1) <= 0.01
        how = "as stored; displayed as EXIF says" if stored else "but"
        raise SceneError(
            f"{where}: declared {w:.0f}x{h:.0f}, {how} it is {width}x{height}",
            "give w, h and the lens of the displayed picture, or turn the files upright and drop the EXIF tag"
            if stored
            else "mend w and h",
        )
    return np.array([[fx * sx, 0, cx * sx], [0, fy * sy, cy * sy], [0, 0, 1.0]]), lens, distortion


def _range(tree: dict, frames: list[dict], root: Path) -> tuple[float, float]:
    """Return how near and far the depth images say the scene is, with a margin; 0, 0 where there are none."""
    listed = [str(f["depth_file_path"]) for f in frames if f.get("depth_file_path")]
    found = []
    for name in listed[:: max(1, len(listed) // _DEPTHS_LOOKED_AT)]:
        depth = cv2.imread(str(file_inside(root, name, str(root / FILE))), cv2.IMREAD_ANYDEPTH)
        if depth is None:
            raise SceneError(
                f"{root / name}: not a readable depth image",
                "16-bit PNG; or take depth_file_path out of transforms.json",
            )
        found.append(depth[depth > 0].ravel())
    values = np.concatenate(found) if found else np.zeros(0)
    if not len(values):
        return 0.0, 0.0
    unit = _number(tree, "depth_unit_scale_factor", root / FILE, 1e-3)
    low, high = np.quantile(values * unit, (0.005, 0.995))
    return 0.9 * float(low), 1.1 * float(high)
