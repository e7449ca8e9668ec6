"""What metrics are computed from, read from a run: implements `i4d.metrics.protocol.Evaluation`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from i4d.errors import WeightsError
from i4d.metrics import cells
from i4d.metrics.protocol import Need, ObjectMasks, Tree
from i4d.report.answers import (
    ObjectAnswers,
    answer_in_words,
    named_edit,
    picture_answer,
    source_frames,
    why_no_answer_of,
)
from i4d.report.footage import Footage
from i4d.report.shots import KEY_BEFORE, OTHERS_BEFORE, after, before, other_instants
from i4d.report.workload import Workload, stage_seconds, workload_of
from i4d.scenes.repertoire.objects import OBJECTS
from i4d.types import Camera


class RunEvaluation:
    """A run's footage as metrics ask for it; every picture is read from its block when it is asked for."""

    def __init__(self, footage: Footage, load: Workload | None = None) -> None:
        self._footage, self._load = footage, load
        self.prompt = footage.prompt
        self.edit_name = named_edit(footage)
        self.edits_object = self.edit_name in OBJECTS
        self.held_out = bool(footage.scene.held_out)
        self.num_frames = footage.scene.num_frames
        self.key_frame, self.match_threshold = footage.key_frame, footage.match_threshold
        self.watched: Sequence[int] = footage.watched
        self.trained: Sequence[int] = footage.scene.train_views
        self.shown: Sequence[int] = [v for v in footage.watched if not footage.why_not_after(v)]
        others = other_instants(self.num_frames, self.key_frame)
        self.other_instants = others if footage.has(OTHERS_BEFORE) else ()

    # -------------------------------------------------------------------------------------- needs
    def why_not(self, need: Need) -> str:
        return _REASONS[need](self)

    def _no_edited_renders(self) -> str:
        if self.shown:
            return ""
        return next(filter(None, map(self._footage.why_not_after, self.watched)), "no camera is watched")

    def _no_unedited_renders(self) -> str:
        any_ = any(self._footage.has(before(self.camera(v).name)) for v in self.watched)
        return "" if any_ else "nothing was rendered from the unedited field"

    def _no_trained_renders(self) -> str:
        if any(v in self.trained for v in self.shown):
            return ""
        return "only held-out cameras were rendered, and the editor never edits those"

    def _no_depth(self) -> str:
        if not self._footage.has(KEY_BEFORE):
            return "the key instant was not rendered from the unedited field"
        return ""

    def _no_masks(self) -> str:
        if self.edits_object and self._footage.scene.exact:  # where the object is holds for every editor
            return ""
        return "no mask of what should change: the edit is of the whole image"

    # -------------------------------------------------------------------------------------- pictures
    def camera(self, view: int) -> Camera:
        return self._footage.camera(view)

    def taken(self, view: int, count: int) -> list[int]:
        return self._footage.taken(view, count)

    def count(self, view: int) -> int:
        rendered = self._footage.num_rendered(after(self.camera(view).name))
        return min(rendered, self.unedited_count(view))

    def unedited_count(self, view: int) -> int:
        return self._footage.num_rendered(before(self.camera(view).name))

    def original(self, view: int, frame: int) -> np.ndarray:
        return self._footage.original(view, frame)

    def unedited(self, view: int, frame: int) -> np.ndarray:
        return self._footage.rendered(before(self.camera(view).name), frame)

    def render(self, view: int, frame: int) -> np.ndarray:
        return self._footage.rendered(after(self.camera(view).name), frame)

    def edited_frame(self, view: int, frame: int) -> np.ndarray:
        return self._footage.edited_frame(view, frame)

    def unedited_key(self, view: int) -> np.ndarray:
        return self._footage.rendered(KEY_BEFORE, list(self.trained).index(view))

    def depth(self, view: int, frame: int) -> np.ndarray:
        place = list(self.trained).index(view)
        if frame == self.key_frame:
            return self._footage.rendered(KEY_BEFORE, place, "depth")
        row = self.other_instants.index(frame) * len(self.trained) + place
        return self._footage.rendered(OTHERS_BEFORE, row, "depth")

    # -------------------------------------------------------------------------------------- answers
    def answers(self, view: int, frames: Sequence[int]) -> Iterable[np.ndarray]:
        name = self.edit_name
        assert name is not None, "asked for the answer of an edit that has none"
        if self.edits_object:
            exact = ObjectAnswers(self._footage.scene.exact, self.camera(view), name)
            return exact.frames(source_frames(self._footage, frames))
        return (picture_answer(name, self.original(view, frame)) for frame in frames)

    def answer_is(self) -> str:
        return answer_in_words(self.edit_name) if self.edit_name else ""

    def object_masks(self, view: int) -> ObjectMasks:
        return _Masks(self._footage, self.camera(view), self.edit_name or "")

    # -------------------------------------------------------------------------------------- cost
    def spent(self) -> Tree:
        load = self._load or workload_of(self._footage.run)
        peak = max((worker.peak_bytes for worker in load.workers.values()), default=0) or None
        return {
            "timing": timing(load),
            "unet_forwards": forwards(self._footage),
            "peak_memory_bytes": peak,
        }


class _Masks:
    """Where an object is, by frames of the run."""

    def __init__(self, footage: Footage, camera: Camera, edit: str) -> None:
        self._footage, self._exact = footage, ObjectAnswers(footage.scene.exact, camera, edit)

    def inside(self, frame: int) -> np.ndarray:
        return self._exact.inside(source_frames(self._footage, [frame])[0])

    def outside(self, frame: int) -> np.ndarray:
        return self._exact.outside(source_frames(self._footage, [frame])[0])


def _weights(find: Callable[[], object]) -> str:
    try:
        find()
    except WeightsError as err:
        return str(err)
    return ""


_UNSEEN = "no camera is held out: every one was trained on, so there is no unseen view to compare with"
_REASONS: dict[Need, Callable[[RunEvaluation], str]] = {
    Need.EDIT: lambda run: "" if run._footage.edited else "this run edited nothing",
    Need.UNEDITED_RENDERS: RunEvaluation._no_unedited_renders,
    Need.EDITED_RENDERS: RunEvaluation._no_edited_renders,
    Need.TRAINED_RENDERS: RunEvaluation._no_trained_renders,
    Need.HELD_OUT: lambda run: "" if run.held_out else _UNSEEN,
    Need.TWO_FRAMES: lambda run: "" if run.num_frames > 1 else "a video of one frame has no steadiness",
    Need.TWO_CAMERAS: lambda run: "" if len(run.trained) > 1 else "one camera has nobody to disagree with",
    Need.DEPTH: RunEvaluation._no_depth,
    Need.KNOWN_ANSWER: lambda run: why_no_answer_of(run._footage, run.edit_name),
    Need.OBJECT_MASKS: RunEvaluation._no_masks,
    Need.EACH_FRAME: lambda run: "i4d eval --each-frame N edits them",
    Need.LPIPS: lambda run: _weights(cells.lpips),
    Need.CLIP: lambda run: _weights(cells.clip),
}


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
