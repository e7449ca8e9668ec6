"""Where a rig's frames come from: videos, or folders of numbered pictures (both `timeline.Recordings`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.decode import VideoFacts, probe, read_frames
from i4d.scenes.names import some
from i4d.scenes.order import numbered
from i4d.scenes.video import image_file, image_orientation, image_size

PICTURES = (".png", ".jpg", ".jpeg")


def file_stamp(paths: list[Path]) -> list:
    stats = [p.stat() for p in paths]
    return [
        str(paths[0].resolve()),
        len(paths),
        sum(s.st_size for s in stats),
        max(s.st_mtime_ns for s in stats),
    ]


class VideoFiles:
    """One video per camera."""

    fps = 0.0
    common_zero = False

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    def facts(self, camera: str) -> VideoFacts:
        """Return what the camera's file is (read once)."""
        return probe(self._paths[camera])

    def size(self, camera: str) -> tuple[int, int]:
        return self.facts(camera).width, self.facts(camera).height

    def num_frames(self, camera: str) -> int:
        return self.facts(camera).num_frames

    def times(self, camera: str) -> np.ndarray:
        """Return seconds since the camera's first frame; SceneError for a video without frames."""
        if not self.num_frames(camera):
            raise SceneError(f"{self._paths[camera]}: no frames", "replace the file or drop the camera")
        return self.facts(camera).times

    def rate(self, camera: str) -> float:
        return self.facts(camera).fps

    def turned(self, camera: str) -> bool:
        """Return whether display exchanges the width and height that are stored."""
        return bool(self.facts(camera).rotation % 2)

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's file does, or how it is read."""
        facts = self.facts(camera)
        return [*file_stamp([self._paths[camera]]), facts.rotation, facts.colour]

    def frames(
        self, camera: str, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield source frames by number, ascending; reduced to `size` (width, height) where it is given."""
        return read_frames(self._paths[camera], numbers, size)

    def notes(self, cameras: Sequence[str]) -> list[str]:
        """Return one line for each way in which videos are read, with the cameras that it holds for."""
        said: dict[str, list[str]] = defaultdict(list)
        for name in cameras:
            facts = self.facts(name)
            for text in _told(facts):
                said[text].append(name)
        return [f"{some(names)}: {text}" for text, names in said.items()]


def _told(facts: VideoFacts) -> Iterator[str]:
    yield f"colours are read as {facts.colour}"
    if facts.rotation:
        yield f"shown turned by {90 * facts.rotation} degrees counter-clockwise, as the display matrix says"
    if facts.pts is None:
        yield "no usable time stamps: frames are taken to be evenly spaced"
    if not facts.square:
        yield "pixels are declared not square; they are taken as stored, and K must be too"
    if 0 < facts.num_frames < facts.declared_frames:
        yield f"cut off: {facts.num_frames} of {facts.declared_frames} frames are there"


class ImageFolders:
    """One folder of numbered pictures per camera; their numbers are instants."""

    fps = 30.0
    common_zero = True

    def __init__(self, folders: dict[str, Path]) -> None:
        self._files: dict[str, list[Path]] = {}
        self._numbers: dict[str, list[int]] = {}
        for name, folder in folders.items():
            files = [
                p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")
            ]
            if not files:
                raise SceneError(f"{folder}: no images", "drop the camera with scene.drop or add its frames")
            self._files[name], self._numbers[name] = numbered(sorted(files), str(folder))

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def size(self, camera: str) -> tuple[int, int]:
        return image_size(self._files[camera][0])

    def num_frames(self, camera: str) -> int:
        return len(self._files[camera])

    def times(self, camera: str) -> np.ndarray:
        """Return the numbers of the pictures."""
        return np.array(self._numbers[camera], dtype=float)

    def rate(self, camera: str) -> float:
        return 1.0

    def turned(self, camera: str) -> bool:
        """Return whether display exchanges the width and height that are stored."""
        return image_orientation(self._files[camera][0]) >= 5

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's images do."""
        return file_stamp(self._files[camera])

    def frames(
        self, camera: str, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield pictures by their place in the order of numbers; reduced to `size` (width, height) where it
        is given.
        """
        return (reduced(image_file(self._files[camera][n]), size) for n in numbers)

    def notes(self, cameras: Sequence[str]) -> list[str]:
        """Return a line about pictures whose order by number is not that by name, and about turned ones."""
        other = [n for n in cameras if self._files[n] != sorted(self._files[n])]
        ordered = [f"{some(other)}: pictures are ordered by the number in their names"] if other else []
        return ordered + turned([(name, self._files[name][0]) for name in cameras])


def reduced(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return a picture at a size (width, height), as it is without one."""
    if size is None or size == image.shape[1::-1]:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def turned(pictures: Sequence[tuple[str, Path]]) -> list[str]:
    """Return one line about the pictures, by name, that EXIF turns."""
    names = [name for name, path in pictures if image_orientation(path) != 1]
    return [f"{some(names)}: pictures are turned as their EXIF orientation says"] if names else []


def working_size(config: SceneConfig, width: int, height: int) -> tuple[int, int]:
    """Return the working (width, height) of a rig whose first camera has this size."""
    if config.width and config.height:
        return config.width, config.height
    if config.width:
        return config.width, round(config.width * height / width)
    if config.height:
        return round(config.height * width / height), config.height
    return round(width / config.downsample), round(height / config.downsample)
