"""The videos of a run, as H.264 files that play in every browser: watched cameras, novel path, edited
training views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i4d.report.footage import Footage
from i4d.report.shots import PATH_AFTER, PATH_BEFORE, after, before
from i4d.scenes.video import VideoWriter
from i4d.store.objects import write_error
from i4d.store.run_folder import RunFolder

SHORT_SIDE = 240  # pixels: smaller videos are enlarged to this
_GUTTER, _STRIP = 8, 22  # pixels of white between panels, and of the strip that names them
Read = Callable[[int], np.ndarray]

NO_VIDEOS = "videos: not written, PyAV is missing here; `i4d report RUN` on a host that has it writes them"


@dataclass(frozen=True)
class Clip:
    """One video: `group` it belongs to, what it shows, and its panels from left to right (functions of the
    frame index).

    `labels` name the panels within the picture, for videos that are shown without a page around them.
    """

    name: str
    group: str
    title: str
    panels: tuple[Read, ...]
    num_frames: int
    labels: tuple[str, ...] = ()


def clips(footage: Footage) -> list[Clip]:
    """Return every video that a run can show, in the order of the report."""
    out = []
    for view in footage.watched:
        out += _watched(footage, view)
    out += _path(footage)
    if footage.edited:
        out += [_edited_view(footage, view) for view in footage.scene.train_views]
    return out


def _watched(footage: Footage, view: int) -> list[Clip]:
    name = footage.camera(view).name
    made = [
        (kind, title)
        for kind, title in ((before(name), "Reconstruction"), (after(name), "Edited"))
        if footage.has(kind)
    ]
    panels = [("original", "Original video", lambda i: footage.original(view, i))]
    panels += [(kind.split("/")[0], title, _render(footage, kind)) for kind, title in made]
    count = min([footage.scene.num_frames, *(footage.num_rendered(kind) for kind, _ in made)])
    files = {"original": "original", "before": "reconstruction", "after": "edited"}
    out = [
        Clip(f"{name}-{files[kind]}", f"camera {name}", title, (read,), count) for kind, title, read in panels
    ]
    if len(panels) > 1:
        titles = tuple(title.lower() for _, title, _ in panels)
        out.append(
            Clip(
                f"{name}-side-by-side",
                "",
                " | ".join(titles),
                tuple(read for *_, read in panels),
                count,
                titles,
            )
        )
    return out


def _path(footage: Footage) -> list[Clip]:
    made = [
        (kind, title)
        for kind, title in ((PATH_BEFORE, "Before"), (PATH_AFTER, "Edited"))
        if footage.has(kind)
    ]
    out = [
        Clip(
            f"path-{kind.split('/')[1]}", "path", title, (_render(footage, kind),), footage.num_rendered(kind)
        )
        for kind, title in made
    ]
    if len(made) == 2:
        count = min(footage.num_rendered(kind) for kind, _ in made)
        both = tuple(_render(footage, kind) for kind, _ in made)
        out.append(Clip("path-side-by-side", "", "before | edited", both, count, ("before", "edited")))
    return out


def _edited_view(footage: Footage, view: int) -> Clip:
    name = footage.camera(view).name
    read = lambda i: footage.edited_frame(view, i)
    return Clip(f"edited-{name}", "edited views", name, (read,), footage.scene.num_frames)


def _render(footage: Footage, name: str) -> Read:
    return lambda i: footage.rendered(name, i)


def write_videos(
    run: RunFolder, progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Path]:
    """Write RUN/videos/*.mp4 and return them by name; `progress` hears of each that is written.

    I4DError where nothing is committed yet or the disk is full.
    """
    footage = Footage(run)
    folder = run.path / "videos"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(folder, err) from err
    out, wanted = {}, clips(footage)
    for clip in wanted:
        out[clip.name] = write_clip(folder / f"{clip.name}.mp4", clip, footage.scene.fps)
        progress(len(out), len(wanted))
    return out


def write_clip(path: Path, clip: Clip, fps: float, short_side: int = SHORT_SIDE) -> Path:
    """Write one video, whole or not at all, and return its path; I4DError where it cannot be written."""
    partial = path.with_suffix(".partial.mp4")
    frames = frames_of(clip, short_side)
    first = next(frames)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(partial, first.shape[1], first.shape[0], fps, quality="web") as video:
            video.write(first)
            for frame in frames:
                video.write(frame)
        partial.replace(path)
    except OSError as err:
        raise write_error(path, err) from err
    finally:
        partial.unlink(missing_ok=True)
    return path


def frames_of(clip: Clip, short_side: int = SHORT_SIDE) -> Iterator[np.ndarray]:
    """Yield a clip's frames: its panels side by side, all as high as the first, enlarged to a short side in
    pixels.
    """
    for index in range(clip.num_frames):
        yield side_by_side([enlarged(read(index), short_side) for read in clip.panels], clip.labels)


def enlarged(frame: np.ndarray, short_side: int = SHORT_SIDE) -> np.ndarray:
    """Return a frame whose shorter side has at least `short_side` pixels (Lanczos); larger frames as they
    are.
    """
    scale = short_side / min(frame.shape[:2])
    if scale <= 1:
        return frame
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_LANCZOS4)


def side_by_side(panels: Sequence[np.ndarray], labels: Sequence[str] = ()) -> np.ndarray:
    """Return frames in a row, with white between them and their labels above; sizes may differ, heights
    follow the first.
    """
    height = panels[0].shape[0]
    row: list[np.ndarray] = []
    for index, panel in enumerate(panels):
        if panel.shape[0] != height:
            panel = cv2.resize(
                panel, (round(panel.shape[1] * height / panel.shape[0]), height), interpolation=cv2.INTER_AREA
            )
        if labels:
            panel = np.concatenate([_strip(panel.shape[1], labels[index]), panel])
        row += [np.full((panel.shape[0], _GUTTER, 3), 255, np.uint8), panel] if row else [panel]
    return np.concatenate(row, 1)


def _strip(width: int, text: str) -> np.ndarray:
    strip = np.full((_STRIP, width, 3), 255, np.uint8)
    return cv2.putText(strip, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
