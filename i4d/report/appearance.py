"""How a run's edit looks on the first watched camera: cells of figures about its renders, before and
after.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from i4d.report import look
from i4d.report.answers import ObjectAnswers, picture_answer, source_frames, why_no_answer_of
from i4d.report.footage import Footage
from i4d.report.shots import after, before
from i4d.scenes.repertoire.objects import OBJECTS

FIGURES = (
    "clip_directional_similarity",
    "clip_frame_consistency",
    "long_range",
    "sharpness_kept",
    "edges_kept",
    "known_answer_lpips",
    "known_answer_gradient_psnr_db",
    "background_kept_db",
)


def appearance(footage: Footage, name: str | None, views: list[int], reasons: list[str]) -> dict[str, Any]:
    """Return a cell for every figure of FIGURES; `name` is the edit of the repertoire that the sentence
    names, or None.
    """
    if not views:
        return {figure: look.missing(reasons[0]) for figure in FIGURES}
    view = views[0]
    camera = footage.camera(view).name
    count = min(footage.num_rendered(after(camera)), footage.num_rendered(before(camera)))
    edited, unedited = (
        (lambda i: footage.rendered(after(camera), i)),
        (lambda i: footage.rendered(before(camera), i)),
    )
    originals = lambda i: footage.original(view, i)
    drifts = look.drift(originals, {"edited": edited, "unedited_field": unedited}, count)
    out = {
        **look.word_cells(edited, originals, count, footage.prompt),
        "long_range": {**drifts["edited"], "unedited_field": drifts["unedited_field"]},
        "sharpness_kept": look.sharpness_cell(edited, unedited, count),
        "edges_kept": edges_kept(footage, count),
        "background_kept_db": look.missing("no mask of what should change: the edit is of the whole image"),
    }
    return {**out, **_against_the_answer(footage, name, view, count)}


def edges_kept(footage: Footage, count: int) -> look.Cell:
    """Return the Laplacian energy of the edited field's renders over that of the editor's own frames, on a
    trained camera.

    It says how much detail of the edit the refit kept. Measured where the renders show a trained camera.
    """
    view = next(
        (
            v
            for v in footage.watched
            if v in footage.scene.train_views and footage.has(after(footage.camera(v).name))
        ),
        None,
    )
    if view is None:
        return look.missing("only held-out cameras were rendered, and the editor never edits those")
    name = after(footage.camera(view).name)
    return look.sharpness_cell(
        lambda i: footage.rendered(name, i), lambda i: footage.edited_frame(view, i), count
    )


def _against_the_answer(footage: Footage, name: str | None, view: int, count: int) -> dict[str, look.Cell]:
    figures = ("known_answer_lpips", "known_answer_gradient_psnr_db")
    camera, out, exact = footage.camera(view), {}, None
    source = source_frames(footage, range(count))
    if name in OBJECTS and footage.scene.exact:  # where the object is holds for every editor
        exact = ObjectAnswers(footage.scene.exact, camera, name)
        out["background_kept_db"] = _background(footage, exact, view, source)
    reason = why_no_answer_of(footage, name)
    if reason or name is None:
        return {**out, **{figure: look.missing(reason) for figure in figures}}
    if exact:
        answers = list(exact.frames(source))
    else:
        answers = [picture_answer(name, footage.original(view, i)) for i in range(count)]
    edited, answer = (lambda i: footage.rendered(after(camera.name), i)), answers.__getitem__
    return {
        **out,
        figures[0]: look.lpips_cell(edited, answer, count),
        figures[1]: look.gradient_cell(edited, answer, count),
    }


def _background(footage: Footage, exact: ObjectAnswers, view: int, source: list[int]) -> look.Cell:
    """Return the PSNR of edited against unedited renders outside the object's mask."""
    camera, values = footage.camera(view).name, []
    for i, frame in enumerate(source):
        outside = exact.outside(frame)
        pair = (
            footage.rendered(kind(camera), i).astype(np.float64)[outside] / 255 for kind in (after, before)
        )
        error = float(np.square(np.subtract(*pair)).mean()) if outside.any() else 0.0
        values.append(min(100.0, -10 * float(np.log10(max(error, 1e-10)))))
    return look.cell(values, 3)
