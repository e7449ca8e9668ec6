"""The frames as the editor left them, before any field averages them: how steady, how near to the known
answer.

Renders of a field say what a user gets; the edited frames say what the editing itself achieved, since a field
that is fitted to frames which disagree averages their disagreement away (and shows it as blur where it
cannot).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from i4d.metrics.image import image_psnr
from i4d.metrics.temporal import Unsteadiness
from i4d.report.answers import answers_of, source_frames, why_no_answer_of
from i4d.report.footage import Footage
from i4d.report.mean import Mean
from i4d.report.shots import OTHERS_BEFORE, other_instants
from i4d.report.steadiness import figure, joined, temporal_errors, view_errors

_ANSWERED = 6  # frames of every edited camera that are held against the known answer, evenly spread


def edited_frames(footage: Footage, name: str | None) -> dict:
    """Return `temporal`, the warp error of the middle edited camera's frames beside its originals' own;
    `cross_view`, how far the cameras disagree at the first and last instant (the key instant's frames were
    averaged through depth); `known_answer_psnr_db`, the mean over up to six frames of every edited camera
    (None with `known_answer_reason` where there is none).

    `name` is the edit of the repertoire that the sentence names, or None. `each` are the single figures in
    the order of cameras and frames.
    """
    views, count = footage.scene.train_views, footage.scene.num_frames
    view = views[len(views) // 2]
    out: dict = {"camera": footage.camera(view).name, "frames": count, "temporal": None}
    if count > 1:
        videos = {
            "edited": lambda i: footage.edited_frame(view, i),
            "originals": lambda i: footage.original(view, i),
        }
        found = temporal_errors(videos["originals"], videos, count)
        out["temporal"] = {key: figure(value) for key, value in found.items()}
    else:
        out["temporal_reason"] = "a video of one frame has no steadiness"
    others = disagreement_elsewhere(footage, footage.edited_frame)
    out["cross_view"] = others and {
        "edited": figure(others),
        "instants": list(other_instants(count, footage.key_frame)),
    }
    if others is None:
        out["cross_view_reason"] = (
            "depth at other instants was not rendered, or no two cameras see a common point"
        )
    return out | _known_answer(footage, name)


def disagreement_elsewhere(
    footage: Footage, picture: Callable[[int, int], np.ndarray]
) -> Unsteadiness | None:
    """Return how far `picture(view, frame)` of the edited cameras disagree at `other_instants`; None where it
    cannot be told.

    As `i4d.metrics.cross_view`, through the depth of the unedited field.
    """
    views, parts, row = footage.scene.train_views, [], 0
    if len(views) < 2 or not footage.has(OTHERS_BEFORE):
        return None
    for frame in other_instants(footage.scene.num_frames, footage.key_frame):
        depths = [footage.rendered(OTHERS_BEFORE, row + i, "depth") for i in range(len(views))]
        cameras = [footage.camera(view).at(frame) for view in views]
        found = view_errors(
            {"": [picture(view, frame) for view in views]}, depths, cameras, footage.match_threshold
        )
        parts.append((found[""], 1))
        row += len(views)
    whole = joined(parts)
    return whole if whole.compared else None


def _known_answer(footage: Footage, name: str | None) -> dict:
    reason = why_no_answer_of(footage, name)
    if reason or name is None:
        return {"known_answer_psnr_db": None, "known_answer_reason": reason}
    count = footage.scene.num_frames
    spread = sorted({round(i * (count - 1) / (_ANSWERED - 1)) for i in range(_ANSWERED)})
    near = Mean()
    for view in footage.scene.train_views:
        taken = set(footage.taken(view, count))
        frames = [frame for frame in spread if frame in taken]
        originals, source = [footage.original(view, f) for f in frames], source_frames(footage, frames)
        answers = answers_of(footage.scene.exact, footage.camera(view), name, originals, source)
        for frame, answer in zip(frames, answers, strict=True):
            near.add(image_psnr(footage.edited_frame(view, frame), answer), view, frame)
    return {
        "known_answer_psnr_db": near.value(3),
        "known_answer_interval_db": near.interval(3),
        "known_answer_frames": len(near),
        "known_answer_each_db": near.each(3),
    }
