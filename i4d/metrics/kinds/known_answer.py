"""How near edited renders come to what the edit should have made of the pictures, where that is known."""

from __future__ import annotations

from functools import partial

import numpy as np

from i4d.metrics import cells
from i4d.metrics.image import image_psnr
from i4d.metrics.mean import Mean
from i4d.metrics.protocol import ANSWER, Evaluation, Metric, Need, Places, Shared, Tree


def known_answer(run: Evaluation) -> Tree:
    """Return the nearness of edited renders to the known answer, and of the unedited video;
    `known_answer_is` says what that answer is, `known_answer_reason` why there is none.
    """
    reason = run.why_not(Need.EDITED_RENDERS) or run.why_not(Need.KNOWN_ANSWER)
    if reason:
        nothing = {"known_answer_psnr_db": None, "unedited_to_answer_psnr_db": None, "known_answer_frames": 0}
        return {
            "edit": {**nothing, "known_answer_reason": reason, "object": None, "object_reason": reason},
        }
    near, far, inside = Mean(), Mean(), _ObjectFigures()
    for view in run.shown:
        masks = run.object_masks(view) if run.edits_object else None
        taken = run.taken(view, run.count(view))
        for i, answer in zip(taken, run.answers(view, taken), strict=True):
            edited, original = run.render(view, i), run.original(view, i)
            near.add(image_psnr(edited, answer), view, i)
            far.add(image_psnr(original, answer), view, i)
            if masks:
                regions = masks.inside(i), masks.outside(i)
                inside.add((view, i), (edited, original, run.unedited(view, i), answer), *regions)
    out: Tree = {
        "known_answer_psnr_db": near.value(3),
        "known_answer_interval_db": near.interval(3),
        "known_answer_each_db": near.each(3),
        "known_answer_is": run.answer_is(),
        "unedited_to_answer_psnr_db": far.value(3),
        "known_answer_frames": len(near),
    }
    if not run.edits_object:
        return {"edit": {**out, "object": None, "object_reason": f"{run.edit_name} changes the whole image"}}
    return {"edit": {**out, "object": inside.to_json()}}


class _ObjectFigures:
    """What an object edit does inside the object's mask, and what it leaves alone outside."""

    NAMES = ("inside_db", "unedited_inside_db", "outside_db", "unedited_field_outside_db")

    def __init__(self) -> None:
        self._means = {name: Mean() for name in self.NAMES}
        self._frames = 0

    def add(
        self,
        place: tuple[int, int],
        pictures: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        inside: np.ndarray,
        outside: np.ndarray,
    ) -> None:
        """Add a frame of a view; pictures are edited render, original, unedited render and answer."""
        self._frames += 1
        edited, original, unedited, answer = pictures
        if inside.any():  # the object may be hidden or out of the picture
            self._means["inside_db"].add(image_psnr(edited, answer, inside), *place)
            self._means["unedited_inside_db"].add(image_psnr(original, answer, inside), *place)
        if outside.any():
            self._means["outside_db"].add(image_psnr(edited, original, outside), *place)
            self._means["unedited_field_outside_db"].add(image_psnr(unedited, original, outside), *place)

    def to_json(self) -> Tree:
        sure = {
            f"{name.removesuffix('_db')}_interval_db": mean.interval(3) for name, mean in self._means.items()
        }
        each = {"inside_each_db": self._means["inside_db"].each(3)}
        values = {name: mean.value(3) for name, mean in self._means.items()}
        return {**values, **sure, **each, "frames": self._frames}


def first_camera(run: Evaluation) -> Tree:
    """Return cells of LPIPS and of the PSNR of gradients against the known answer, on the first watched
    camera.
    """
    names = ("known_answer_lpips", "known_answer_gradient_psnr_db")
    if reason := run.why_not(Need.EDITED_RENDERS) or run.why_not(Need.KNOWN_ANSWER):
        return {"edit": {"look": {name: cells.missing(reason) for name in names}}}
    view, count = run.shown[0], run.count(run.shown[0])
    edited, answer = partial(run.render, view), list(run.answers(view, range(count))).__getitem__
    distance, gradients = cells.lpips_cell(edited, answer, count), cells.gradient_cell(edited, answer, count)
    return {"edit": {"look": dict(zip(names, (distance, gradients), strict=True))}}


_NEEDS = (Need.EDIT, Need.EDITED_RENDERS, Need.KNOWN_ANSWER)
PSNR = Metric(
    "edit.known_answer_psnr_db",
    "Edited render to the known answer",
    "dB",
    "higher",
    "PSNR of the edited field's renders of the watched cameras against the known answer, beside the "
    "unedited video's: the difference is what the edit achieved.",
    "own",
    _NEEDS,
    Shared(known_answer),
    (0, 100),
    group=ANSWER,
    heading="known answer, renders, dB",
    headline="edit, to the known answer",
    also=(("known answer", "edit.known_answer_is"),),
    baseline_is="the unedited video against the same answer: what the edit has to beat",
    places=(
        Places(
            "edit.known_answer_psnr_db",
            "edit.known_answer_interval_db",
            "edit.known_answer_each_db",
            "edit.known_answer_frames",
            "edit.unedited_to_answer_psnr_db",
            "edit.known_answer_reason",
        ),
    ),
)


def _object_places(name: str, baseline: str, each: str = "") -> tuple[Places, ...]:
    root = "edit.object"
    frames, reason = f"{root}.frames", "edit.object_reason"
    return (
        Places(f"{root}.{name}_db", f"{root}.{name}_interval_db", each, frames, f"{root}.{baseline}", reason),
    )


INSIDE = Metric(
    "edit.object.inside_db",
    "Inside the object",
    "dB",
    "higher",
    "The PSNR to the known answer only where the object is: did it become what was asked for?",
    "own",
    (*_NEEDS, Need.OBJECT_MASKS),
    Shared(known_answer),
    (0, 100),
    group=ANSWER,
    column="object_db",
    heading="inside the object, dB",
    headline="inside the object",
    baseline_is="the same of the unedited video",
    places=_object_places("inside", "unedited_inside_db", "edit.object.inside_each_db"),
)
OUTSIDE = Metric(
    "edit.object.outside_db",
    "Outside the object",
    "dB",
    "higher",
    "PSNR of edited renders against the original video at least 2 pixels away from the object: was the "
    "rest left alone?",
    "own",
    (*_NEEDS, Need.OBJECT_MASKS),
    Shared(known_answer),
    (0, 100),
    group=ANSWER,
    compared=False,
    baseline_is="the same of the unedited field's renders",
    places=_object_places("outside", "unedited_field_outside_db"),
)
LPIPS = Metric(
    "edit.look.known_answer_lpips",
    "Edited render to the known answer, LPIPS",
    "",
    "lower",
    "Learned perceptual distance (LPIPS 0.1, AlexNet) of edited renders and known answer, first watched "
    "camera, at most 16 frames.",
    "Zhang et al., CVPR 2018",
    (*_NEEDS, Need.LPIPS),
    Shared(first_camera),
    digits=4,
    heading="LPIPS to it",
)
GRADIENTS = Metric(
    "edit.look.known_answer_gradient_psnr_db",
    "Edited render to the known answer, edges",
    "dB",
    "higher",
    "PSNR of the forward differences of the same pictures, which sees blur but not brightness: are the "
    "edit's lines where they belong, as sharp as they should be?",
    "own",
    _NEEDS,
    Shared(first_camera),
    (0, 100),
    compared=False,
)
