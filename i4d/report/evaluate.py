"""Evaluation of a run: metrics.json. A figure that cannot be computed is null, with the reason beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from i4d import __version__
from i4d.metrics.image import image_psnr, image_ssim
from i4d.metrics.temporal import FLOOR
from i4d.report import look
from i4d.report.answers import (
    ObjectAnswers,
    answer_in_words,
    named_edit,
    picture_answer,
    source_frames,
    why_no_answer_of,
)
from i4d.report.appearance import appearance
from i4d.report.by_round import by_round
from i4d.report.edited_frames import edited_frames
from i4d.report.footage import Footage
from i4d.report.mean import Mean
from i4d.report.shots import KEY_BEFORE, after, before
from i4d.report.steadiness import FLOW, bound_threads, figure, temporal_errors, view_errors
from i4d.report.workload import Workload, stage_seconds, workload_of
from i4d.scenes.repertoire.objects import OBJECTS
from i4d.store.run_folder import RunFolder

# in the order they are measured
PARTS = (
    "reconstruction",
    "known answer",
    "flicker",
    "agreement of cameras",
    "edited frames",
    "look",
    "rounds",
)
Progress = Callable[[int, int, str], None]


def _quiet(done: int, total: int, note: str) -> None:
    """Tell nobody."""


def evaluate(run: RunFolder, progress: Progress = _quiet) -> dict:
    """Measure a run and write metrics.json; returns what it says.

    I4DError where nothing is committed yet. PSNR is the mean over images of each image's PSNR in dB; every
    figure says of how many frames (of how many cameras) it is a mean. `progress(done, of, what)` is told of
    each of PARTS before it is measured.
    """
    footage, load, began = Footage(run), workload_of(run), time.monotonic()
    bound_threads()
    tell = lambda part: progress(PARTS.index(part), len(PARTS), part)
    tell("reconstruction")
    fit = reconstruction(footage)
    found = {"edit": edit(footage, tell)} if footage.edited else {}
    tell("rounds")
    times = timing(load)
    metrics = {
        "version": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "scene": footage.scene.name,
        "prompt": footage.prompt,
        "cameras": [footage.camera(v).name for v in footage.watched],
        "held_out": bool(footage.scene.held_out),
        "reconstruction": fit,
        **found,
        **({"rounds": rounds} if (rounds := by_round(footage)) else {}),
        "timing": times,
        "unet_forwards": forwards(footage),
        "peak_memory_bytes": max((w.peak_bytes for w in load.workers.values()), default=0) or None,
        "placement": load.placement,
        "workers": workers(load),
    }
    times["evaluate_s"] = round(time.monotonic() - began, 2)
    run.write_json("metrics.json", metrics)
    return metrics


# ------------------------------------------------------------------------------------------------
# reconstruction
def reconstruction(footage: Footage) -> dict:
    """Return PSNR and SSIM of the unedited field on the held-out cameras, against their original frames."""
    watched = [v for v in footage.watched if footage.has(before(footage.camera(v).name))]
    quality, likeness, frames = Mean(), Mean(), 0
    for view in watched:
        for i, (rendered, original) in enumerate(_pairs(footage, view, before(footage.camera(view).name))):
            frames += 1
            quality.add(image_psnr(rendered, original), view, i)
            if (alike := image_ssim(rendered, original, look.device())) is not None:
                likeness.add(alike, view, i)
    figures: dict[str, Any] = {
        "psnr_db": quality.value(3),
        "psnr_interval_db": quality.interval(3),
        "ssim": likeness.value(),
    }
    figures["ssim_interval"] = likeness.interval()
    if watched:
        figures["lpips"] = _distance(footage, watched[0])
    about = {
        "frames": frames,
        "cameras": [footage.camera(v).name for v in watched],
        "ssim_frames": len(likeness),
    }
    if not watched:
        reason = "nothing was rendered from the unedited field"
        return {"psnr_db": None, "ssim": None, "lpips": look.missing(reason), **about, "reason": reason}
    if not footage.scene.held_out:
        reason = "no camera is held out: every one was trained on, so there is no unseen view to compare with"
        return {
            "psnr_db": None,
            "ssim": None,
            "lpips": look.missing(reason),
            "reason": reason,
            "of_trained_camera": {**figures, **about},
        }
    return {**figures, **about}


def _distance(footage: Footage, view: int) -> look.Cell:
    name = before(footage.camera(view).name)
    taken = footage.taken(view, footage.num_rendered(name))
    return look.lpips_cell(
        lambda i: footage.rendered(name, taken[i]), lambda i: footage.original(view, taken[i]), len(taken)
    )


def _pairs(footage: Footage, view: int, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for frame in footage.taken(view, footage.num_rendered(name)):
        yield footage.rendered(name, frame), footage.original(view, frame)


# ------------------------------------------------------------------------------------------------ edit
def edit(footage: Footage, tell: Callable[[str], None] = lambda part: None) -> dict:
    """Return the figures of the edit: nearness to the known answer, steadiness in time, agreement of the
    views.

    `temporal_warp_error` (of renders) and `cross_view_error` (of edited key frames) are relative to the
    images' mean gradient; what they are made of stands under `temporal` and `cross_view`. `edited_frames` has
    the same about the frames before any field. `tell` is called with each part's name before it is measured.
    """
    name = named_edit(footage)
    reasons = [reason for v in footage.watched if (reason := footage.why_not_after(v))]
    views = [v for v in footage.watched if not footage.why_not_after(v)]
    out: dict = {"name": name}
    tell("known answer")
    out |= _known_answer(footage, name, views, reasons)
    tell("flicker")
    parts = {"temporal": _temporal(footage, views) if views else _nothing(reasons[0])}
    tell("agreement of cameras")
    parts["cross_view"] = _cross_view(footage)
    for part, title in (("temporal", "temporal_warp_error"), ("cross_view", "cross_view_error")):
        found = parts[part]
        for key, whose in (("", "edited"), ("_unedited", "unedited_field")):
            out[title + key] = found[whose]["relative"] if found[whose] else None
        out[f"{part}_ratio"] = found["ratio"]
    tell("edited frames")
    parts["edited_frames"] = edited_frames(footage, name)
    tell("look")
    return {**out, **parts, "look": appearance(footage, name, views, reasons)}


def _nothing(reason: str) -> dict:
    return {"edited": None, "unedited_field": None, "ratio": None, "frames": 0, "reason": reason}


def _known_answer(footage: Footage, name: str | None, views: list[int], reasons: list[str]) -> dict:
    """Return the nearness of edited renders to the known answer, and of the unedited video; `known_answer_is`
    says what that answer is, `known_answer_reason` why there is none.
    """
    nothing = {"known_answer_psnr_db": None, "unedited_to_answer_psnr_db": None, "known_answer_frames": 0}
    reason = reasons[0] if not views else why_no_answer_of(footage, name)
    if reason or name is None:
        return {**nothing, "known_answer_reason": reason, "object": None, "object_reason": reason}
    near, far, frames, inside = Mean(), Mean(), 0, _ObjectFigures()
    for view in views:
        camera = footage.camera(view)
        count = min(footage.num_rendered(after(camera.name)), footage.num_rendered(before(camera.name)))
        exact = ObjectAnswers(footage.scene.exact, camera, name) if name in OBJECTS else None
        source = source_frames(footage, range(count))
        taken = set(footage.taken(view, count))
        for i, answer in enumerate(_answers(footage, exact, name, view, source)):
            if i not in taken:
                continue
            edited, original = footage.rendered(after(camera.name), i), footage.original(view, i)
            near.add(image_psnr(edited, answer), view, i)
            far.add(image_psnr(original, answer), view, i)
            frames += 1
            if exact:
                unedited = footage.rendered(before(camera.name), i)
                regions = exact.inside(source[i]), exact.outside(source[i])
                inside.add((view, i), edited, original, unedited, answer, *regions)
    out: dict = {
        "known_answer_psnr_db": near.value(3),
        "known_answer_interval_db": near.interval(3),
        "known_answer_each_db": near.each(3),
        "known_answer_is": answer_in_words(name),
    }
    out |= {"unedited_to_answer_psnr_db": far.value(3), "known_answer_frames": frames}
    if name not in OBJECTS:
        return {**out, "object": None, "object_reason": f"{name} changes the whole image"}
    return {**out, "object": inside.to_json()}


def _answers(
    footage: Footage, exact: ObjectAnswers | None, name: str, view: int, source: list[int]
) -> Iterable[np.ndarray]:
    if exact:
        return exact.frames(source)
    return (picture_answer(name, footage.original(view, i)) for i in range(len(source)))


class _ObjectFigures:
    """What an object edit does inside the object's mask, and what it leaves alone outside."""

    NAMES = ("inside_db", "unedited_inside_db", "outside_db", "unedited_field_outside_db")

    def __init__(self) -> None:
        self._means = {name: Mean() for name in self.NAMES}
        self._frames = 0

    def add(
        self,
        place: tuple[int, int],
        edited: np.ndarray,
        original: np.ndarray,
        unedited: np.ndarray,
        answer: np.ndarray,
        inside: np.ndarray,
        outside: np.ndarray,
    ) -> None:
        self._frames += 1
        if inside.any():  # the object may be hidden or out of the picture
            self._means["inside_db"].add(image_psnr(edited, answer, inside), *place)
            self._means["unedited_inside_db"].add(image_psnr(original, answer, inside), *place)
        if outside.any():
            self._means["outside_db"].add(image_psnr(edited, original, outside), *place)
            self._means["unedited_field_outside_db"].add(image_psnr(unedited, original, outside), *place)

    def to_json(self) -> dict:
        sure = {
            f"{name.removesuffix('_db')}_interval_db": mean.interval(3) for name, mean in self._means.items()
        }
        each = {"inside_each_db": self._means["inside_db"].each(3)}
        values = {name: mean.value(3) for name, mean in self._means.items()}
        return {**values, **sure, **each, "frames": self._frames}


# ------------------------------------------------------------------------------------------------ agreement
def _temporal(footage: Footage, views: list[int]) -> dict:
    """Return the warp error of the first watched camera's renders, edited and unedited, and the originals'
    own.
    """
    view = views[0]
    name = footage.camera(view).name
    count = min(footage.num_rendered(after(name)), footage.num_rendered(before(name)))
    if count < 2:
        return _nothing("a video of one frame has no steadiness")
    videos = {
        "edited": lambda i: footage.rendered(after(name), i),
        "unedited_field": lambda i: footage.rendered(before(name), i),
        "originals": lambda i: footage.original(view, i),
    }
    found = temporal_errors(videos["originals"], videos, count)
    ratio = found["edited"].ratio_to(found["unedited_field"])
    about = {
        "ratio": round(ratio, 4),
        "floor": round(FLOOR, 6),
        "frames": count,
        "camera": name,
        "flow": FLOW,
    }
    return {**{key: figure(value) for key, value in found.items()}, **about}


def _cross_view(footage: Footage) -> dict:
    """Return how far the views disagree at the key instant: as edited before the refit, and the unedited
    field's renders.
    """
    views = footage.scene.train_views
    if not footage.edited:
        return _nothing("this run edited nothing")
    if not footage.has(KEY_BEFORE):
        return _nothing("the key instant was not rendered from the unedited field")
    if len(views) < 2:
        return _nothing("one camera has nobody to disagree with")
    key, threshold = footage.key_frame, footage.match_threshold
    depths = [footage.rendered(KEY_BEFORE, i, "depth") for i in range(len(views))]
    images = {
        "edited": [footage.edited_frame(view, key) for view in views],
        "unedited_field": [footage.rendered(KEY_BEFORE, i) for i in range(len(views))],
        "originals": [footage.original(view, key) for view in views],
    }
    found = view_errors(images, depths, [footage.camera(v).at(key) for v in views], threshold)
    if found["edited"].compared == 0:
        return {
            **_nothing("no two cameras see a common surface point within the threshold"),
            "frames": len(views),
        }
    ratio = found["edited"].ratio_to(found["unedited_field"])
    about = {
        "ratio": round(ratio, 4),
        "floor": round(FLOOR, 6),
        "frames": len(views),
        "key_frame": key,
        "threshold": threshold,
    }
    return {**{name: figure(value) for name, value in found.items()}, **about}


# ------------------------------------------------------------------------------------------------ cost
def timing(load: Workload) -> dict:
    """Return seconds per stage (summed over rounds), in all, and of work per kind of service."""
    stages = {
        name.replace(" ", "_") + "_s": round(seconds, 2) for name, seconds in stage_seconds(load).items()
    }
    busy = {"trainer": 0.0, "editors": 0.0}
    for worker in load.workers:
        busy["trainer" if worker.startswith("trainer") else "editors"] += load.busy(worker)
    total = sum(stage.ended_s - stage.began_s for stage in load.stages)
    return {**stages, "total_s": round(total, 2), **{f"{who}_busy_s": round(s, 2) for who, s in busy.items()}}


def forwards(footage: Footage) -> int:
    """Return how many images times guidance branches went through the editor's network in the committed
    rounds.
    """
    receipts = [r for manifest in footage.manifests.values() for r in manifest["receipts"].values()]
    return sum(int(receipt.get("unet_forwards", 0)) for receipt in receipts)


def workers(load: Workload) -> list[dict]:
    """Return who took part, on which device, how much memory was needed at most and how long they had nothing
    to do.
    """
    out = []
    for worker in load.workers.values():
        stages = load.driven if worker.name.startswith("trainer") else load.editing
        idle = load.idle_share(worker.name, stages)
        out.append(
            {
                "name": worker.name,
                "device": worker.device,
                "device_name": worker.device_name,
                "node": worker.node,
                "busy_s": round(load.busy(worker.name), 2),
                "idle_share": None if idle is None else round(idle, 4),
                "peak_memory_bytes": worker.peak_bytes or None,
                "warm_up_s": round(worker.warm_up_s, 2),
                "notes": list(worker.notes),
            }
        )
    return out
