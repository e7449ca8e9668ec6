"""Video files in and out, by PyAV (bundles its own ffmpeg libraries). PyAV is imported only when a video is
touched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from i4d.errors import SceneError

QUALITY = {"archive": ("yuv444p", "6"), "web": ("yuv420p", "17")}


def available() -> bool:
    """Return whether PyAV is installed; a GPU worker may lack it."""
    return importlib.util.find_spec("av") is not None


class VideoWriter:
    """Write uint8 (height, width, 3) frames as H.264. "archive": 4:4:4 and nearly lossless, for scenes that
    are input again; "web": 4:2:0, plays in every browser (odd sizes are padded by one pixel, as 4:2:0
    demands).
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: float, quality: Literal["archive", "web"] = "web"
    ) -> None:
        import av

        pixel_format, crf = QUALITY[quality]
        self._pad = quality == "web"
        try:
            self._container = av.open(str(path), "w")
        except OSError as err:
            raise SceneError(
                f"{path}: cannot write the video: {err.strerror}", "check the folder and the disk"
            ) from None
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        self._stream.width = width + (width % 2 if self._pad else 0)
        self._stream.height = height + (height % 2 if self._pad else 0)
        self._stream.pix_fmt = pixel_format
        self._stream.options = {"crf": crf, "preset": "medium", "threads": "1"}
        self._shape = (height, width, 3)

    def write(self, frame: np.ndarray) -> None:
        """Append one frame."""
        import av

        assert frame.shape == self._shape and frame.dtype == np.uint8, (frame.shape, frame.dtype)
        if self._pad and (frame.shape[0] % 2 or frame.shape[1] % 2):
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        for packet in self._stream.encode(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        ):
            self._container.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:  # the error that is on its way says more than a failed flush would
            self._container.close()


class ImageWriter:
    """Write uint8 (height, width, 3) frames as numbered PNG files of a new folder; the same calls as
    VideoWriter.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._count = folder, 0

    def write(self, frame: np.ndarray) -> None:
        """Append one frame."""
        from PIL import Image

        Image.fromarray(frame).save(self._folder / f"{self._count:05d}.png", compress_level=1)
        self._count += 1

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of a picture; SceneError where it cannot be read."""
    return _opened(path, lambda image: image.size)


def image_file(path: Path) -> np.ndarray:
    """Return a picture as uint8 (height, width, 3) sRGB; SceneError where it cannot be read."""
    return _opened(path, lambda image: np.asarray(image.convert("RGB")))


def _opened(path: Path, look: Callable[[Any], Any]) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return look(image)
    except (OSError, UnidentifiedImageError):
        raise SceneError(f"{path}: not a readable image") from None


@dataclass(frozen=True)
class VideoFacts:
    """What a container declares; `num_frames` may be 0 where it does not say."""

    width: int
    height: int
    num_frames: int
    fps: float


def probe(path: Path) -> VideoFacts:
    """Return size, frame count and rate of a video; SceneError where it cannot be opened."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return VideoFacts(
                stream.codec_context.width,
                stream.codec_context.height,
                stream.frames,
                float(stream.average_rate or 0),
            )
    except (OSError, av.error.FFmpegError, IndexError) as err:
        raise SceneError(
            f"{path}: not a readable video ({type(err).__name__})", "replace the file or drop the camera"
        ) from None


def read_video(path: Path, start: int, stop: int, stride: int = 1) -> Iterator[np.ndarray]:
    """Yield frames start, start+stride, ... below stop as uint8 (height, width, 3), decoding each frame once
    and holding one.

    Raises SceneError naming file and frame where the video is corrupt or ends early.
    """
    import av

    index = -1
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                index += 1
                if index >= stop:
                    return
                if index >= start and (index - start) % stride == 0:
                    yield frame.to_ndarray(format="rgb24")
    except (OSError, av.error.FFmpegError, IndexError) as err:
        raise SceneError(
            f"{path}: corrupt at frame {index + 1} ({type(err).__name__})",
            "replace the file or drop the camera",
        ) from None
    if index + 1 < stop:
        raise SceneError(
            f"{path}: ends after {index + 1} frames, {stop} were expected",
            "replace the file or shorten the frame range",
        )
