"""Measuring videos that anybody's method made, by the figures that i4d's own runs are measured by.

The videos lie in one folder, one per camera, named as the cameras are: cam00.mp4, or a folder cam00/ of
pictures in the order of their names; a single video may also be pictures in the folder itself. What they were
edited from is a folder of originals with the same names, or a run of i4d, which also has depth (for the
agreement between cameras) and known answers where its editor was the demonstration editor. Masks (white:
where the edit may act) are named likewise, and may be one picture a camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i4d.errors import SceneError
from i4d.metrics import cells
from i4d.metrics.image import image_psnr
from i4d.metrics.steadiness import FLOW, temporal_errors, view_errors
from i4d.metrics.temporal import Unsteadiness
from i4d.report.answers import answer_in_words, answers_of, source_frames, why_no_answer_of
from i4d.report.footage import Footage
from i4d.report.shots import KEY_BEFORE
from i4d.scenes.decode import probe, read_video
from i4d.scenes.order import by_number
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.scenes.video import image_file

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
PICTURES = (".png", ".jpg", ".jpeg")
ALONE = "video"  # what a camera is called whose pictures lie in the folder itself
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Pair:
    """One camera: its edited and original frames, uint8 (time, h, w, 3) of one size."""

    name: str
    edited: np.ndarray
    original: np.ndarray


def video_files(folder: Path) -> dict[str, Path]:
    """Return the videos and the folders of pictures in a folder, by name; SceneError where there are none."""
    if not folder.is_dir():
        raise SceneError(f"{folder}: no such folder", "one video or folder of pictures per camera in it")
    found = {
        p.stem: p
        for p in sorted(folder.iterdir())
        if p.suffix.lower() in SUFFIXES or (p.is_dir() and _pictures(p))
    }
    if found:
        return found
    if _pictures(folder):
        return {ALONE: folder}
    hint = f"per camera a file ending in {', '.join(SUFFIXES)}, or a folder of PNG or JPEG pictures"
    raise SceneError(f"{folder}: no videos there", hint)


def _pictures(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.suffix.lower() in PICTURES)
    return sorted(found, key=lambda p: by_number(p.name))


def frames_of(path: Path) -> np.ndarray:
    """Return all frames of a video, of a folder of pictures or of one picture, uint8 (time, h, w, 3);
    SceneError for sizes that differ.
    """
    if path.suffix.lower() in SUFFIXES:
        return np.stack(list(read_video(path, 0, probe(path).num_frames)))
    frames = [image_file(p) for p in (_pictures(path) if path.is_dir() else [path])]
    if len({frame.shape for frame in frames}) > 1:
        raise SceneError(f"{path}: pictures of different sizes", "one size per camera")
    return np.stack(frames)


def masks_of(folder: Path, name: str, pair: Pair) -> np.ndarray | None:
    """Return where a camera's edit may act, bool (time, h, w), brought to the size of its videos; None where
    the folder has none of it.

    SceneError where there are more or fewer than frames, unless it is one picture for all.
    """
    places = [folder / name, *(folder / f"{name}{suffix}" for suffix in (*SUFFIXES, *PICTURES))]
    place = folder if name == ALONE and _pictures(folder) else next((p for p in places if p.exists()), None)
    if place is None:
        return None
    found, (count, height, width) = frames_of(place).max(-1), pair.original.shape[:3]
    if len(found) not in (1, count):
        raise SceneError(f"{place}: {len(found)} masks for {count} frames", "one per frame, or one for all")
    inside = np.stack(
        [cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) > 127 for mask in found]
    )
    return np.broadcast_to(inside, (count, height, width))


def pairs_with_folder(folder: Path, originals: Path) -> list[Pair]:
    """Return the cameras that both folders hold; SceneError where there is none."""
    edited, source = video_files(folder), video_files(originals)
    names = [name for name in edited if name in source]
    if not names:
        raise SceneError(
            f"{folder} and {originals}: no video has the same name in both",
            "name both by camera, such as cam00.mp4",
        )
    return [_pair(name, frames_of(edited[name]), frames_of(source[name])) for name in names]


def pairs_with_run(folder: Path, footage: Footage) -> list[Pair]:
    """Return the cameras of a run that the folder has videos of; SceneError where there is none."""
    edited = video_files(folder)
    views = {footage.camera(v).name: v for v in range(len(footage.scene.cameras))}
    if list(edited) == [ALONE] and len(views) == 1:
        edited = {next(iter(views)): edited[ALONE]}
    names = [name for name in edited if name in views]
    if not names:
        raise SceneError(
            f"{folder}: no video is named as a camera of {footage.run.path}", f"cameras: {', '.join(views)}"
        )
    count = footage.scene.num_frames
    return [
        _pair(n, frames_of(edited[n]), np.stack([footage.original(views[n], i) for i in range(count)]))
        for n in names
    ]


def _pair(name: str, edited: np.ndarray, original: np.ndarray) -> Pair:
    """Return a pair of equal length and size; the edited video is brought to the original's size."""
    if len(edited) != len(original):
        raise SceneError(
            f"{name}: {len(edited)} edited frames, {len(original)} original ones",
            "cut both to the same frames",
        )
    height, width = original.shape[1:3]
    if edited.shape[1:3] != (height, width):
        edited = np.stack(
            [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in edited]
        )
    return Pair(name, edited, original)


def measure(
    pairs: list[Pair],
    prompt: str,
    footage: Footage | None,
    captions: tuple[str, str] | None,
    progress: Progress,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Return the figures of every camera, and those between cameras; `masks` is a folder as `masks_of` reads
    it.
    """
    cameras = {}
    for done, pair in enumerate(pairs, 1):
        cameras[pair.name] = _camera(pair, prompt, footage, captions) | {
            "background_kept_db": _background(pair, masks)
        }
        progress(done, len(pairs))
    return {"prompt": prompt, "cameras": cameras, "cross_view": _between(pairs, footage), "flow": FLOW}


def _camera(
    pair: Pair, prompt: str, footage: Footage | None, captions: tuple[str, str] | None
) -> dict[str, Any]:
    edited, original, count = pair.edited.__getitem__, pair.original.__getitem__, len(pair.edited)
    out: dict[str, Any] = {"frames": count, **cells.word_cells(edited, original, count, prompt, captions)}
    out["sharpness_kept"] = cells.sharpness_cell(edited, original, count)
    if count > 1:
        found = temporal_errors(original, {"edited": edited, "originals": original}, count)
        out["temporal_warp_error"] = {
            "value": round(found["edited"].relative, 4),
            "interval": _sure(found["edited"]),
            "originals": round(found["originals"].relative, 4),
            "ratio": round(found["edited"].ratio_to(found["originals"]), 4),
            "frames": count,
        }
        out["long_range"] = cells.drift(original, {"edited": edited}, count)["edited"]
    else:
        out["temporal_warp_error"] = out["long_range"] = cells.missing(
            "a video of one frame has no steadiness"
        )
    return {**out, **_answers(pair, prompt, footage)}


def _background(pair: Pair, folder: Path | None) -> cells.Cell:
    """Return the PSNR of edited against original frames where the masks are black."""
    if folder is None:
        return cells.missing("no masks of where the edit may act: --masks FOLDER")
    inside = masks_of(folder, pair.name, pair)
    if inside is None:
        return cells.missing(f"{folder} has no masks of {pair.name}")
    triples = zip(pair.edited, pair.original, ~inside, strict=True)
    values = [image_psnr(edited, original, outside) for edited, original, outside in triples if outside.any()]
    return (
        cells.cell(values, 3) if values else cells.missing(f"the masks of {pair.name} are white everywhere")
    )


def _answers(pair: Pair, prompt: str, footage: Footage | None) -> dict[str, cells.Cell]:
    names = ("known_answer_psnr_db", "known_answer_lpips")
    edit = edit_named_by(prompt)
    reason = "known answers need a run of i4d on these originals: --like RUN"
    if footage is not None:
        reason = why_no_answer_of(footage, edit)
    if footage is None or edit is None or reason:
        return {name: cells.missing(reason) for name in names}
    camera = next(c for c in footage.scene.cameras if c.name == pair.name)
    source = source_frames(footage, range(len(pair.edited)))
    answers = answers_of(footage.scene.exact, camera, edit, pair.original, source)
    return {
        names[0]: cells.cell([image_psnr(a, b) for a, b in zip(pair.edited, answers, strict=True)], 3)
        | {"is": answer_in_words(edit)},
        names[1]: cells.lpips_cell(pair.edited.__getitem__, answers.__getitem__, len(answers)),
    }


def _between(pairs: list[Pair], footage: Footage | None) -> cells.Cell:
    """Return the disagreement of the edited cameras at the run's key frame, through the unedited field's
    depth.
    """
    if footage is None or not footage.has(KEY_BEFORE):
        return cells.missing("needs the depth of a run of i4d on these originals: --like RUN")
    views = {footage.camera(v).name: i for i, v in enumerate(footage.scene.train_views)}
    seen = [pair for pair in pairs if pair.name in views]
    if len(seen) < 2:
        return cells.missing("fewer than two of the run's edited cameras have a video")
    key = footage.key_frame
    depths = [footage.rendered(KEY_BEFORE, views[p.name], "depth") for p in seen]
    cameras = [footage.camera(footage.scene.train_views[views[p.name]]).at(footage.key_frame) for p in seen]
    images = {"edited": [p.edited[key] for p in seen], "originals": [p.original[key] for p in seen]}
    found = view_errors(images, depths, cameras, footage.match_threshold)
    if found["edited"].compared == 0:
        return cells.missing("no two cameras see a common surface point within the threshold")
    return {
        "value": round(found["edited"].relative, 4),
        "interval": _sure(found["edited"]),
        "originals": round(found["originals"].relative, 4),
        "ratio": round(found["edited"].ratio_to(found["originals"]), 4),
        "frames": len(seen),
    }


def _sure(found: Unsteadiness) -> list[float] | None:
    return [round(bound, 4) for bound in found.interval() or ()] or None
