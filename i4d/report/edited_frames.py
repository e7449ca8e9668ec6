"""The frames as the editor left them, before any field averages them: how steady, how near to the known answer.

Renders of a field say what a user gets; the edited frames say what the editing itself achieved, since a field that is fitted to frames
which disagree averages their disagreement away (and shows it as blur where it cannot).
"""

from __future__ import annotations

from i4d.report.answers import answers_of
from i4d.report.footage import Footage
from i4d.report.mean import Mean, image_psnr
from i4d.report.steadiness import figure, temporal_errors

_ANSWERED = 6  # frames of every edited camera that are held against the known answer, evenly spread


def edited_frames(footage: Footage, name: str | None) -> dict:
    """Return `temporal`, the warp error of the middle edited camera's frames beside its originals' own, and `known_answer_psnr_db`, the
    mean over up to six frames of every edited camera (None with `known_answer_reason` where there is no exact answer).

    `name` is the edit of the repertoire that the sentence names, or None. `each` are the single figures in the order of cameras and frames.
    """
    views, count = footage.scene.train_views, footage.scene.num_frames
    view = views[len(views) // 2]
    out: dict = {"camera": footage.camera(view).name, "frames": count, "temporal": None}
    if count > 1:
        videos = {"edited": lambda i: footage.edited_frame(view, i), "originals": lambda i: footage.original(view, i)}
        found = temporal_errors(videos["originals"], videos, count)
        out["temporal"] = {key: figure(value) for key, value in found.items()}
    else:
        out["temporal_reason"] = "a video of one frame has no steadiness"
    return out | _known_answer(footage, name)


def _known_answer(footage: Footage, name: str | None) -> dict:
    if not footage.scene.exact or name is None:
        reason = "only procedural scenes have exact answers" if name else "the sentence names no single edit of the demonstration editor's repertoire"
        return {"known_answer_psnr_db": None, "known_answer_reason": reason}
    count = footage.scene.num_frames
    frames = sorted({round(i * (count - 1) / (_ANSWERED - 1)) for i in range(_ANSWERED)})
    scene = footage.run.config().get("scene", {})
    source = [scene.get("start", 0) + frame * scene.get("stride", 1) for frame in frames]
    near = Mean()
    for view in footage.scene.train_views:
        originals = [footage.original(view, frame) for frame in frames]
        answers = answers_of(footage.scene.exact, footage.camera(view), name, originals, source)
        for frame, answer in zip(frames, answers, strict=True):
            near.add(image_psnr(footage.edited_frame(view, frame), answer))
    return {
        "known_answer_psnr_db": near.value(3), "known_answer_interval_db": near.interval(3), "known_answer_frames": len(near),
        "known_answer_each_db": near.each(3),
    }  # fmt: skip
