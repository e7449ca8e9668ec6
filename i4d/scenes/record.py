"""What a run keeps of its scene, read back: cameras, timeline and bounds without the videos behind them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from i4d.errors import SceneError
from i4d.scenes.names import camera_name
from i4d.types import Bounds, Camera, Scene, rigid_rows


class NoSource:
    """Stands where the videos were: a prepared scene is read from its blocks."""

    def stamp(self, camera: str) -> list:
        return []

    def read(
        self, camera: str, start: int, stop: int, stride: int = 1, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        raise SceneError(
            f"{camera}: this scene is known from its prepared blocks only", "run `i4d prepare` on the videos"
        )


def scene_from_dict(tree: dict) -> Scene:
    """Return the scene that `prepare.scene_to_dict` wrote; SceneError if the record is not one, or if a
    camera has a name that would lead out of the run.
    """
    try:
        cameras = tuple(
            Camera(
                camera_name(c["name"], "scene.json of this run"),
                c["width"],
                c["height"],
                np.array(c["K"], float),
                np.array(c["world_from_camera"], float),
                path=None if c.get("path") is None else np.array(c["path"], float),
            )
            for c in tree["cameras"]
        )
        bounds = dict(tree["bounds"])
        bounds["aabb"] = tuple(tuple(map(float, corner)) for corner in bounds["aabb"])
        bounds["rig_from_world"] = rigid_rows(bounds.get("rig_from_world", ()))
        return Scene(
            tree["name"],
            cameras,
            tree["num_frames"],
            tree["fps"],
            Bounds(**bounds),
            tuple(tree["held_out"]),
            NoSource(),
            cameras,
            tree["exact"],
            int(tree.get("first", 0)),
            tuple((int(v), int(a), int(b)) for v, a, b in tree.get("missing", ())),
            tuple(map(str, tree.get("notes", ()))),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise SceneError("scene.json of this run is not a scene", f"{type(err).__name__}: {err}") from err
