"""The videos and pictures of a report: panels side by side, enlarged so that small scenes can be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i4d.errors import I4DError
from i4d.report.facts import RunFacts
from i4d.scenes.video import VideoWriter
from i4d.store.objects import write_error

PANEL_PIXELS = 360 * 480  # a panel is enlarged to about this size, and made smaller where it is much larger
LABEL_ROWS = 22
SHEET_VIEWS = 10


@dataclass(frozen=True)
class ReportVideo:
    """One written video. `panels` names what is shown from left to right."""

    name: str
    title: str
    path: Path
    panels: tuple[str, ...]
    width: int
    height: int


def panel_scale(width: int, height: int) -> float:
    """Return the factor by which a panel is shown: 3 or 2 for small images, below 1 for large ones."""
    factor = (PANEL_PIXELS / (width * height)) ** 0.5
    return float(min(3, max(1, int(factor + 0.5)))) if factor >= 1 else factor


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """Return a uint8 image enlarged (Lanczos) or made smaller (area) by a factor."""
    if factor == 1:
        return image
    method = cv2.INTER_LANCZOS4 if factor > 1 else cv2.INTER_AREA
    height, width = image.shape[:2]
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=method)


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    """Return an image with a dark strip above it that says what it is."""
    strip = np.full((LABEL_ROWS, image.shape[1], 3), 24, np.uint8)
    cv2.putText(strip, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def bytes_of(images: np.ndarray) -> np.ndarray:
    """Return float images in [0, 1] as uint8, rounded to nearest."""
    return (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)


def write_panels(path: Path, panels: dict[str, np.ndarray], fps: float, factor: float | None = None) -> tuple[int, int]:
    """Write videos (frame, height, width, 3) in [0, 1] of one length side by side; returns (width, height) of the file.

    I4DError where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(path, err) from err
    lengths = {len(video) for video in panels.values()}
    if len(lengths) != 1:
        raise I4DError(f"{path}: panels of different lengths {sorted(lengths)}")
    writer = None
    partial = path.with_name(f".{path.stem}.partial.mp4")
    size = (0, 0)
    try:
        for index in range(lengths.pop()):
            images = []
            for name, video in panels.items():
                height, width = video.shape[1:3]
                scale = panel_scale(width, height) if factor is None else factor
                images.append(labelled(resized(bytes_of(video[index]), scale), name))
            frame = np.concatenate(_same_height(images), 1)
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                writer = VideoWriter(partial, *size, fps, quality="web")
            writer.write(frame)
        writer.close()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _same_height(images: list[np.ndarray]) -> list[np.ndarray]:
    tallest = max(image.shape[0] for image in images)
    return [np.pad(image, ((0, tallest - image.shape[0]), (0, 0), (0, 0))) for image in images]


def write_videos(run: RunFacts) -> tuple[ReportVideo, ...]:
    """Write a run's before-and-after videos under `videos/` and return what was written."""
    folder, fps, out = run.folder.path / "videos", run.scene.fps, []
    kind = "held out" if run.scene.held_out_views else "trained on, none is held out"
    before = run.watched_frames("watched_before")
    after = run.watched_frames("watched_after") if run.edited else None
    for index, view in enumerate(run.watched):
        name = run.scene.cameras[view].name
        panels = {"original": run.original_frames(view), "reconstruction": before[index]}
        if after is not None:
            panels["edited"] = after[index]
        path = folder / f"{name}.mp4"
        size = write_panels(path, panels, fps)
        out.append(ReportVideo(name, f"Camera {name} ({kind})", path, tuple(panels), *size))
    path_panels = {"reconstruction": run.rendered("path_before")}
    if run.edited:
        path_panels["edited"] = run.rendered("path_after")
    path = folder / "novel_path.mp4"
    size = write_panels(path, path_panels, fps)
    out.append(ReportVideo("novel_path", "A camera path that nobody filmed", path, tuple(path_panels), *size))
    return tuple(out)


@dataclass(frozen=True)
class Picture:
    """A still of the key-frame sheet: JPEG bytes and what they show."""

    alt: str
    jpeg: bytes
    width: int
    height: int


def key_sheet(run: RunFacts) -> list[tuple[str, list[Picture]]]:
    """Return the rows of the key-frame sheet: (what, one picture per view), originals first, at most ten views."""
    key, views = run.plan["key_frame"], run.plan["views"][:SHEET_VIEWS]
    names = [run.scene.cameras[view].name for view in views]
    rows = [("original", [run.original_frames(view, [key])[0] for view in views])]
    if run.edited:
        rows.append(("edited, before the refit", [run.edited_frames(view, [key])[0] for view in views]))
    return [(what, [_picture(image, f"{name}, frame {key}, {what}") for name, image in zip(names, images, strict=True)]) for what, images in rows]


def _picture(image: np.ndarray, alt: str) -> Picture:
    pixels = bytes_of(image)
    height, width = pixels.shape[:2]
    factor = min(1.0, 480 / width)
    pixels = resized(pixels, 2 if width < 240 else factor)
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done, f"could not encode {alt}"
    return Picture(alt, jpeg.tobytes(), pixels.shape[1], pixels.shape[0])
