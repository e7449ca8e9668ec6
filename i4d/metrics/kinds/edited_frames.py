"""The frames as the editor left them, before any field averages them: how steady, how near to the known
answer.

Renders of a field say what a user gets; the edited frames say what the editing itself achieved, since a field
that is fitted to frames which disagree averages their disagreement away (and shows it as blur where it
cannot).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from i4d.metrics.cells import spread
from i4d.metrics.image import image_psnr
from i4d.metrics.mean import Mean
from i4d.metrics.protocol import AGREEMENT, ANSWER, Evaluation, Metric, Need, Places, Shared, Tree
from i4d.metrics.steadiness import figure, joined, temporal_errors, view_errors
from i4d.metrics.temporal import Unsteadiness

_ANSWERED = 6  # frames of every edited camera that are held against the known answer, evenly spread


def edited_frames(run: Evaluation) -> Tree:
    """Return `temporal`, the warp error of the middle edited camera's frames beside its originals' own;
    `cross_view`, how far the cameras disagree at the first and last instant (the key instant's frames were
    averaged through depth); `known_answer_psnr_db`, the mean over up to six frames of every edited camera
    (None with `known_answer_reason` where there is none).

    `each` are the single figures in the order of cameras and frames.
    """
    views, count = run.trained, run.num_frames
    view = views[len(views) // 2]
    out: Tree = {"camera": run.camera(view).name, "frames": count, "temporal": None}
    if reason := run.why_not(Need.TWO_FRAMES):
        out["temporal_reason"] = reason
    else:
        videos = {"edited": partial(run.edited_frame, view), "originals": partial(run.original, view)}
        found = temporal_errors(videos["originals"], videos, count)
        out["temporal"] = {key: figure(value) for key, value in found.items()}
    others = disagreement_elsewhere(run, run.edited_frame)
    out["cross_view"] = others and {"edited": figure(others), "instants": list(run.other_instants)}
    if others is None:
        out["cross_view_reason"] = (
            "depth at other instants was not rendered, or no two cameras see a common point"
        )
    return {"edit": {"edited_frames": out | _known_answer(run)}}


def disagreement_elsewhere(run: Evaluation, picture: Callable[[int, int], np.ndarray]) -> Unsteadiness | None:
    """Return how far `picture(view, frame)` of the edited cameras disagree at `other_instants`; None where it
    cannot be told.

    As `i4d.metrics.cross_view`, through the depth of the unedited field.
    """
    views, parts = run.trained, []
    if len(views) < 2 or not run.other_instants:
        return None
    for frame in run.other_instants:
        depths = [run.depth(view, frame) for view in views]
        cameras = [run.camera(view).at(frame) for view in views]
        found = view_errors(
            {"": [picture(view, frame) for view in views]}, depths, cameras, run.match_threshold
        )
        parts.append((found[""], 1))
    whole = joined(parts)
    return whole if whole.compared else None


def _known_answer(run: Evaluation) -> Tree:
    if reason := run.why_not(Need.KNOWN_ANSWER):
        return {"known_answer_psnr_db": None, "known_answer_reason": reason}
    count = run.num_frames
    near = Mean()
    for view in run.trained:
        taken = set(run.taken(view, count))
        frames = [frame for frame in spread(count, _ANSWERED) if frame in taken]
        for frame, answer in zip(frames, run.answers(view, frames), strict=True):
            near.add(image_psnr(run.edited_frame(view, frame), answer), view, frame)
    return {
        "known_answer_psnr_db": near.value(3),
        "known_answer_interval_db": near.interval(3),
        "known_answer_frames": len(near),
        "known_answer_each_db": near.each(3),
    }


_ROOT = "edit.edited_frames"


def _error_places(part: str, frames: str, cameras: str, baseline: str = "") -> tuple[Places, ...]:
    root = f"{_ROOT}.{part}.edited"
    where = f"{root}.relative", f"{root}.interval", f"{root}.each", frames, baseline
    return (Places(*where, f"{_ROOT}.{part}_reason", cameras),)


TEMPORAL = Metric(
    f"{_ROOT}.temporal",
    "Flicker of the edited frames",
    "px",
    "lower",
    "The flicker of the frames as the editor left them, of the middle edited camera, before any field "
    "averages them.",
    "Lai et al., ECCV 2018",
    (Need.EDIT, Need.TWO_FRAMES),
    Shared(edited_frames),
    group=AGREEMENT,
    column="frames_temporal_error",
    heading="temporal error, frames",
    also=(("its originals", f"{_ROOT}.temporal.originals.relative"),),
    places=_error_places("temporal", f"{_ROOT}.frames", f"{_ROOT}.camera"),
)
CROSS_VIEW = Metric(
    f"{_ROOT}.cross_view",
    "Disagreement at first and last frames",
    "px",
    "lower",
    "The disagreement of the edited cameras at the first and the last instant, where nothing makes them "
    "agree.",
    "own, after the method's warps",
    (Need.EDIT, Need.DEPTH, Need.TWO_CAMERAS),
    Shared(edited_frames),
    group=AGREEMENT,
    column="cross_view_elsewhere",
    heading="cross-view error, first and last frames",
    places=_error_places("cross_view", "", ""),
)
KNOWN_ANSWER = Metric(
    f"{_ROOT}.known_answer_psnr_db",
    "Edited frames to the known answer",
    "dB",
    "higher",
    "The PSNR to the known answer of up to six frames of every edited camera, as the editor left them, "
    "before any field.",
    "own",
    (Need.EDIT, Need.KNOWN_ANSWER),
    Shared(edited_frames),
    (0, 100),
    group=ANSWER,
    column="frames_known_answer_psnr_db",
    heading="known answer, frames, dB",
    places=(
        Places(
            f"{_ROOT}.known_answer_psnr_db",
            f"{_ROOT}.known_answer_interval_db",
            f"{_ROOT}.known_answer_each_db",
            f"{_ROOT}.known_answer_frames",
            reason=f"{_ROOT}.known_answer_reason",
        ),
    ),
)
