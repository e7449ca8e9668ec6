"""Measuring a run: reconstruction, the edit against a known answer, steadiness in time and agreement between cameras.

Every figure is of images as they lie (8 bit), of the field's renders unless it says otherwise. `metrics.json` holds
numbers under fixed keys; where a figure cannot be had, it is null and a sentence under `notes` says why.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i4d.errors import SceneError
from i4d.flow.find import FlowEstimator, find_estimator
from i4d.metrics.cross_view import cross_view_error
from i4d.metrics.image import psnr, ssim
from i4d.metrics.temporal import Unsteadiness, neighbour_flows, temporal_warp_error
from i4d.report.facts import RunFacts
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.scenes.procedural.world import FIRST_SOLID_ID
from i4d.scenes.repertoire.objects import OBJECTS, edited_world, solid_of
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.scenes.repertoire.pictures import PICTURES

MOST_FRAMES = 60  # of one video, that steadiness is measured over


def evaluate(run: RunFacts) -> dict:
    """Return a run's metrics as they go into metrics.json."""
    began = time.monotonic()
    notes: list[str] = []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    originals = [run.original_frames(view) for view in run.watched]
    out: dict[str, Any] = {
        "scene": run.scene.name,
        "prompt": run.request.prompt,
        "cameras": [run.scene.cameras[view].name for view in run.watched],
        "reconstruction": reconstruction(run, originals, notes),
    }
    if run.edited:
        estimator, sentence = find_estimator(
            run.config.flow.method, run.config.flow.checkpoint, device=device, iterations=run.config.flow.iterations
        )
        out["edit"] = {
            **known_answer(run, originals, notes),
            **steadiness(run, originals, estimator, device),
            **agreement(run, device),
        }
        notes.append(f"steadiness measured with {sentence}")
    out["work"] = work_done(run.events)
    out["timing"] = {**timing(run.events), "evaluate_s": round(time.monotonic() - began, 2)}
    out["notes"] = notes
    return out


def reconstruction(run: RunFacts, originals: list[np.ndarray], notes: list[str]) -> dict:
    """Return PSNR and SSIM of the unedited field on held-out cameras; null where none is held out."""
    if not run.scene.held_out_views:
        notes.append("no camera is held out in this scene: reconstruction cannot be measured on unseen views")
        return {"psnr_db": None, "ssim": None}
    before = np.concatenate(run.watched_frames("watched_before"))
    truth = np.concatenate(originals)
    structure = [ssim(_tensor(a), _tensor(b)) for a, b in zip(before, truth, strict=True)]
    return {"psnr_db": round(psnr(_tensor(before), _tensor(truth)), 3), "ssim": round(float(np.mean(structure)), 4)}


# ------------------------------------------------------------------------------------------------ known answers
def known_answer(run: RunFacts, originals: list[np.ndarray], notes: list[str]) -> dict:
    """Return how near the edit comes to the exact answer, and how near the unedited video is to it."""
    out: dict[str, Any] = {"known_answer_psnr_db": None, "unedited_to_answer_psnr_db": None}
    name = edit_named_by(run.request.prompt)
    if not run.scene.exact or name is None:
        why = "this scene has no exact answers" if not run.scene.exact else "the instruction is not one with an exact answer"
        notes.append(f"no known answer: {why}")
        return out
    answers = [answer(run, view, name, frames) for view, frames in zip(run.watched, originals, strict=True)]
    after, truth, unedited = (_tensor(np.concatenate(x)) for x in (run.watched_frames("watched_after"), answers, originals))
    out |= {"known_edit": name, "known_answer_psnr_db": _db(after, truth), "unedited_to_answer_psnr_db": _db(unedited, truth)}
    if name in OBJECTS:
        inside = torch.from_numpy(np.concatenate([object_mask(run, view, name) for view in run.watched]))
        before = _tensor(np.concatenate(run.watched_frames("watched_before")))
        out |= {
            "inside_answer_psnr_db": _db(after, truth, inside), "inside_unedited_psnr_db": _db(unedited, truth, inside),
            "outside_psnr_db": _db(after, truth, ~inside), "outside_unedited_field_psnr_db": _db(before, unedited, ~inside),
        }  # fmt: skip
    return out


def answer(run: RunFacts, view: int, name: str, originals: np.ndarray) -> np.ndarray:
    """Return the exact answer to a known edit for one view, (frame, height, width, 3) in [0, 1]."""
    if name not in OBJECTS:
        edited = PICTURES[name](_tensor(originals).permute(0, 3, 1, 2))
        return edited.permute(0, 2, 3, 1).numpy()
    cameras = demo_cameras(*_exact_size(run, view))
    camera = next(c for c in cameras if c.name == run.scene.cameras[view].name)
    total, frames = _source_frames(run)
    images = render_frames(camera, frames, total, edit=lambda world: edited_world(world, name))
    return np.stack(list(images)).astype(np.float32) / 255


def object_mask(run: RunFacts, view: int, name: str) -> np.ndarray:
    """Return where the edited object is seen, bool (frame, height, width), from the scene's exact ids."""
    path = Path(run.scene.exact) / f"{run.scene.cameras[view].name}.npz"
    if not path.exists():
        raise SceneError(f"{path}: the exact answers of this scene are gone", "make the scene anew, or evaluate without them")
    _, frames = _source_frames(run)
    with np.load(path) as exact:
        return exact["id"][list(frames)] == FIRST_SOLID_ID + solid_of(name)


def _exact_size(run: RunFacts, view: int) -> tuple[int, int]:
    camera = run.scene.cameras[view]
    return camera.width, camera.height


def _source_frames(run: RunFacts) -> tuple[int, range]:
    """Return how many frames the procedural video has and which of them the scene uses."""
    scene = run.config.scene
    first = Path(run.scene.exact) / f"{run.scene.cameras[0].name}.npz"
    with np.load(first) as exact:
        total = len(exact["id"])
    return total, range(scene.start, scene.start + run.scene.num_frames * scene.stride, scene.stride)


# ------------------------------------------------------------------------------------------------ consistency
def steadiness(run: RunFacts, originals: list[np.ndarray], estimator: FlowEstimator, device: torch.device) -> dict:
    """Return the temporal warp error of the edited field's render beside the unedited field's, each over its mean gradient."""
    edited, unedited = [], []
    for video, after, before in zip(originals, run.watched_frames("watched_after"), run.watched_frames("watched_before"), strict=True):
        if len(video) < 2:
            return {"temporal_warp_error": None, "temporal_warp_error_unedited": None, "temporal_ratio": None}
        flows = list(neighbour_flows(_planes(video[:MOST_FRAMES], device), estimator))
        edited.append(temporal_warp_error(_planes(after[:MOST_FRAMES], device), flows))
        unedited.append(temporal_warp_error(_planes(before[:MOST_FRAMES], device), flows))
    return _compared("temporal_warp_error", "temporal_ratio", _mean(edited), _mean(unedited))


def agreement(run: RunFacts, device: torch.device) -> dict:
    """Return the cross-view error of the edited key frames before the refit beside that of the unedited field's renders."""
    views = run.plan["views"]
    names = ("cross_view_error", "cross_view_ratio")
    if len(views) < 2:
        return {names[0]: None, f"{names[0]}_unedited": None, names[1]: None}
    cameras = [run.scene.cameras[view] for view in views]
    key, threshold = run.plan["key_frame"], run.plan["match_threshold"]
    edited = [_planes(run.edited_frames(view, [key]), device)[0] for view in views]
    depths = [torch.from_numpy(np.array(d)).to(device) for d in run.look_depths(run.rounds)]
    unedited = list(_planes(run.rendered("key_before"), device))
    first = [torch.from_numpy(np.array(d)).to(device) for d in run.rendered("key_before", "depth")]
    return _compared(
        *names, cross_view_error(edited, depths, cameras, threshold), cross_view_error(unedited, first, cameras, threshold)
    )


def _compared(name: str, ratio: str, edited: Unsteadiness, unedited: Unsteadiness) -> dict:
    return {
        name: round(edited.relative, 5), f"{name}_unedited": round(unedited.relative, 5), ratio: round(edited.ratio_to(unedited), 3),
        f"{name}_compared_share": round(edited.compared, 3),
    }  # fmt: skip


def _mean(parts: list[Unsteadiness]) -> Unsteadiness:
    return Unsteadiness(*(float(np.mean([getattr(p, k) for p in parts])) for k in ("error", "gradient", "compared")))


# ------------------------------------------------------------------------------------------------ time and work
def timing(events: tuple[dict, ...]) -> dict:
    """Return seconds per stage, summed over rounds and over resumed attempts, and their total."""
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        if event["event"] == "StageFinished":
            seconds[event["stage"].replace(" ", "_") + "_s"] += event["seconds"]
    return {**{name: round(value, 2) for name, value in seconds.items()}, "stages_s": round(sum(seconds.values()), 2)}


def work_done(events: tuple[dict, ...]) -> dict:
    """Return what the workers did: UNet forwards, flow passes, busy seconds and peak memory of each."""
    busy: dict[str, float] = defaultdict(float)
    peak: dict[str, int] = defaultdict(int)
    forwards = flows = 0
    for event in events:
        if "worker" not in event or "started_s" not in event or event.get("reused"):
            continue
        busy[event["worker"]] += event["seconds"]
        peak[event["worker"]] = max(peak[event["worker"]], event.get("peak_bytes", 0))
        forwards += event.get("unet_forwards", 0)
        flows += event.get("flow_passes", 0)
    return {
        "unet_forwards": forwards,
        "flow_passes": flows,
        "busy_s": {name: round(value, 2) for name, value in sorted(busy.items())},
        "peak_mib": {name: round(value / 2**20) for name, value in sorted(peak.items())},
    }


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images))


def _planes(images: np.ndarray, device: torch.device) -> torch.Tensor:
    return _tensor(images).permute(0, 3, 1, 2).contiguous().to(device)


def _db(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None) -> float | None:
    if mask is not None and not mask.any():
        return None
    value = psnr(a, b, mask)
    return round(value, 3) if np.isfinite(value) else None
