"""Pictures in and out and videos out, by Pillow and PyAV (bundles its own ffmpeg libraries; imported only
when a video is touched). Videos in: `decode.py`.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable
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
        self._stream.codec_context.colorspace = 5  # what RGB is converted by; unsaid, players take BT.709
        self._stream.codec_context.color_range = 1
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


_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of a picture as displayed; SceneError where it cannot be read."""
    return _opened(path, lambda image: image.size[::-1] if orientation_of(image) in _TURNED else image.size)


def image_orientation(path: Path) -> int:
    """Return a picture's EXIF orientation, 1 (upright) to 8."""
    return _opened(path, orientation_of)


def image_file(path: Path) -> np.ndarray:
    """Return a picture as displayed, uint8 (height, width, 3) sRGB; SceneError where it cannot be read."""
    from PIL import ImageOps

    def pixels(image: Any) -> np.ndarray:
        upright = image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)
        return np.array(upright.convert("RGB"))

    return _opened(path, pixels)


def orientation_of(image: Any) -> int:
    """Return the EXIF orientation of a picture that was opened, without decoding it."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        return 1  # Pillow would decode the whole picture to look behind its pixels
    value = image.getexif().get(0x0112, 1)
    return value if value in range(1, 9) else 1


def _opened(path: Path, look: Callable[[Any], Any]) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise SceneError(f"{path}: a picture of mode {image.mode}", "8 bits a channel are read")
            return look(image)
    except Image.DecompressionBombError:
        raise SceneError(f"{path}: too large a picture", "scale it down, or replace the file") from None
    # Pillow's plugins raise these on damaged files
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, IndexError, KeyError, struct.error):
        raise SceneError(f"{path}: not a readable image") from None
