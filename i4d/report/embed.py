"""Pictures and videos as data URIs, bounded in size so that the report stays one file that opens anywhere."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import cv2
import numpy as np

from i4d.scenes.decode import probe, read_video
from i4d.scenes.video import VideoWriter

SMALLEST = 64  # pixels of the shorter side, below which a video is not shrunk any further
_SHEET_WIDTH = 480  # pixels: pictures wider than this are shrunk


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture_uri(frame: np.ndarray, width: int = _SHEET_WIDTH) -> str:
    """Return a uint8 (height, width, 3) frame as a data URI, at most `width` pixels wide: PNG where small,
    else JPEG.
    """
    from PIL import Image

    if frame.shape[1] > width:
        frame = cv2.resize(
            frame,
            (width, max(1, round(frame.shape[0] * width / frame.shape[1]))),
            interpolation=cv2.INTER_AREA,
        )
    buffer, small = io.BytesIO(), frame.shape[0] * frame.shape[1] <= 40_000
    Image.fromarray(np.ascontiguousarray(frame)).save(
        buffer, "PNG" if small else "JPEG", **({} if small else {"quality": 90})
    )
    return data_uri(buffer.getvalue(), "image/png" if small else "image/jpeg")


def video_uri(path: Path, cap_bytes: int) -> str:
    """Return a video as a data URI of at most `cap_bytes` before encoding: a larger one is made smaller in
    width and height.
    """
    facts, data = probe(path), path.read_bytes()
    scale, small = 1.0, path.with_suffix(".small.mp4")
    while len(data) > cap_bytes and scale * min(facts.width, facts.height) > SMALLEST:
        scale *= min(0.8, 0.95 * math.sqrt(cap_bytes / len(data)))
        scale = max(scale, SMALLEST / min(facts.width, facts.height))
        try:
            _shrink(path, small, scale)
            data = small.read_bytes()
        finally:
            small.unlink(missing_ok=True)
    return data_uri(data, "video/mp4")


def _shrink(path: Path, target: Path, scale: float) -> None:
    facts = probe(path)
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (facts.width, facts.height))
    with VideoWriter(target, width, height, facts.fps, quality="web") as video:
        for frame in read_video(path, 0, facts.num_frames):
            video.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
