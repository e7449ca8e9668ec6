"""Reader of N3DV / DyNeRF folders: `cam*.mp4` (or `frames/cam*/`) beside LLFF's `poses_bounds.npy`.

A row of the poses is a 3x5 matrix [down, right, back, position, (H, W, focal)] and near, far; row i belongs
to the i-th video *in order before anything is dropped* (by name or by number: `order.py`). The rig is centred
on its average pose and scaled so that NDC's near plane is 1 (docs/conventions.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.bounds import average_pose, forward_spaces, frustum_bounds, ndc_bounds
from i4d.scenes.calibration.order import better_order
from i4d.scenes.decode import SUFFIXES
from i4d.scenes.names import camera_name
from i4d.scenes.order import Decide, camera_order
from i4d.scenes.sources import ImageFolders, VideoFiles, working_size
from i4d.scenes.timeline import timeline
from i4d.types import Bounds, Camera, Scene

NEAR_MARGIN = (
    1.08  # units per nearest bound: the NDC near plane (1) lies this much behind the nearest content's bound
)

LARGEST = 1e9  # in units and pixels


def read_poses(path: Path, names: list[str]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return world_from_camera (4, 4) per row in OpenCV axes, (H, W, focal) (n, 3) and near, far (n, 2).

    Raises SceneError for a missing or unreadable file, a count that is not that of the videos, or numbers
    that are no pose.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SceneError(
            f"{path}: missing",
            "an N3DV folder holds LLFF's poses_bounds.npy; for other rigs use scene.reader: rig",
        ) from None
    except Exception:  # NumPy parses what may be anything, and raises as many things
        rows = None
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        raise SceneError(
            f"{path}: not a NumPy array of numbers", "write it with numpy.save, without pickled objects"
        )
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise SceneError(f"{path}: shape {rows.shape}, expected (cameras, 17)")
    rows = rows.astype(np.float64)
    if len(rows) != len(names):
        raise SceneError(
            f"{path}: {len(rows)} poses for {len(names)} videos ({names[0]} .. {names[-1]})",
            "one row per video, sorted by name, before any camera is dropped",
        )
    poses = []
    for name, row in zip(names, rows, strict=True):
        if not (np.abs(row) < LARGEST).all():
            raise SceneError(
                f"{path}: the pose of {name} holds NaN, infinity or a huge number",
                "recalibrate, or list it in scene.drop and mend the row",
            )
        down, right, back, position = row[:15].reshape(3, 5)[:, :4].T
        R = np.stack([right, down, -back], 1)
        if not np.allclose(R.T @ R, np.eye(3), atol=1e-2) or np.linalg.det(R) < 0:
            raise SceneError(
                f"{path}: the pose of {name} is no rotation", "columns are [down, right, back], LLFF order"
            )
        poses.append(np.block([[R, position[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]))
    if (rows[:, [4, 9, 14]] <= 0).any():
        raise SceneError(f"{path}: a height, width or focal length is not positive")
    if (rows[:, 15] <= 0).any() or (rows[:, 16] <= rows[:, 15]).any():
        raise SceneError(f"{path}: bounds must satisfy 0 < near < far")
    return poses, rows[:, :15].reshape(-1, 3, 5)[:, :, 4], rows[:, 15:]


def find_videos(root: Path) -> VideoFiles | ImageFolders:
    """Return the rig's videos, or the folders of pictures where there are none; SceneError where neither
    is there.
    """
    videos = [p for p in root.glob("cam*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if videos:
        paths = {p.stem: p for p in videos}
        if len(paths) < len(videos):
            raise SceneError(f"{root}: two videos of one camera", "keep one file per camera")
        return VideoFiles(paths)
    frames = root / "frames"
    folders = [p for p in frames.glob("cam*") if p.is_dir()] if frames.is_dir() else []
    if folders:
        return ImageFolders({p.name: p for p in folders})
    raise SceneError(
        f"{root}: no cam*.mp4 and no frames/cam*/ here",
        "point scene.root at the folder that holds the videos",
    )


def _check_size(name: str, source: VideoFiles | ImageFolders, hw: np.ndarray, where: str) -> None:
    """Raise SceneError where the shape of a camera's frames is not that of its pose row."""
    width, height = source.size(name)
    if abs(hw[1] / hw[0] - width / height) <= 0.01 * width / height:
        return
    if abs(hw[0] / hw[1] - width / height) <= 0.01 * width / height and source.turned(name):
        raise SceneError(
            f"{where}/{name}: shown turned upright its frames are {width}x{height}, poses_bounds.npy is for "
            f"{hw[1]:.0f}x{hw[0]:.0f} as stored",
            "calibrate with the pictures as they are displayed, or take the rotation out: "
            "ffmpeg -display_rotation 0 -i IN -c copy OUT",
        )
    raise SceneError(
        f"{where}/{name}: frames are {width}x{height}, poses_bounds.npy says {hw[1]:.0f}x{hw[0]:.0f}",
        "crop neither, or mend the size in the pose row",
    )


def read_n3dv(config: SceneConfig, root: Path, decide: Decide | None = None) -> Scene:
    """Return the scene of an N3DV folder; `decide` as in `order.camera_order`."""
    if not root.is_dir():
        raise SceneError(
            f"{root}: no such folder",
            f"fetch it with `i4d scenes fetch {config.name}` or set scene.root / --data",
        )
    source = find_videos(root)
    names, ordered = camera_order(source.names, config.order, str(root), decide)
    for name in names:
        camera_name(name, str(root))
    poses, hwf, ranges = read_poses(root / "poses_bounds.npy", names)
    for listed, option in ((config.drop, "scene.drop"), (config.held_out, "scene.held_out")):
        unknown = [n for n in listed if n not in names]
        if unknown:
            raise SceneError(
                f"{option}: no camera {', '.join(unknown)} in {root}", f"there are {', '.join(names)}"
            )
    keep = [i for i, n in enumerate(names) if n not in config.drop]
    kept = [names[i] for i in keep]
    line = timeline(config, source, kept, root)
    average = np.linalg.inv(average_pose([poses[i] for i in keep]))
    unit = NEAR_MARGIN * ranges[keep, 0].min()
    cameras, originals = [], []
    for i in keep:
        width, height = source.size(names[i])
        _check_size(names[i], source, hwf[i], str(root))
        focal = hwf[i, 2] * width / hwf[i, 1]
        pose = average @ poses[i]
        pose[:3, 3] /= unit
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        originals.append(Camera(names[i], width, height, K, pose))
        cameras.append(originals[-1].resized(*working_size(config, width, height)))
    near, far = 1.0, float(ranges[keep, 1].max() / unit)
    reach = config.near or near, config.far or far
    spaces: tuple[Bounds, ...] = ()
    if config.bounds == "auto":
        spaces = forward_spaces(cameras, *reach)
        bounds = spaces[0]
    elif config.bounds == "ndc":
        bounds = ndc_bounds(cameras, *reach)
    else:
        bounds = frustum_bounds(cameras, config.bounds, *reach, config.aabb)
    exact = root / "exact"
    return Scene(
        config.name,
        tuple(cameras),
        line.num_frames,
        line.fps,
        bounds,
        tuple(config.held_out),
        line,
        tuple(originals),
        str(exact) if exact.is_dir() and line.first == config.start else "",
        line.first,
        line.missing(kept),
        tuple([ordered] if ordered else []) + line.notes,
        spaces,
    )


def read(config: SceneConfig, root: Path, progress: Callable[[int, int], None] | None = None) -> Scene:
    """Return the scene of an N3DV folder; where its cameras' names can be read two ways, the pictures say
    which is right (`scene.check`).
    """
    return read_n3dv(config, root, partial(_order, config, root) if config.check else None)


def _order(config: SceneConfig, root: Path, by_name: list[str], by_number: list[str]) -> str | None:
    """Return the reading of the cameras' names, "name" or "number", that the pictures follow; None where that
    is not certain.
    """
    orders = ("name", "number")
    scenes = [read_n3dv(replace(config, order=order), root) for order in orders]
    best = better_order(scenes, config)
    return None if best is None else orders[best]
