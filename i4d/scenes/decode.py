"""Videos in: what a file says of itself, when its frames are shown, and their pixels as they are meant.

Display rotation is applied as ffmpeg and OpenCV do; YUV becomes RGB by the matrix and range that the stream
declares (undeclared: BT.601, limited, as ffmpeg and OpenCV read it, whatever the size). PyAV is imported only
when a video is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from i4d.errors import SceneError

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
# formats that store no time stamp a frame: what libraries make up for them is not to be relied on
_UNTIMED = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
_MATRIX = {
    0: "RGB",
    1: "BT.709",
    2: "BT.601 (not declared)",
    4: "FCC",
    5: "BT.601",
    6: "BT.601",
    7: "SMPTE 240M",
    9: "BT.2020",
}
_UNREAD = {8: "linear", 9: "logarithmic", 10: "logarithmic", 16: "PQ", 17: "SMPTE 428", 18: "HLG"}


@dataclass(frozen=True, eq=False)
class VideoFacts:
    """What a video is. `width`, `height`: as displayed; `stored`: as coded, before `rotation` (quarter turns
    counter-clockwise, 0..3). `times`: seconds of every frame since the first, ascending; `pts` the time
    stamps behind them, None where frames are taken to be evenly spaced. `fps`: the declared rate, 0 if there
    is none.
    """

    width: int
    height: int
    num_frames: int
    fps: float
    stored: tuple[int, int]
    rotation: int
    times: np.ndarray
    pts: np.ndarray | None
    colour: str
    declared_frames: int
    square: bool


def probe(path: Path) -> VideoFacts:
    """Return what a video is. All packets are looked at, and the first frame is decoded; SceneError where it
    cannot be opened or shows what is not read (HDR, mirrored or skewed display).
    """
    try:
        stat = path.stat()
    except OSError:
        raise SceneError(f"{path}: not a readable video", "replace the file or drop the camera") from None
    return _probed(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _probed(path: Path, size: int, changed: int) -> VideoFacts:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            pts, timed = _time_stamps(container, stream)
            declared, rate = stream.frames, float(stream.average_rate or stream.guessed_rate or 0)
            aspect, base = stream.sample_aspect_ratio, stream.time_base
        with av.open(str(path)) as container:
            first = next(container.decode(container.streams.video[0]))
            colour, rotation = _colour(first, path), _rotation(first, path)
    except StopIteration:
        raise SceneError(f"{path}: no frame can be decoded", "replace the file or drop the camera") from None
    except (OSError, av.error.FFmpegError, IndexError, ValueError) as err:
        raise SceneError(
            f"{path}: not a readable video ({type(err).__name__})", "replace the file or drop the camera"
        ) from None
    count = len(pts)
    times = (pts - pts[0]) * float(base or 0) if timed else np.arange(count) / (rate or 30.0)
    width, height = first.width, first.height
    shown = (height, width) if rotation % 2 else (width, height)
    square = aspect is None or aspect in (0, 1)
    stamps = pts if timed else None
    return VideoFacts(*shown, count, rate, (width, height), rotation, times, stamps, colour, declared, square)


def _time_stamps(container: Any, stream: Any) -> tuple[np.ndarray, bool]:
    """Return when the frames of a stream are shown, in its time base and ascending, by reading its packets
    only; and whether those are real time stamps (else the array only counts).
    """
    hides = stream.codec_context.name in ("vp8", "libvpx")
    stamps = []
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        if hides and not bytes(packet)[0] & 0x10:  # VP8 marks frames that are only referred to
            continue
        stamps.append(packet.pts)
    timed = (
        bool(stream.time_base)
        and container.format.name not in _UNTIMED
        and None not in stamps
        and len(set(stamps)) == len(stamps)
    )
    return (np.sort(np.array(stamps, dtype=np.int64)), True) if timed else (np.arange(len(stamps)), False)


def _colour(frame: Any, path: Path) -> str:
    """Return in words how YUV is read; SceneError for a matrix or transfer that cannot be honoured."""
    rgb = frame.format.is_rgb or frame.format.name.startswith("gray")
    matrix, transfer = int(frame.colorspace), int(frame.color_trc)
    if transfer in _UNREAD:
        raise SceneError(
            f"{path}: its transfer is {_UNREAD[transfer]}: high dynamic range or linear light, not sRGB",
            "convert it to BT.709 first (a tone-mapping filter), or record without HDR",
        )
    if not rgb and matrix not in _MATRIX:
        raise SceneError(f"{path}: colour matrix {matrix} is not read", "convert it to BT.709 first")
    if rgb:
        return "RGB"
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    return f"{_MATRIX[matrix]}, {'full' if full else 'limited'} range"


def _rotation(frame: Any, path: Path) -> int:
    """Return by how many quarter turns counter-clockwise a decoded frame is to be shown."""
    data = frame.side_data.get("DISPLAYMATRIX")  # a loop over side data gives keys since PyAV 19
    if data is None:
        return 0
    matrix = np.frombuffer(bytes(data), np.int32)[:9].reshape(3, 3)[:2, :2] / 65536.0
    turns = round(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) / 90) % 4
    pure = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), turns)
    size = np.sqrt(abs(np.linalg.det(matrix)))
    if not size or not np.allclose(matrix / size, pure, atol=0.02):
        raise SceneError(
            f"{path}: its display matrix mirrors the picture or turns it by no multiple of 90 degrees",
            "re-encode it upright, or take the matrix out: ffmpeg -display_rotation 0 -i IN -c copy OUT",
        )
    return turns


def read_video(path: Path, start: int, stop: int, stride: int = 1) -> Iterator[np.ndarray]:
    """Yield frames start, start+stride, ... below stop as uint8 (height, width, 3), as displayed.

    Raises SceneError naming file and frame where the video is corrupt or ends early.
    """
    return read_frames(path, range(start, stop, stride))


def read_frames(
    path: Path, wanted: Sequence[int], size: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames with these numbers (in order of time, ascending, repeats allowed) as uint8 (height,
    width, 3) sRGB, as displayed, decoding each frame once and holding one; reduced to a size (width, height)
    where one is given.

    Raises SceneError naming file and frame where the video is corrupt or ends early.
    """
    import av

    facts, found, place = probe(path), -1, 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                found = _number(frame, facts, found)
                if place < len(wanted) and found > wanted[place]:
                    raise SceneError(
                        f"{path}: frame {wanted[place]} cannot be decoded",
                        "replace the file or drop the camera",
                    )
                if place < len(wanted) and found == wanted[place]:
                    image = _displayed(frame, facts.rotation, size)
                    while place < len(wanted) and found == wanted[place]:
                        yield image
                        place += 1
                if place >= len(wanted):
                    return
    except (OSError, av.error.FFmpegError, IndexError, ValueError) as err:
        raise SceneError(
            f"{path}: corrupt at frame {found + 1} ({type(err).__name__})",
            "replace the file or drop the camera",
        ) from None
    if place < len(wanted):
        raise SceneError(
            f"{path}: ends after {found + 1} frames, {wanted[-1] + 1} were expected",
            "replace the file or shorten the frame range",
        )


def _displayed(frame: Any, rotation: int, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        width, height = size[::-1] if rotation % 2 else size
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), rotation))


def _number(frame: Any, facts: VideoFacts, before: int) -> int:
    """Return the number of a decoded frame; a frame that no packet announced keeps the number before."""
    if facts.pts is None or frame.pts is None:
        return before + 1
    at = int(np.searchsorted(facts.pts, frame.pts))
    return at if at < len(facts.pts) and facts.pts[at] == frame.pts else before
