"""Known answers: what a picture should become by an edit of the demonstration editor's repertoire, exactly.

Two kinds. A *picture edit* (sepia, Van Gogh, ...) is a function of the picture, and the demonstration editor
was trained to compute that very function: its answer is the function of the original frame, on any scene. An
*object edit* (a golden ball) has an answer where the scene is procedural and can be rendered anew. Neither
says anything of another editor, whose Van Gogh is its own (`why_no_answer`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from i4d.editors.bundled import BUNDLED, BUNDLED_NAME
from i4d.editors.registry import KINDS, kind_of_weights
from i4d.errors import SceneError
from i4d.report.footage import Footage
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.scenes.procedural.mono import KIND, mono_cameras
from i4d.scenes.procedural.world import FIRST_SOLID_ID
from i4d.scenes.repertoire.objects import OBJECTS, edited_world, solid_of
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.scenes.repertoire.pictures import PICTURES
from i4d.types import Camera

DILATION_PX = 2  # around an object's mask: pixels whose colour the object's edge shares


@cache
def demonstration_weights() -> str:
    """Return the identity of the bundled demonstration editor's weights; "" where the package lacks them."""
    if not (BUNDLED / "model_index.json").is_file():
        return ""
    return KINDS[kind_of_weights(str(BUNDLED))].weights_identity(str(BUNDLED))


def named_edit(footage: Footage) -> str | None:
    """Return the one edit of the repertoire that a run's sentence names, or None."""
    return edit_named_by(footage.prompt) if footage.prompt else None


def why_no_answer(edit: str | None, exact: str, weights: str | None) -> str:
    """Return why frames edited with these weights have no known answer, or "" where they have one.

    `edit` is the one edit of the repertoire that the sentence names, or None; `exact` the folder of a
    procedural scene's exact answers, or ""; `weights` the identity of the editor's weights, None where it is
    not known.
    """
    if edit is None:
        return "the sentence names no single edit of the demonstration editor's repertoire"
    if not weights or weights != demonstration_weights():
        whose = "which weights edited is not known" if not weights else "other weights edited"
        return f"only the bundled demonstration editor ({BUNDLED_NAME}) has known answers, and {whose}"
    if edit in OBJECTS and not exact:
        return f"{edit} is an edit of an object: its answer needs a procedural scene, rendered exactly"
    return ""


def why_no_answer_of(footage: Footage, edit: str | None) -> str:
    """Return why the edit of a run has no known answer, or "" where it has one."""
    reason = why_no_answer(edit, footage.scene.exact, footage.weights)
    if reason or edit in OBJECTS:
        return reason
    if footage.region is not None:
        return "the edit acts inside a region only, and what lies in it is not known exactly"
    if footage.run.config().get("local", {}).get("reference"):
        return "the key frame was given as a picture, which the other frames follow"
    return ""


def answer_in_words(edit: str) -> str:
    """Return what the known answer of an edit is."""
    if edit in OBJECTS:
        return f"the procedural scene rendered anew after the edit ({edit})"
    return f"the demonstration editor's own function ({edit}) applied to the original frames"


def source_frames(footage: Footage, frames: Iterable[int]) -> list[int]:
    """Return the numbers in the source videos of a run's frames."""
    scene = footage.run.config().get("scene", {})
    return [scene.get("start", 0) + frame * scene.get("stride", 1) for frame in frames]


def picture_answer(edit: str, frame: np.ndarray) -> np.ndarray:
    """Return a frame (height, width, 3), uint8, after a whole-image or painterly edit."""
    image = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255
    return (PICTURES[edit](image)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def answers_of(
    exact: str, camera: Camera, edit: str, originals: Iterable[np.ndarray], source_frames: Sequence[int]
) -> list[np.ndarray]:
    """Return what each of a camera's frames should become; `source_frames` are their numbers in the source
    video.
    """
    if edit in OBJECTS:
        return list(ObjectAnswers(exact, camera, edit).frames(list(source_frames)))
    return [picture_answer(edit, frame) for frame in originals]


class ObjectAnswers:
    """An object edit of the demo scene seen by one of its cameras: exact frames, and where the object is."""

    def __init__(self, exact: str, camera: Camera, edit: str) -> None:
        """`exact` is the folder of exact answers; SceneError where it holds none for this camera."""
        path = Path(exact) / f"{camera.name}.npz"
        if not path.is_file():
            raise SceneError(f"{path}: no exact answers there", "make the demo scene again")
        with np.load(path, allow_pickle=False) as answers:
            self._ids = answers["id"]
        about = path.parent.parent / "scene.json"
        self._mono = about.is_file() and json.loads(about.read_text()).get("kind") == KIND
        self._num_cameras = len(list(path.parent.glob("*.npz")))
        self._camera, self._edit = camera, edit

    def frames(self, source_frames: list[int]) -> Iterator[np.ndarray]:
        """Yield the edited scene, rendered by the ray caster, at frames of the source videos; at the camera's
        size.
        """
        num_frames, height, width = self._ids.shape
        cameras = (
            mono_cameras(width, height, num_frames)
            if self._mono
            else demo_cameras(width, height, self._num_cameras)
        )
        demo = next(c for c in cameras if c.name == self._camera.name)
        for image in render_frames(
            demo, source_frames, num_frames, edit=lambda world: edited_world(world, self._edit)
        ):
            yield _sized(image, self._camera, cv2.INTER_AREA)

    def inside(self, source_frame: int) -> np.ndarray:
        """Return where the object is: bool (height, width)."""
        mask = (self._ids[source_frame] == FIRST_SOLID_ID + solid_of(self._edit)).astype(np.uint8)
        return _sized(mask, self._camera, cv2.INTER_NEAREST).astype(bool)

    def outside(self, source_frame: int) -> np.ndarray:
        """Return where the object is not, nor anything within 2 pixels of it: bool (height, width)."""
        mask = self.inside(source_frame).astype(np.uint8)
        side = 2 * DILATION_PX + 1
        return cv2.dilate(mask, np.ones((side, side), np.uint8)) == 0


def _sized(image: np.ndarray, camera: Camera, how: int) -> np.ndarray:
    if image.shape[:2] == (camera.height, camera.width):
        return image
    return cv2.resize(image, (camera.width, camera.height), interpolation=how)
