"""Reader of N3DV / DyNeRF folders: `cam*.mp4` (or `frames/cam*/`) beside LLFF's `poses_bounds.npy`.

A row of the poses is a 3x5 matrix [down, right, back, position, (H, W, focal)] and near, far; row i belongs
to the i-th video *sorted by name before anything is dropped*. The rig is centred on its average pose and
scaled so that NDC's near plane is 1 (docs/conventions.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.bounds import frustum_bounds, ndc_bounds
from i4d.scenes.sources import ImageFolders, VideoFiles, checked_timeline, working_size
from i4d.types import Camera, Scene

NEAR_MARGIN = (
    1.08  # units per nearest bound: the NDC near plane (1) lies this much behind the nearest content's bound
)


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
    except (ValueError, OSError, EOFError):
        raise SceneError(
            f"{path}: not a NumPy array of numbers", "write it with numpy.save, without pickled objects"
        ) from None
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise SceneError(f"{path}: shape {rows.shape}, expected (cameras, 17)")
    if len(rows) != len(names):
        raise SceneError(
            f"{path}: {len(rows)} poses for {len(names)} videos ({names[0]} .. {names[-1]})",
            "one row per video, sorted by name, before any camera is dropped",
        )
    poses = []
    for name, row in zip(names, rows, strict=True):
        if not np.isfinite(row).all():
            raise SceneError(
                f"{path}: the pose of {name} holds NaN or infinity",
                "recalibrate, or list it in scene.drop and mend the row",
            )
        down, right, back, position = row[:15].reshape(3, 5)[:, :4].T
        R = np.stack([right, down, -back], 1)
        if not np.allclose(R.T @ R, np.eye(3), atol=1e-2) or np.linalg.det(R) < 0:
            raise SceneError(
                f"{path}: the pose of {name} is no rotation", "columns are [down, right, back], LLFF order"
            )
        poses.append(np.block([[R, position[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]))
    if (rows[:, 15] <= 0).any() or (rows[:, 16] <= rows[:, 15]).any():
        raise SceneError(f"{path}: bounds must satisfy 0 < near < far")
    return poses, rows[:, :15].reshape(-1, 3, 5)[:, :, 4], rows[:, 15:]


def average_pose(poses: list[np.ndarray]) -> np.ndarray:
    """Return the rig's average world_from_camera: mean position, mean optical axis, mean down direction made
    orthogonal.
    """
    forward = sum(p[:3, 2] for p in poses)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(sum(p[:3, 1] for p in poses), forward)
    right = right / np.linalg.norm(right)
    average = np.eye(4)
    average[:3] = np.stack(
        [right, np.cross(forward, right), forward, np.mean([p[:3, 3] for p in poses], 0)], 1
    )
    return average


def find_videos(root: Path) -> VideoFiles | ImageFolders:
    """Return the folder's frame source; cameras are named by file stem, sorted."""
    videos = sorted(root.glob("cam*.mp4"))
    if videos:
        return VideoFiles({p.stem: p for p in videos})
    folders = (
        sorted(p for p in (root / "frames").glob("cam*") if p.is_dir()) if (root / "frames").is_dir() else []
    )
    if folders:
        return ImageFolders({p.name: p for p in folders})
    raise SceneError(
        f"{root}: no cam*.mp4 and no frames/cam*/ here",
        "point scene.root at the folder that holds the videos",
    )


def read_n3dv(config: SceneConfig, root: Path) -> Scene:
    """Return the scene of an N3DV folder."""
    if not root.is_dir():
        raise SceneError(
            f"{root}: no such folder",
            f"fetch it with `i4d scenes fetch {config.name}` or set scene.root / --data",
        )
    source = find_videos(root)
    names = source.names
    poses, hwf, ranges = read_poses(root / "poses_bounds.npy", names)
    for listed, option in ((config.drop, "scene.drop"), (config.held_out, "scene.held_out")):
        unknown = [n for n in listed if n not in names]
        if unknown:
            raise SceneError(
                f"{option}: no camera {', '.join(unknown)} in {root}", f"there are {', '.join(names)}"
            )
    keep = [i for i, n in enumerate(names) if n not in config.drop]
    num_frames, fps = checked_timeline(config, source, [names[i] for i in keep], root)
    average = np.linalg.inv(average_pose([poses[i] for i in keep]))
    unit = NEAR_MARGIN * ranges[keep, 0].min()
    cameras, originals = [], []
    for i in keep:
        width, height = source.size(names[i])
        if abs(hwf[i, 1] / hwf[i, 0] - width / height) > 0.01 * width / height:
            raise SceneError(
                f"{root}/{names[i]}: frames are {width}x{height}, poses_bounds.npy says "
                f"{hwf[i, 1]:.0f}x{hwf[i, 0]:.0f}",
                "crop neither, or mend the size in the pose row",
            )
        focal = hwf[i, 2] * width / hwf[i, 1]
        pose = average @ poses[i]
        pose[:3, 3] /= unit
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        originals.append(Camera(names[i], width, height, K, pose))
        cameras.append(originals[-1].resized(*working_size(config, width, height)))
    near, far = 1.0, float(ranges[keep, 1].max() / unit)
    if config.bounds in ("auto", "ndc"):
        bounds = ndc_bounds(cameras, near, far)
    else:
        reach = config.near or near, config.far or far
        bounds = frustum_bounds(cameras, config.bounds, *reach, config.aabb)
    exact = root / "exact"
    return Scene(
        config.name,
        tuple(cameras),
        num_frames,
        fps,
        bounds,
        tuple(config.held_out),
        source,
        tuple(originals),
        str(exact) if exact.is_dir() else "",
    )
