"""How steady edited renders are in time, and how well edited cameras agree, each beside the unedited
field.
"""

from __future__ import annotations

from functools import partial

from i4d.metrics.protocol import (
    AGREEMENT,
    Derived,
    Evaluation,
    Metric,
    Need,
    Places,
    Shared,
    Tree,
    at,
)
from i4d.metrics.steadiness import FLOW, figure, temporal_errors, view_errors
from i4d.metrics.temporal import FLOOR

BY_ITSELF = "each_frame_by_itself"  # where frames edited without the method stand


def temporal(run: Evaluation) -> Tree:
    """Return the warp error of the first watched camera's renders, edited and unedited, and the originals'
    own; relative to the images' mean gradient.
    """
    if reason := run.why_not(Need.EDITED_RENDERS):
        return _flat("temporal", "temporal_warp_error", _nothing(reason))
    view = run.shown[0]
    count = run.count(view)
    if count < 2:
        reason = "a video of one frame has no steadiness"
        return _flat("temporal", "temporal_warp_error", _nothing(reason))
    videos = {
        "edited": partial(run.render, view),
        "unedited_field": partial(run.unedited, view),
        "originals": partial(run.original, view),
    }
    found = temporal_errors(videos["originals"], videos, count)
    about = {
        "ratio": round(found["edited"].ratio_to(found["unedited_field"]), 4),
        "floor": round(FLOOR, 6),
        "frames": count,
        "camera": run.camera(view).name,
        "flow": FLOW,
    }
    part = {**{key: figure(value) for key, value in found.items()}, **about}
    return _flat("temporal", "temporal_warp_error", part)


def cross_view(run: Evaluation) -> Tree:
    """Return how far the views disagree at the key instant: as edited before the refit, and the unedited
    field's renders; the unedited field's depth tells which points are the same.
    """
    views, key = run.trained, run.key_frame
    reason = run.why_not(Need.DEPTH) or run.why_not(Need.TWO_CAMERAS)
    if reason:
        return _flat("cross_view", "cross_view_error", _nothing(reason))
    images = {
        "edited": [run.edited_frame(view, key) for view in views],
        "unedited_field": [run.unedited_key(view) for view in views],
        "originals": [run.original(view, key) for view in views],
    }
    depths = [run.depth(view, key) for view in views]
    cameras = [run.camera(view).at(key) for view in views]
    found = view_errors(images, depths, cameras, run.match_threshold)
    if found["edited"].compared == 0:
        nothing = _nothing("no two cameras see a common surface point within the threshold")
        return _flat("cross_view", "cross_view_error", {**nothing, "frames": len(views)})
    about = {
        "ratio": round(found["edited"].ratio_to(found["unedited_field"]), 4),
        "floor": round(FLOOR, 6),
        "frames": len(views),
        "key_frame": key,
        "threshold": run.match_threshold,
    }
    part = {**{name: figure(value) for name, value in found.items()}, **about}
    return _flat("cross_view", "cross_view_error", part)


def _nothing(reason: str) -> Tree:
    return {"edited": None, "unedited_field": None, "ratio": None, "frames": 0, "reason": reason}


def _flat(part: str, title: str, found: Tree) -> Tree:
    """Return a part of the edit's figures with its main numbers beside it."""
    values = {
        title + key: found[whose]["relative"] if found[whose] else None
        for key, whose in (("", "edited"), ("_unedited", "unedited_field"))
    }
    return {"edit": {**values, f"{part}_ratio": found["ratio"], part: found}}


def _places(part: str, value: str, baseline: str | float) -> tuple[Places, ...]:
    root = f"edit.{part}"
    sure = () if "ratio" in value else (f"{root}.edited.interval", f"{root}.edited.each")
    return (
        Places(
            f"edit.{value}",
            *(sure or ("", "")),
            f"{root}.frames",
            baseline,
            f"{root}.reason",
            compared=f"{root}.edited.compared",
        ),
    )


def _by_itself(part: str) -> tuple[Derived, tuple[Places, ...], tuple[tuple[str, str], ...]]:
    root = f"edit.{part}.{BY_ITSELF}"
    method = (("the method on the same", f"{root}.method.relative"),)
    value = f"{root}.edited.relative"
    return Derived(lambda tree: at(tree, value)), (Places(value, frames=f"{root}.frames"),), method


_RELATIVE = "divided by the pictures' mean gradient: roughly, by how many pixels things seem to jump."
_ONE = "1 means as good as before the edit; differences below one grey level of 255 do not count."
_IN_TIME = (Need.EDIT, Need.EDITED_RENDERS, Need.TWO_FRAMES)
_BETWEEN = (Need.EDIT, Need.DEPTH, Need.TWO_CAMERAS)
ALONE = "without anchor, flow or field: what the method improves on."

TEMPORAL = Metric(
    "edit.temporal_warp_error",
    "Flicker in time",
    "px",
    "lower",
    "Mean absolute difference of a render and its predecessor pulled along the original video's flow "
    f"(DIS), where forward and backward flow agree, {_RELATIVE}",
    "Lai et al., ECCV 2018",
    _IN_TIME,
    Shared(temporal),
    group=AGREEMENT,
    column="temporal_error",
    heading="temporal error, renders",
    digits=2,
    baseline_is="the same of the unedited field's renders",
    places=_places("temporal", "temporal_warp_error", "edit.temporal_warp_error_unedited"),
)
_compute, _where, _also = _by_itself("temporal")
TEMPORAL_ALONE = Metric(
    f"edit.temporal.{BY_ITSELF}",
    "Flicker in time, every frame edited by itself",
    "px",
    "lower",
    f"The same of frames that the editor edited each by itself, {ALONE}",
    "Lai et al., ECCV 2018",
    (Need.EDIT, Need.EACH_FRAME),
    _compute,
    group=AGREEMENT,
    compared=False,
    also=_also,
    places=_where,
)
TEMPORAL_RATIO = Metric(
    "edit.temporal_ratio",
    "Flicker, edited over unedited",
    "",
    "lower",
    f"The flicker of edited renders over that of the unedited field's. {_ONE}",
    "own",
    _IN_TIME,
    Shared(temporal),
    group=AGREEMENT,
    compared=False,
    headline="flicker in time, relative to unedited",
    places=_places("temporal", "temporal_ratio", 1.0),
)
CROSS_VIEW = Metric(
    "edit.cross_view_error",
    "Disagreement between cameras",
    "px",
    "lower",
    "Mean absolute difference of colour where two cameras see the same surface point (depth of the "
    "unedited field, what is hidden left out) at the key frame, as edited and before the refit, "
    f"{_RELATIVE}",
    "own, after the method's warps",
    _BETWEEN,
    Shared(cross_view),
    group=AGREEMENT,
    heading="cross-view error, key frames",
    counted="view of one frame",
    baseline_is="the same of the unedited field's renders",
    places=_places("cross_view", "cross_view_error", "edit.cross_view_error_unedited"),
)
_compute, _where, _also = _by_itself("cross_view")
CROSS_VIEW_ALONE = Metric(
    f"edit.cross_view.{BY_ITSELF}",
    "Disagreement between cameras, every view edited by itself",
    "px",
    "lower",
    f"The same of views that the editor edited each by itself, {ALONE}",
    "own, after the method's warps",
    (Need.EDIT, Need.EACH_FRAME, Need.DEPTH, Need.TWO_CAMERAS),
    _compute,
    group=AGREEMENT,
    compared=False,
    counted="view of one frame",
    also=_also,
    places=_where,
)
CROSS_VIEW_RATIO = Metric(
    "edit.cross_view_ratio",
    "Disagreement, edited over unedited",
    "",
    "lower",
    f"The disagreement of edited cameras over that of the unedited field's renders. {_ONE}",
    "own",
    _BETWEEN,
    Shared(cross_view),
    group=AGREEMENT,
    compared=False,
    counted="view of one frame",
    headline="disagreement between cameras, relative to unedited",
    places=_places("cross_view", "cross_view_ratio", 1.0),
)
