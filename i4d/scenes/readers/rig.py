"""Reader of any calibrated rig: a JSON of OpenCV K, R, t (and distortion) per video.

{"cameras": [{"name": "cam01", "video": "cam01.mp4", "width": 1080, "height": 1920, "K": [[...]],
"model": "OPENCV", "distortion": [k1, k2, p1, p2],
              "R": [[...]], "t": [x, y, z]}, ...]}          x_camera = R x_world + t; a list alone is accepted
              too
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.bounds import FAR_NEARS, around_spaces, frustum_bounds, rig_ndc_bounds
from i4d.scenes.json_file import read_json
from i4d.scenes.lens import lens_of_list
from i4d.scenes.names import camera_name, file_inside, some
from i4d.scenes.sources import VideoFiles, working_size
from i4d.scenes.timeline import timeline
from i4d.types import BoundsKind, Camera, Scene

LARGEST = 1e9  # in pixels and world units
_NEEDED = (
    "a camera needs K (3x3, pixels) and R (3x3), t (3) of x_camera = R x_world + t; or list it in "
    "scene.drop; see docs/scenes.md"
)


def read_rig(config: SceneConfig, root: Path, progress: Callable[[int, int], None] | None = None) -> Scene:
    """Return the scene of a rig's JSON and its videos.

    NDC needs the nearest depth (`scene.near`); without it the scene is in a box until `nearest.settle_reach`
    has asked the pictures.
    """
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
    entries = [{**e, "name": camera_name(n, str(path))} for e, n in zip(entries, names, strict=True)]
    for listed, option in ((config.drop, "scene.drop"), (config.held_out, "scene.held_out")):
        unknown = [n for n in listed if n not in names]
        if unknown:
            raise SceneError(
                f"{option}: no camera {', '.join(unknown)} in {path}", f"there are {', '.join(names)}"
            )
    entries = [e for e in entries if e["name"] not in config.drop]
    videos = {e["name"]: file_inside(root, e.get("video"), str(path)) for e in entries}
    for video in videos.values():
        same = [n for n, v in videos.items() if v.resolve() == video.resolve()]
        if len(same) > 1:
            raise SceneError(f"{path}: {some(same)} name one video, {video.name}", "give each camera its own")
    source = VideoFiles(videos)
    kept = [e["name"] for e in entries]
    line = timeline(config, source, kept, root)
    originals = [_camera(e, path) for e in entries]
    for camera in originals:
        _check_size(camera, source, path)
    width, height = working_size(config, originals[0].width, originals[0].height)
    cameras = tuple(_without_distortion(c.resized(width, height)) for c in originals)
    reach = config.near, config.far, config.aabb
    spaces = around_spaces(cameras, *reach) if config.bounds == "auto" else ()
    kind: BoundsKind = "contracted" if config.bounds == "contracted" else "box"
    if config.bounds == "ndc" and config.near:
        bounds = rig_ndc_bounds(cameras, config.near, config.far or FAR_NEARS * config.near)
    else:
        bounds = spaces[0] if spaces else frustum_bounds(cameras, kind, *reach)
    return Scene(
        config.name,
        cameras,
        line.num_frames,
        line.fps,
        bounds,
        tuple(config.held_out),
        line,
        tuple(originals),
        first=line.first,
        missing=line.missing(kept),
        notes=(*line.notes, *_lens_notes(originals)),
        spaces=spaces,
    )


def _lens_notes(cameras: Sequence[Camera]) -> list[str]:
    """Return one line for each kind of lens that frames are rid of."""
    lenses = {
        kind: [c.name for c in cameras if c.distortion and c.lens == kind] for kind in ("opencv", "fisheye")
    }
    said = {"opencv": "OpenCV's lens model", "fisheye": "OpenCV's fisheye model"}
    return [f"{some(names)}: undistorted by {said[kind]}" for kind, names in lenses.items() if names]


def _check_size(camera: Camera, source: VideoFiles, path: Path) -> None:
    """Raise SceneError where a camera is declared for another size than its video is displayed at."""
    width, height = source.size(camera.name)
    if (width, height) == (camera.width, camera.height):
        return
    if source.turned(camera.name) and (height, width) == (camera.width, camera.height):
        raise SceneError(
            f"{path}: {camera.name} is declared {camera.width}x{camera.height}, as its video is stored; "
            f"shown turned upright it is {width}x{height}",
            "give width, height and K of the displayed picture, or take the rotation out: "
            "ffmpeg -display_rotation 0 -i IN -c copy OUT",
        )
    raise SceneError(
        f"{path}: {camera.name} is declared {camera.width}x{camera.height}, its video is {width}x{height}",
        "calibrate for the video's own size, or mend width and height",
    )


def _entries(path: Path) -> list[dict[str, Any]]:
    tree = read_json(path, "set scene.cameras_file to the rig's JSON")
    entries = tree.get("cameras") if isinstance(tree, dict) else tree
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise SceneError(f"{path}: expected a list of cameras under 'cameras'")
    return entries


def _numbers(entry: dict, key: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    try:
        value = np.array(entry[key], dtype=np.float64).reshape(shape)
    except KeyError:
        raise SceneError(f"{path}: {entry['name']} has no {key}", _NEEDED) from None
    except (ValueError, TypeError, OverflowError):
        raise SceneError(
            f"{path}: {key} of {entry['name']} is not {'x'.join(map(str, shape))} numbers"
        ) from None
    if not (np.abs(value) < LARGEST).all():
        raise SceneError(
            f"{path}: {key} of {entry['name']} holds NaN, infinity or a huge number",
            "recalibrate, or list it in scene.drop",
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
    where = f"{path}: {entry['name']}"
    if width < 1 or height < 1 or K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[2] - [0, 0, 1]).max() > 1e-9:
        raise SceneError(f"{where}: width, height and K are no camera's", _NEEDED)
    listed = entry.get("distortion") or []
    if not isinstance(listed, list):
        raise SceneError(f"{where}: distortion is no list of numbers", "OpenCV's k1 k2 p1 p2 [k3 ...]")
    numbers = _numbers(entry, "distortion", (len(listed),), path) if listed else np.zeros(0)
    model = entry.get("model", entry.get("camera_model", "OPENCV"))
    lens, distortion = lens_of_list(str(model), [float(v) for v in numbers], where)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R.T, -R.T @ t
    return Camera(entry["name"], width, height, K, pose, distortion, lens=lens)


def _without_distortion(camera: Camera) -> Camera:
    return Camera(camera.name, camera.width, camera.height, camera.K, camera.world_from_camera)
