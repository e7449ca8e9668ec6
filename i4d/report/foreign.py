"""Measuring videos that anybody's method made, by the figures that i4d's own runs are measured by.

The videos lie in one folder, one per camera, named as the cameras are. What they were edited from is a folder of originals with the
same names, or a run of i4d, which also has depth (for the agreement between cameras) and exact answers where its scene has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from i4d.errors import SceneError
from i4d.metrics.temporal import Unsteadiness
from i4d.report import look
from i4d.report.answers import answers_of
from i4d.report.evaluate import image_psnr
from i4d.report.footage import Footage
from i4d.report.shots import KEY_BEFORE
from i4d.report.steadiness import FLOW, temporal_errors, view_errors
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.scenes.video import probe, read_video

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Pair:
    """One camera: its edited and original frames, uint8 (time, h, w, 3) of one size."""

    name: str
    edited: np.ndarray
    original: np.ndarray


def video_files(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by name; SceneError where there are none."""
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES} if folder.is_dir() else {}
    if not found:
        raise SceneError(f"{folder}: no videos there", f"one file per camera, ending in {', '.join(SUFFIXES)}")
    return found


def frames_of(path: Path) -> np.ndarray:
    """Return all frames of a video, uint8 (time, h, w, 3)."""
    return np.stack(list(read_video(path, 0, probe(path).num_frames)))


def pairs_with_folder(folder: Path, originals: Path) -> list[Pair]:
    """Return the cameras that both folders hold; SceneError where there is none."""
    edited, source = video_files(folder), video_files(originals)
    names = [name for name in edited if name in source]
    if not names:
        raise SceneError(f"{folder} and {originals}: no video has the same name in both", "name both by camera, such as cam00.mp4")
    return [_pair(name, frames_of(edited[name]), frames_of(source[name])) for name in names]


def pairs_with_run(folder: Path, footage: Footage) -> list[Pair]:
    """Return the cameras of a run that the folder has videos of; SceneError where there is none."""
    edited = video_files(folder)
    views = {footage.camera(v).name: v for v in range(len(footage.scene.cameras))}
    names = [name for name in edited if name in views]
    if not names:
        raise SceneError(f"{folder}: no video is named as a camera of {footage.run.path}", f"cameras: {', '.join(views)}")
    count = footage.scene.num_frames
    return [_pair(n, frames_of(edited[n]), np.stack([footage.original(views[n], i) for i in range(count)])) for n in names]


def _pair(name: str, edited: np.ndarray, original: np.ndarray) -> Pair:
    """Return a pair of equal length and size; the edited video is brought to the original's size."""
    if len(edited) != len(original):
        raise SceneError(f"{name}: {len(edited)} edited frames, {len(original)} original ones", "cut both to the same frames")
    height, width = original.shape[1:3]
    if edited.shape[1:3] != (height, width):
        edited = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in edited])
    return Pair(name, edited, original)


def measure(
    pairs: list[Pair], prompt: str, footage: Footage | None, captions: tuple[str, str] | None, progress: Progress
) -> dict[str, Any]:
    """Return the figures of every camera, and those between cameras."""
    cameras = {}
    for done, pair in enumerate(pairs, 1):
        cameras[pair.name] = _camera(pair, prompt, footage, captions)
        progress(done, len(pairs))
    return {"prompt": prompt, "cameras": cameras, "cross_view": _between(pairs, footage), "flow": FLOW}


def _camera(pair: Pair, prompt: str, footage: Footage | None, captions: tuple[str, str] | None) -> dict[str, Any]:
    edited, original, count = pair.edited.__getitem__, pair.original.__getitem__, len(pair.edited)
    out: dict[str, Any] = {"frames": count, **look.word_cells(edited, original, count, prompt, captions)}
    out["sharpness_kept"] = look.sharpness_cell(edited, original, count)
    if count > 1:
        found = temporal_errors(original, {"edited": edited, "originals": original}, count)
        out["temporal_warp_error"] = {"value": round(found["edited"].relative, 4), "interval": _sure(found["edited"]),
                                      "originals": round(found["originals"].relative, 4),
                                      "ratio": round(found["edited"].ratio_to(found["originals"]), 4), "frames": count}  # fmt: skip
        out["long_range"] = look.drift(original, {"edited": edited}, count)["edited"]
    else:
        out["temporal_warp_error"] = out["long_range"] = look.missing("a video of one frame has no steadiness")
    return {**out, **_answers(pair, prompt, footage)}


def _answers(pair: Pair, prompt: str, footage: Footage | None) -> dict[str, look.Cell]:
    names = ("known_answer_psnr_db", "known_answer_lpips")
    if footage is None or not footage.scene.exact:
        return {name: look.missing("exact answers are known of runs on procedural scenes only") for name in names}
    edit = edit_named_by(prompt)
    if edit is None:
        return {name: look.missing("the sentence names no single edit with an exact answer") for name in names}
    camera = next(c for c in footage.scene.cameras if c.name == pair.name)
    scene = footage.run.config().get("scene", {})
    source = [scene.get("start", 0) + i * scene.get("stride", 1) for i in range(len(pair.edited))]
    answers = answers_of(footage.scene.exact, camera, edit, pair.original, source)
    return {
        names[0]: look.cell([image_psnr(a, b) for a, b in zip(pair.edited, answers, strict=True)], 3),
        names[1]: look.lpips_cell(pair.edited.__getitem__, answers.__getitem__, len(answers)),
    }


def _between(pairs: list[Pair], footage: Footage | None) -> look.Cell:
    """Return the disagreement of the edited cameras at the run's key frame, through the unedited field's depth."""
    if footage is None or not footage.has(KEY_BEFORE):
        return look.missing("needs the depth of a run of i4d on these originals: --like RUN")
    views = {footage.camera(v).name: i for i, v in enumerate(footage.scene.train_views)}
    seen = [pair for pair in pairs if pair.name in views]
    if len(seen) < 2:
        return look.missing("fewer than two of the run's edited cameras have a video")
    key = footage.key_frame
    depths = [footage.rendered(KEY_BEFORE, views[p.name], "depth") for p in seen]
    cameras = [footage.camera(footage.scene.train_views[views[p.name]]).at(footage.key_frame) for p in seen]
    images = {"edited": [p.edited[key] for p in seen], "originals": [p.original[key] for p in seen]}
    found = view_errors(images, depths, cameras, footage.match_threshold)
    if found["edited"].compared == 0:
        return look.missing("no two cameras see a common surface point within the threshold")
    return {"value": round(found["edited"].relative, 4), "interval": _sure(found["edited"]),
            "originals": round(found["originals"].relative, 4),
            "ratio": round(found["edited"].ratio_to(found["originals"]), 4), "frames": len(seen)}  # fmt: skip


def _sure(found: Unsteadiness) -> list[float] | None:
    return [round(bound, 4) for bound in found.interval() or ()] or None
