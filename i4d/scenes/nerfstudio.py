"""Reader of `transforms.json` (nerfstudio, Blender, instant-ngp): one moving camera, a pose for every frame.

    {"camera_model": "OPENCV", "fl_x": 600, "fl_y": 600, "cx": 320, "cy": 240, "w": 640, "h": 480, "k1": 0,
    "k2": 0, "p1": 0, "p2": 0,
     "frames": [{"file_path": "images/0001.png", "time": 0.0, "transform_matrix": [[...], [...], [...], [0, 0,
     0, 1]]}, ...]}

`transform_matrix` is world_from_camera in OpenGL axes (x right, y up, z back). Frames go by `time` where all
have one, else by name; lens entries may stand in every frame, or once above. `depth_file_path` (16-bit PNG,
millimetres unless `depth_unit_scale_factor` says otherwise) settles how near and far the scene is. Masks are
not read; `--where` takes those of an edit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.json_file import read_json
from i4d.scenes.moving import Capture, Shot, checked_pose, scene_of
from i4d.scenes.video import image_size
from i4d.types import Scene

FILE = "transforms.json"
LENSES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_DEPTHS_LOOKED_AT = 8  # frames spread over the capture


def read_nerfstudio(config: SceneConfig, root: Path) -> Scene:
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
    frames = _in_order(frames, path)
    shots = tuple(_shot(tree, frame, root, path) for frame in frames)
    near, far = _range(tree, frames, root)
    exact = root / "exact"
    fps = float(tree.get("fps") or 30.0)
    return scene_of(
        config, root, [Capture("cam00", shots)], near, far, fps, str(exact) if exact.is_dir() else ""
    )


def _in_order(frames: list[dict], path: Path) -> list[dict]:
    """Return frames by time, or by name where none has a time; SceneError where some have, or two share an
    instant.
    """
    timed = [f for f in frames if "time" in f]
    if not timed:
        return sorted(frames, key=lambda f: str(f["file_path"]))
    if len(timed) < len(frames):
        raise SceneError(
            f"{path}: {len(frames) - len(timed)} of {len(frames)} frames have no time",
            "give all a time, or none",
        )
    try:
        ordered = sorted(frames, key=lambda f: float(f["time"]))
    except (TypeError, ValueError):
        raise SceneError(f"{path}: a time is not a number") from None
    for before, after in zip(ordered, ordered[1:], strict=False):
        if float(before["time"]) == float(after["time"]):
            raise SceneError(
                f"{path}: {before['file_path']} and {after['file_path']} share the time {after['time']}",
                "this reader takes one camera; for several use scene.reader: rig",
            )
    return ordered


def _shot(tree: dict, frame: dict, root: Path, path: Path) -> Shot:
    name = str(frame["file_path"])
    file = _inside(root, name if Path(name).suffix else name + ".png", path)
    try:
        matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise SceneError(f"{path}: {name} has no transform_matrix of 4x4 numbers") from None
    K, distortion = _lens({**tree, **frame}, file, f"{path}: {name}")
    return Shot(file, K, distortion, checked_pose(matrix, f"{path}: {name}") @ OPENCV_FROM_OPENGL)


def _inside(root: Path, name: str, path: Path) -> Path:
    file = root / name
    if not file.resolve().is_relative_to(root.resolve()):
        raise SceneError(f"{path}: {name!r} is not a file in {root}")
    if not file.is_file():
        raise SceneError(f"{file}: missing", f"it is named in {path}")
    return file


def _lens(entry: dict[str, Any], file: Path, where: str) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return K in pixels of the file and OpenCV's k1 k2 p1 p2 k3; SceneError where the lens is of another
    kind or missing.
    """
    model = str(entry.get("camera_model", "OPENCV"))
    if model not in LENSES:
        raise SceneError(
            f"{where}: lens {model}", f"undistort the frames first; these are read: {', '.join(LENSES)}"
        )
    width, height = image_size(file)
    try:
        declared = float(entry.get("w", width)), float(entry.get("h", height))
        sx, sy = width / declared[0], height / declared[1]
        if "fl_x" in entry:
            fx = float(entry["fl_x"])
            fy = float(entry.get("fl_y", fx))
        else:
            fx = fy = declared[0] / 2 / math.tan(float(entry["camera_angle_x"]) / 2)
        cx, cy = float(entry.get("cx", declared[0] / 2)), float(entry.get("cy", declared[1] / 2))
        distortion = tuple(float(entry.get(k, 0.0)) for k in ("k1", "k2", "p1", "p2", "k3"))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise SceneError(
            f"{where}: no usable lens", "give fl_x (and fl_y, cx, cy, w, h) or camera_angle_x"
        ) from None
    return np.array([[fx * sx, 0, cx * sx], [0, fy * sy, cy * sy], [0, 0, 1.0]]), distortion if any(
        distortion
    ) else ()


def _range(tree: dict, frames: list[dict], root: Path) -> tuple[float, float]:
    """Return how near and far the depth images say the scene is, with a margin; 0, 0 where there are none."""
    listed = [str(f["depth_file_path"]) for f in frames if f.get("depth_file_path")]
    found = []
    for name in listed[:: max(1, len(listed) // _DEPTHS_LOOKED_AT)]:
        depth = cv2.imread(str(_inside(root, name, root / FILE)), cv2.IMREAD_ANYDEPTH)
        if depth is None:
            raise SceneError(
                f"{root / name}: not a readable depth image",
                "16-bit PNG; or take depth_file_path out of transforms.json",
            )
        found.append(depth[depth > 0].ravel())
    values = np.concatenate(found) if found else np.zeros(0)
    if not len(values):
        return 0.0, 0.0
    low, high = np.quantile(values * float(tree.get("depth_unit_scale_factor", 1e-3)), (0.005, 0.995))
    return 0.9 * float(low), 1.1 * float(high)
