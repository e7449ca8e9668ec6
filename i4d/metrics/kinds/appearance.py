"""How an edit looks on the first watched camera: words and pictures, drift, sharpness, background."""

from __future__ import annotations

from functools import partial

import numpy as np

from i4d.metrics import cells
from i4d.metrics.protocol import Cell, Evaluation, Metric, Need, Shared, Tree, cell_places

LITTLE_DETAIL = 0.4  # of the editor's own frames: below it renders are called blurred; small fields have 0.5
_DIRECTION, _CONSISTENCY = "clip_directional_similarity", "clip_frame_consistency"


def words(run: Evaluation) -> Tree:
    """Return the cells of CLIP direction and frame consistency, from one pass of the network."""
    if reason := run.why_not(Need.EDITED_RENDERS):
        found: Tree = {name: cells.missing(reason) for name in (_DIRECTION, _CONSISTENCY)}
    else:
        view = run.shown[0]
        edited, original = partial(run.render, view), partial(run.original, view)
        found = cells.word_cells(edited, original, run.count(view), run.prompt)
    return {"edit": {"look": found}}


def long_range(run: Evaluation) -> Cell:
    """Return the error between frame 0 and later frames of the renders, with the unedited field's beside
    it.
    """
    view = run.shown[0]
    videos = {"edited": partial(run.render, view), "unedited_field": partial(run.unedited, view)}
    found = cells.drift(partial(run.original, view), videos, run.count(view))
    return {**found["edited"], "unedited_field": found["unedited_field"]}


def sharpness(run: Evaluation) -> Cell:
    """Return the detail of edited renders relative to the unedited field's."""
    view = run.shown[0]
    return cells.sharpness_cell(partial(run.render, view), partial(run.unedited, view), run.count(view))


def edges_kept(run: Evaluation) -> Cell:
    """Return the detail of renders relative to the editor's own frames of that camera: how much of the edit
    the refit kept. Measured where the renders show a trained camera.
    """
    view = next(v for v in run.shown if v in run.trained)
    return cells.sharpness_cell(
        partial(run.render, view), partial(run.edited_frame, view), run.count(run.shown[0])
    )


def background(run: Evaluation) -> Cell:
    """Return the PSNR of edited against unedited renders outside the object's mask."""
    view, values = run.shown[0], []
    masks = run.object_masks(view)
    for i in range(run.count(view)):
        outside = masks.outside(i)
        pair = (read(view, i).astype(np.float64)[outside] / 255 for read in (run.render, run.unedited))
        error = float(np.square(np.subtract(*pair)).mean()) if outside.any() else 0.0
        values.append(min(100.0, -10 * float(np.log10(max(error, 1e-10)))))
    return cells.cell(values, 3)


def _blurred(value: float) -> str:
    if value >= LITTLE_DETAIL:
        return ""
    return (
        f"the field shows {100 * value:.0f} % of the detail of the editor's own frames, so its renders are"
        " blurred; the edit itself stands in its frames. More of it: more steps help (field.fit_steps, "
        "field.refit_steps)"
    )


_RENDERS = (Need.EDIT, Need.EDITED_RENDERS)
DIRECTION = Metric(
    f"edit.look.{_DIRECTION}",
    "Words and picture, CLIP direction",
    "",
    "higher",
    "Cosine of what changed in the picture and what changed in its caption, as CLIP sees both; 0.1 to 0.2 "
    "is usual for good edits.",
    "Gal et al. 2021; InstructPix2Pix; Instruct-NeRF2NeRF",
    (*_RENDERS, Need.CLIP),
    Shared(words),
    (-1, 1),
    digits=4,
    compared=False,
)
CONSISTENCY = Metric(
    f"edit.look.{_CONSISTENCY}",
    "Neighbouring frames, CLIP",
    "",
    "higher",
    "Mean cosine of neighbouring frames' CLIP embeddings: does the video stay one thing?",
    "Esser et al. 2023",
    (*_RENDERS, Need.TWO_FRAMES, Need.CLIP),
    Shared(words),
    (-1, 1),
    digits=4,
    compared=False,
)
DRIFT = Metric(
    "edit.look.long_range",
    "Drift from the first frame",
    "px",
    "lower",
    "Change between frame 0 and later frames along the original video's flow, divided by the mean gradient.",
    "Lai et al., ECCV 2018",
    _RENDERS,
    long_range,
    compared=False,
    baseline_is="the same of the unedited field's renders",
    places=(cell_places("edit.look.long_range", baseline="unedited_field.value"),),
)
SHARPNESS = Metric(
    "edit.look.sharpness_kept",
    "Detail, relative to the unedited field",
    "",
    "near 1",
    "Laplacian energy of edited over unedited renders: under 1 is blurrier, over 1 has more strokes or "
    "noise.",
    "standard",
    _RENDERS,
    sharpness,
    compared=False,
)
EDGES = Metric(
    "edit.look.edges_kept",
    "Detail of the edit that the refit kept",
    "",
    "near 1",
    "Laplacian energy of renders over that of the editor's own frames of a trained camera; under 0.4 the "
    "report warns of a blur.",
    "own",
    (*_RENDERS, Need.TRAINED_RENDERS),
    edges_kept,
    compared=False,
    headline="detail of the edit that the refit kept",
    caution=_blurred,
)
BACKGROUND = Metric(
    "edit.look.background_kept_db",
    "Background kept",
    "dB",
    "higher",
    "PSNR of edited against unedited renders outside of what was to change.",
    "own",
    (*_RENDERS, Need.OBJECT_MASKS),
    background,
    (0, 100),
    compared=False,
)
