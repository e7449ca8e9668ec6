"""Known answers: what a procedural scene looks like after an edit of the repertoire, exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from i4d.errors import SceneError
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.scenes.procedural.mono import KIND, mono_cameras
from i4d.scenes.procedural.world import FIRST_SOLID_ID
from i4d.scenes.repertoire.objects import OBJECTS, edited_world, solid_of
from i4d.scenes.repertoire.pictures import PICTURES
from i4d.types import Camera

DILATION_PX = 2  # around an object's mask: pixels whose colour the object's edge shares


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
