"""Reader of DyCheck / Nerfies folders (iPhone captures): one moving camera, and static ones to measure with.

    dataset.json      {"train_ids": [...], "val_ids": [...]}
    metadata.json     {"0_00012": {"camera_id": 0, "warp_id": 12}, ...}     warp_id is the instant
    camera/ID.json    orientation (3x3, camera from world), position, focal_length, principal_point,
    image_size, distortions
    rgb/1x/ID.png     frames
    scene.json        {"center": [x, y, z], "scale": s, "near": n, "far": f}     near and far in units after
    centring and scaling
    extra.json        {"fps": 30}, may be absent

Axes are OpenCV's. The camera of the training ids is edited and fitted to. A validation camera is used where
`scene.held_out` names it (cam01, ...), at the instants that it has. Depth and covisibility
are not read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.json_file import read_json
from i4d.scenes.moving import Capture, Shot, checked_pose, scene_of
from i4d.types import Scene


def read_dycheck(
    config: SceneConfig, root: Path, progress: Callable[[int, int], None] | None = None
) -> Scene:
    """Return the scene of a DyCheck folder; SceneError names file and frame that cannot be used."""
    dataset, metadata, world = (
        _json(root / name) for name in ("dataset.json", "metadata.json", "scene.json")
    )
    try:
        ids = {
            True: list(map(str, dataset["train_ids"])),
            False: list(map(str, dataset.get("val_ids") or [])),
        }
        centre, scale = np.array(world["center"], float).reshape(3), float(world["scale"])
        near, far = float(world["near"]), float(world["far"])
        of = {
            i: (int(metadata[i]["camera_id"]), int(metadata[i]["warp_id"])) for i in [*ids[True], *ids[False]]
        }
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
        raise SceneError(
            f"{root}: dataset.json, metadata.json or scene.json lacks {err}", "DyCheck's layout is wanted"
        ) from None
    if not ids[True]:
        raise SceneError(f"{root / 'dataset.json'}: no train_ids")
    instants = sorted({of[i][1] for i in ids[True]})
    trained = {of[i][0] for i in ids[True]}
    wanted = sorted(trained) + sorted({of[i][0] for i in ids[False]} - trained)
    captures = []
    for number in wanted:
        name = f"cam{number:02d}"
        if number not in trained and name not in config.held_out:
            continue
        by_time = {of[i][1]: i for i in of if of[i][0] == number}
        there = [t for t in instants if t in by_time]
        shots = tuple(_shot(root, by_time[t], centre, scale) for t in there)
        captures.append(Capture(name, shots, tuple(map(float, there))))
    extra = _json(root / "extra.json") if (root / "extra.json").exists() else {}
    try:
        fps = float(extra.get("fps") or 30.0)
    except (TypeError, ValueError):
        fps = math.nan
    if not 0 < fps < 1e5 or not np.isfinite([*centre, scale, near, far]).all() or scale <= 0:
        raise SceneError(f"{root}: extra.json or scene.json holds a number that cannot be")
    exact = root / "exact"
    return scene_of(
        config,
        root,
        captures,
        near,
        far,
        fps,
        str(exact) if exact.is_dir() else "",
    )


def _json(path: Path) -> dict[str, Any]:
    tree = read_json(
        path, "a DyCheck folder holds dataset.json, metadata.json, scene.json, camera/ and rgb/1x/"
    )
    if not isinstance(tree, dict):
        raise SceneError(f"{path}: expected a mapping")
    return tree


def _shot(root: Path, id: str, centre: np.ndarray, scale: float) -> Shot:
    if "/" in id or id.startswith("."):
        raise SceneError(f"{root}: a frame cannot be called {id!r}")
    path, file = root / "camera" / f"{id}.json", root / "rgb" / "1x" / f"{id}.png"
    if not file.is_file():
        raise SceneError(f"{file}: missing", "it is named in dataset.json")
    entry = _json(path)
    try:
        focal, aspect = float(entry["focal_length"]), float(entry.get("pixel_aspect_ratio", 1.0))
        cx, cy = map(float, entry["principal_point"])
        radial = [float(v) for v in entry.get("radial_distortion") or (0, 0, 0)]
        tangential = [float(v) for v in entry.get("tangential_distortion") or (0, 0)]
        R, position = (
            np.array(entry["orientation"], float).reshape(3, 3),
            np.array(entry["position"], float).reshape(3),
        )
        K = np.array([[focal, float(entry.get("skew", 0.0)), cx], [0, focal * aspect, cy], [0, 0, 1.0]])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
        raise SceneError(f"{path}: lacks {err}", "DyCheck's camera files are wanted") from None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R.T, (position - centre) * scale
    distortion = (radial[0], radial[1], *tangential[:2], *radial[2:3])
    return Shot(file, K, distortion if any(distortion) else (), checked_pose(pose, str(path)))
