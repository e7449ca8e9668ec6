"""What readers of single-camera captures share: frames listed one by one, each with a lens and a pose of its
own.

A capture becomes one `Camera` with a `path`: one pose a frame. Where the lens changes from frame to frame
(autofocus), frames are brought to one pinhole, that of the median K, as they are read; where it does not,
`prepare` undistorts as for any rig.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.geometry.paths import standing
from i4d.scenes.bounds import average_pose, frustum_bounds, ndc_bounds, swept_bounds
from i4d.scenes.lens import Kind, pull_maps
from i4d.scenes.readers.n3dv import NEAR_MARGIN
from i4d.scenes.sources import file_stamp, reduced, turned, working_size
from i4d.scenes.timeline import timeline
from i4d.scenes.video import image_file, image_size
from i4d.types import Bounds, Camera, Scene

SAME_PX = 0.01  # lenses whose K differ by less are one


@dataclass(frozen=True, eq=False)
class Shot:
    """One frame of one camera: its file, K in pixels of the file as displayed, distortion of that kind of
    lens, world_from_camera (4, 4) in OpenCV axes.
    """

    path: Path
    K: np.ndarray
    distortion: tuple[float, ...]
    pose: np.ndarray
    lens: Kind = "opencv"


@dataclass(frozen=True, eq=False)
class Capture:
    """All frames of one camera in order of time. `instants`: when they were taken, in any unit that all
    captures share; empty: one after another.
    """

    name: str
    shots: tuple[Shot, ...]
    instants: tuple[float, ...] = ()

    @property
    def one_lens(self) -> bool:
        first = self.shots[0]
        return all(
            np.abs(s.K - first.K).max() < SAME_PX and (s.lens, s.distortion) == (first.lens, first.distortion)
            for s in self.shots
        )

    @property
    def K(self) -> np.ndarray:
        """The lens that all frames are brought to."""
        return self.shots[0].K if self.one_lens else np.median([s.K for s in self.shots], 0)


class ListedImages:
    """The frames of captures, read from their files."""

    common_zero = True

    def __init__(self, captures: Sequence[Capture], fps: float) -> None:
        self._captures = {c.name: c for c in captures}
        self.fps = fps

    def size(self, camera: str) -> tuple[int, int]:
        return image_size(self._captures[camera].shots[0].path)

    def times(self, camera: str) -> np.ndarray:
        """Return when frames were taken."""
        capture = self._captures[camera]
        return np.array(capture.instants or range(len(capture.shots)), dtype=float)

    def rate(self, camera: str) -> float:
        return 1.0

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's images or lenses do."""
        shots = self._captures[camera].shots
        return [*file_stamp([s.path for s in shots]), [[s.K.tolist(), s.lens, s.distortion] for s in shots]]

    def frames(
        self, camera: str, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield images by number; of a lens that changes, as the common pinhole would see them. Reduced to
        `size` (width, height) where it is given.
        """
        capture = self._captures[camera]
        for shot in (capture.shots[n] for n in numbers):
            image = image_file(shot.path)
            yield reduced(image if capture.one_lens else to_pinhole(image, shot, capture.K), size)

    def notes(self, cameras: Sequence[str]) -> list[str]:
        """Return one line about pictures that are shown turned."""
        return turned([(name, self._captures[name].shots[0].path) for name in cameras])


def to_pinhole(image: np.ndarray, shot: Shot, K: np.ndarray) -> np.ndarray:
    """Return an image (height, width, 3) as an undistorted camera of lens `K` in the same place would see
    it.
    """
    maps = pull_maps(shot.lens, shot.distortion, shot.K, K, image.shape[1], image.shape[0])
    return cv2.remap(image, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def checked_pose(matrix: np.ndarray, where: str) -> np.ndarray:
    """Return a 4x4 world_from_camera; SceneError where it is no rotation and position."""
    if matrix.shape != (4, 4) or not (np.abs(matrix) < 1e9).all():
        raise SceneError(f"{where}: the pose is not 4x4 finite numbers")
    R = matrix[:3, :3]
    if not np.allclose(R.T @ R, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise SceneError(
            f"{where}: the pose is no rotation", "an orthonormal, right-handed matrix without scale is wanted"
        )
    return matrix


def scene_of(
    config: SceneConfig,
    root: Path,
    captures: Sequence[Capture],
    near: float,
    far: float,
    fps: float,
    exact: str = "",
    notes: Sequence[str] = (),
) -> Scene:
    """Return the scene of captures, the first of which moves as a rule. `near`, `far` in world units; 0: not
    known.

    Bounds "ndc" suits captures that look one way: the world is centred on the average pose and scaled as for
    N3DV folders.
    """
    captures = [c for c in captures if c.name not in config.drop]
    names = [c.name for c in captures]
    unknown = [n for n in config.held_out if n not in names]
    if unknown:
        raise SceneError(
            f"scene.held_out: no camera {', '.join(unknown)} in {root}", f"there are {', '.join(names)}"
        )
    source = ListedImages(captures, fps)
    line = timeline(config, source, names, root)
    near, far = config.near or near, config.far or far
    poses = {
        c.name: np.stack([c.shots[n].pose for n in line.tracks[c.name].numbers[line.used]]) for c in captures
    }
    trained = [n for n in names if n not in config.held_out]
    unit = 1.0
    if config.bounds == "ndc":
        if not near:
            raise SceneError(f"{root}: scene.bounds ndc needs a nearest depth", "set scene.near")
        unit = NEAR_MARGIN * near
        middle = np.linalg.inv(average_pose([pose for n in trained for pose in poses[n]]))
        poses = {n: _moved(middle, stack, unit) for n, stack in poses.items()}
    originals = tuple(_camera(c, poses[c.name], source) for c in captures)
    size = working_size(config, originals[0].width, originals[0].height)
    cameras = tuple(_pinhole(c.resized(*size)) for c in originals)
    stands = standing([c for c in cameras if c.name in trained], line.num_frames)
    return Scene(
        config.name,
        cameras,
        line.num_frames,
        line.fps,
        _bounds(config, stands, near / unit, far / unit),
        tuple(config.held_out),
        line,
        originals,
        exact if line.first == config.start else "",
        line.first,
        line.missing(names),
        (*notes, *line.notes),
    )


def _moved(middle: np.ndarray, poses: np.ndarray, unit: float) -> np.ndarray:
    out = middle @ poses
    out[:, :3, 3] /= unit
    return out


def _camera(capture: Capture, poses: np.ndarray, source: ListedImages) -> Camera:
    width, height = source.size(capture.name)
    first = capture.shots[0]
    distortion, lens = (first.distortion, first.lens) if capture.one_lens else ((), "opencv")
    moves = np.abs(poses - poses[0]).max() > 1e-9
    middle = poses[len(poses) // 2]
    return Camera(
        capture.name,
        width,
        height,
        capture.K,
        middle,
        distortion,
        poses if moves else None,
        lens,
    )


def _pinhole(camera: Camera) -> Camera:
    return Camera(
        camera.name, camera.width, camera.height, camera.K, camera.world_from_camera, (), camera.path
    )


def _bounds(config: SceneConfig, stands: Sequence[Camera], near: float, far: float) -> Bounds:
    if config.bounds == "ndc":
        return ndc_bounds(stands, 1.0, far or 20.0)
    kind = "box" if config.bounds == "auto" else config.bounds
    if near and far and not config.aabb:
        return swept_bounds(stands, kind, near, far)
    return frustum_bounds(stands, kind, near, far, config.aabb)
