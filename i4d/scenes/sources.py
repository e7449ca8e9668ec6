"""Where a rig's frames come from, and what all readers check about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.video import VideoFacts, image_file, image_size, probe, read_video


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

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths
        self._facts: dict[str, VideoFacts] = {}

    @property
    def names(self) -> list[str]:
        return list(self._paths)

    def facts(self, camera: str) -> VideoFacts:
        """Return what the container declares (read once)."""
        if camera not in self._facts:
            self._facts[camera] = probe(self._paths[camera])
        return self._facts[camera]

    def size(self, camera: str) -> tuple[int, int]:
        return self.facts(camera).width, self.facts(camera).height

    def num_frames(self, camera: str) -> int:
        return self.facts(camera).num_frames

    def fps(self, camera: str) -> float:
        return self.facts(camera).fps

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's file does: name, size, time of last change."""
        return file_stamp([self._paths[camera]])

    def read(self, camera: str, start: int, stop: int, stride: int = 1) -> Iterator[np.ndarray]:
        """Yield source frames start, start+stride, ... below stop."""
        return read_video(self._paths[camera], start, stop, stride)


class Frames(Protocol):
    """What is asked of a source before anything is decoded."""

    def num_frames(self, camera: str) -> int: ...
    def fps(self, camera: str) -> float: ...


class ImageFolders:
    """One folder of numbered images per camera."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._files = {
            n: sorted(p for p in f.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
            for n, f in folders.items()
        }
        for name, files in self._files.items():
            if not files:
                raise SceneError(
                    f"{folders[name]}: no images", "drop the camera with scene.drop or add its frames"
                )

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def size(self, camera: str) -> tuple[int, int]:
        return image_size(self._files[camera][0])

    def num_frames(self, camera: str) -> int:
        return len(self._files[camera])

    def fps(self, camera: str) -> float:
        return 30.0

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's images do."""
        return file_stamp(self._files[camera])

    def read(self, camera: str, start: int, stop: int, stride: int = 1) -> Iterator[np.ndarray]:
        """Yield images start, start+stride, ... below stop."""
        return (image_file(path) for path in self._files[camera][start:stop:stride])


def checked_timeline(config: SceneConfig, source: Frames, names: list[str], root: Path) -> tuple[int, float]:
    """Return the number of frames used and their rate; SceneError where the range leaves the videos or they
    differ in length.
    """
    if not names:
        raise SceneError(f"{root}: every camera is dropped", "shorten scene.drop")
    if set(config.held_out) >= set(names):
        raise SceneError(f"{root}: every camera is held out", "shorten scene.held_out")
    lengths = {n: source.num_frames(n) for n in names}
    shortest, longest = min(lengths, key=lengths.get), max(lengths, key=lengths.get)
    span = (
        (config.num_frames - 1) * config.stride + 1 if config.num_frames else lengths[shortest] - config.start
    )
    if lengths[shortest] != lengths[longest] and not config.num_frames:
        raise SceneError(
            f"{root}: videos of different lengths: {shortest} has {lengths[shortest]} frames, "
            f"{longest} {lengths[longest]}",
            "set scene.num_frames (and scene.start) to a range that all of them have",
        )
    if span <= 0 or config.start + span > lengths[shortest]:
        raise SceneError(
            f"{root}: frames {config.start}..{config.start + max(0, span - 1)} asked, {shortest} has "
            f"{lengths[shortest]}",
            "lower scene.start, scene.num_frames or scene.stride",
        )
    return config.num_frames or -(-span // config.stride), (source.fps(names[0]) or 30.0) / config.stride


def working_size(config: SceneConfig, width: int, height: int) -> tuple[int, int]:
    """Return the working (width, height) of a rig whose first camera has this size."""
    if config.width and config.height:
        return config.width, config.height
    if config.width:
        return config.width, round(config.width * height / width)
    if config.height:
        return round(config.height * width / height), config.height
    return round(width / config.downsample), round(height / config.downsample)
