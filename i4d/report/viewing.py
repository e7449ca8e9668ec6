"""What a viewer shows of a run, without the viewer: its field at any round, camera and frame, before, after,
or the difference.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np
import torch

from i4d import config as cfg
from i4d.errors import ConfigError
from i4d.fields.protocol import FieldImage, FieldScene, RenderableField
from i4d.fields.registry import open_field
from i4d.report.footage import Footage
from i4d.report.landing import Landing
from i4d.services.device import choose_device
from i4d.services.local import LocalScene
from i4d.store.named import get_checkpoint
from i4d.store.run_folder import RunFolder
from i4d.types import Camera

Look = Literal["after", "before", "difference"]
LOOKS: tuple[Look, ...] = ("after", "before", "difference")
# what the camera looked through does not see: no camera may have seen it, so the field guesses there
FINDER_DIMMED = 0.25
DIFFERENCE_GAIN = 2.0  # differences are shown around grey, so much larger


@dataclass(frozen=True)
class _Look:
    """A field as `LocalScene` wants it, made where it is asked for."""

    image: Callable[[Camera, int], FieldImage]


class RunViews:
    """Renders a run's committed rounds; follows a run that is still going, and holds two fields at most."""

    def __init__(self, run: RunFolder, device: str = "auto") -> None:
        """I4DError where nothing is committed yet."""
        self.run = run
        self.footage = Footage(run)
        self.scene = self.footage.scene
        self._config = cfg.from_dict(run.config(), str(run.path / "config.yaml"))
        self._device = choose_device(device)
        self._known = self.rounds()
        self.landing = Landing(run)
        self.landing.refresh()
        shown = self.scene.bounds, self.scene.num_frames, tuple(self.scene.train_views)
        self._made_for = FieldScene(tuple(self.scene.cameras), *shown)
        self._fields: OrderedDict[int, RenderableField] = OrderedDict()
        self._lock = threading.RLock()  # of the fields held, and of what is known of the run

    def rounds(self) -> list[int]:
        """Return the rounds whose field is still there: 0 is the reconstruction. The store is asked at every
        call.
        """
        manifests = self.footage.manifests
        return [r for r in sorted(manifests) if self.run.has_checkpoint(manifests[r]["checkpoint"]["digest"])]

    def refresh(self) -> bool:
        """Take notice of rounds that were committed since, and of fields that went at a run's end; returns
        whether there are any.
        """
        fresh = Footage(self.run) if set(self.run.committed()) != set(self.footage.manifests) else None
        with self._lock:
            self.footage = fresh or self.footage
            before, self._known = self._known, self.rounds()
            return before != self._known

    def field(self, round_index: int) -> RenderableField:
        """Return a round's field, read where it is not held; callers of several threads may ask. ConfigError
        for a round that is not there.
        """
        with self._lock:  # one at a time reads a field: two would hold it twice
            if round_index not in self._fields:
                if round_index not in self.rounds():
                    raise ConfigError(
                        f"round {round_index} is not there", f"rounds with a field: {self.rounds()}"
                    )
                digest = self.footage.manifests[round_index]["checkpoint"]["digest"]
                data = get_checkpoint(self.run.store, digest)
                here = self._made_for, self._device
                self._fields[round_index] = open_field(data, self._config.field, *here)
            self._fields.move_to_end(round_index)
            while len(self._fields) > 2:
                self._fields.popitem(last=False)
            return self._fields[round_index]

    def render(self, camera: Camera, frame: int, round_index: int, look: Look = "after") -> np.ndarray:
        """Return uint8 (height, width, 3): the round's field, the unedited one, or their difference around
        grey.
        """
        if look == "before":
            return self._image(camera, frame, 0)
        after = self._image(camera, frame, round_index)
        if look == "after":
            return after
        change = (after.astype(np.float32) - self._image(camera, frame, 0)) * DIFFERENCE_GAIN + 127.5
        return change.clip(0, 255).round().astype(np.uint8)

    def _image(self, camera: Camera, frame: int, round_index: int) -> np.ndarray:
        image = self._seen(round_index, camera, frame)
        if self.footage.region is not None and round_index:
            unedited = _Look(partial(self._seen, 0))
            local = LocalScene(unedited, self.footage.region, self.scene.cameras, self.run.reader)
            image = local.shown(image, camera, frame)
        return (image.rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()

    def unedited(self, camera: Camera, frame: int) -> FieldImage:
        """Return what a camera sees of the field before any edit, with depth."""
        return self._seen(0, camera, frame)

    def _seen(self, round_index: int, camera: Camera, frame: int) -> FieldImage:
        return self.field(round_index).image(camera, frame)

    def photo(self, view: int, frame: int, look: Look, round_index: int, width: int = 160) -> np.ndarray:
        """Return a camera's own frame for its frustum, at most `width` pixels wide: a trained view's as a
        round left it.

        Of the last round that is committed: as the windows of the next one have it, where they have come that
        far.
        """
        image = (
            self._edited(view, frame, round_index)
            if look != "before" and view in self.scene.train_views
            else None
        )
        if image is None:
            image = self.footage.original(view, frame)
        if image.shape[1] <= width:
            return image
        return cv2.resize(
            image,
            (width, max(1, round(image.shape[0] * width / image.shape[1]))),
            interpolation=cv2.INTER_AREA,
        )

    def _edited(self, view: int, frame: int, round_index: int) -> np.ndarray | None:
        newest = round_index == max(self.footage.manifests)
        landed = self.landing.find(round_index + 1, view, frame) if newest else None
        if landed is not None:
            return self.footage.pixels(landed)
        return self.footage.edited_frame(view, frame, round_index) if round_index else None


def fitting_fov(camera: Camera, aspect: float) -> float:
    """Return the vertical field of view in radians of a window (width over height `aspect`) that shows a
    camera's whole picture.
    """
    wide = (
        camera.width / 2 / camera.K[0, 0] / aspect
    )  # tangent of half the angle that the window needs for the picture's width
    return float(2 * np.arctan(max(camera.height / 2 / camera.K[1, 1], wide)))


def as_finder(image: np.ndarray, free: Camera, camera: Camera) -> np.ndarray:
    """Return a picture (h, w, 3) of a free camera that stands where `camera` does, with what that one does
    not see dimmed.
    """
    out = (image * FINDER_DIMMED).astype(np.uint8)
    x0, x1 = (
        (edge - camera.K[0, 2]) / camera.K[0, 0] * free.K[0, 0] + free.K[0, 2] for edge in (0, camera.width)
    )
    y0, y1 = (
        (edge - camera.K[1, 2]) / camera.K[1, 1] * free.K[1, 1] + free.K[1, 2] for edge in (0, camera.height)
    )
    inside = np.s_[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))]
    out[inside] = image[inside]
    return out


def stands_at(free: Camera, camera: Camera, unit: float) -> bool:
    """Return whether a free camera stands and looks as `camera` does: within a thousandth of `unit` and of a
    radian, about.
    """
    apart = np.abs(free.world_from_camera - camera.world_from_camera)
    return bool(apart[:3, 3].max() < 1e-3 * unit and apart[:3, :3].max() < 1e-3)


def pinhole(fov_rad: float, aspect: float, height: int, world_from_camera: np.ndarray) -> Camera:
    """Return a camera of a vertical field of view (radians), centred; ConfigError for one that is no
    picture.
    """
    if not (0.01 < fov_rad < 3.1 and 0.05 < aspect < 20 and height >= 1):
        raise ConfigError(f"camera with field of view {fov_rad:g}, aspect {aspect:g}, height {height}")
    width = max(1, round(height * aspect))
    focal = height / 2 / np.tan(fov_rad / 2)
    return Camera(
        "free",
        width,
        height,
        np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]),
        world_from_camera,
    )


def vertical_fov(camera: Camera) -> float:
    """Return a camera's vertical field of view in radians."""
    return float(2 * np.arctan(camera.height / 2 / camera.K[1, 1]))
