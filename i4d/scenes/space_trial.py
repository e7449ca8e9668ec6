"""Which space a field of a scene should live in, tried before the fit: a small field for a moment in each.

A forward-facing rig is served best by NDC, cameras around a scene by a box; in between, and where a file's
near and far do not fit, nobody can tell from the layout of a folder, and the wrong space costs up to nine
decibels. So each space that the cameras allow is fitted to one instant for a few hundred steps without one
camera, and the picture of that camera decides. On CPUs alone, so that it comes out the same wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import torch

from i4d.config import Config
from i4d.fields.frames import FrameBank
from i4d.fields.registry import field_kind
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.fields.workers import Workers
from i4d.metrics.image import psnr
from i4d.scenes.nearest import settle_reach
from i4d.scenes.prepare import working_frames
from i4d.types import Bounds, Camera, Scene

LONG_SIDE = 96  # pixels of the pictures that are fitted
STEPS, RAYS = 240, 400
FEWEST_CAMERAS = 5  # trained ones; with fewer, one cannot be left out without changing what is asked
SURE_DB = 0.5  # the first space stays unless another is better by more
FIELD = VectorMatrixConfig(
    grid_start=32_000,
    grid_end=250_000,
    growth_at=[0.3, 0.6],
    density_components=[8, 8, 8],
    colour_components=[8, 8, 8],
    channels_per_frame=0.0,
    permanent_share=1.0,
    feature_dim=12,
    mlp_width=32,
    samples=24,
    proposals=48,
    shaded=8,
    fit_steps=STEPS,
    rays=RAYS,
    lr_grid=0.1,
    lr_mlp=0.005,
    tv_weight=5.0,
    motion_share=0.0,
)


@dataclass(frozen=True)
class Tried:
    """A space and the PSNR in dB of the camera that was left out."""

    bounds: Bounds
    psnr_db: float


def try_spaces(
    spaces: Sequence[Bounds],
    cameras: Sequence[Camera],
    pictures: Sequence[np.ndarray],
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
    reference: Camera | None = None,
) -> list[Tried]:
    """Return how well each space explains the camera nearest to the middle of all others, best first.

    `pictures` (height, width, 3) uint8 of one instant, one per camera. `progress` is called with (spaces
    done, of all). `reference`: the scene's first camera, whose intrinsics its NDC is told in; by default the
    first of `cameras`.
    """
    small, rows = zip(*(_reduced(c, p) for c, p in zip(cameras, pictures, strict=True)), strict=True)
    left_out = _middle(small)
    views = tuple(v for v in range(len(small)) if v != left_out)
    bank = FrameBank(small, views, 1)
    for view in views:
        bank.put(view, 0, rows[view][None])
    truth = torch.from_numpy(rows[left_out]).float() / 255
    found = []
    workers = Workers(threads or torch.get_num_threads())
    if progress:
        progress(0, len(spaces))
    first = small[0] if reference is None else _smaller(reference)
    for done, bounds in enumerate(spaces, 1):
        fitter = Fitter(FIELD, space_for(bounds, [first]), 1, 0, "cpu", workers, views=views)
        fitter.begin("fit", STEPS)
        fitter.advance(bank, STEPS)
        shown = fitter.image(small[left_out], 0).rgb.clamp(0, 1)
        found.append(Tried(bounds, psnr(shown, truth)))
        if progress:
            progress(done, len(spaces))
    return sorted(found, key=lambda tried: -tried.psnr_db)


def _reduced(camera: Camera, picture: np.ndarray) -> tuple[Camera, np.ndarray]:
    small = _smaller(camera)
    if small is camera:
        return camera, np.ascontiguousarray(picture)
    return small, cv2.resize(picture, (small.width, small.height), interpolation=cv2.INTER_AREA)


def _smaller(camera: Camera) -> Camera:
    scale = LONG_SIDE / max(camera.width, camera.height)
    return camera if scale >= 1 else camera.resized(round(camera.width * scale), round(camera.height * scale))


def _middle(cameras: Sequence[Camera]) -> int:
    """Return the camera whose farthest neighbour is nearest."""
    centres = np.stack([camera.centre for camera in cameras])
    axes = np.stack([camera.world_from_camera[:3, 2] for camera in cameras])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1) - axes @ axes.T
    return int(apart.max(1).argmin())


def settle_space(scene: Scene, config: Config, progress: Callable[[int, int], None] | None = None) -> Scene:
    """Return the scene in the space that its field should live in, and write that one into
    `config.scene.bounds`; a contracted space gets a total variation of CONTRACTED_VARIATION or more.

    Which there are depends on the nearest depth, which pictures tell where no file does (`settle_reach`); of
    NDC that is chosen so, near and far are written into `config.scene` too. Where more than one may be right
    and the trained cameras are enough, each is tried, on pictures of these alone: held-out cameras choose
    nothing. A note of the scene says what came out.
    """
    views = scene.train_views
    frame = max((stop for _, start, stop in scene.missing if start == 0), default=0)  # all are there
    frame = min(frame, scene.num_frames - 1)
    cameras = [scene.cameras[v].at(frame) for v in views]

    @cache
    def pictures() -> list[np.ndarray]:
        return [next(working_frames(scene, config.scene, v, frame)) for v in views]

    scene = settle_reach(scene, config.scene, cameras, pictures, len(views) >= FEWEST_CAMERAS)
    if not scene.spaces:
        return scene
    first, text = scene.spaces[0], ""
    if first.kind == "contracted":
        text = "field space: contracted, since the cameras stand around the scene (scene.bounds)"
    if len(scene.spaces) > 1 and len(views) >= FEWEST_CAMERAS:
        found = try_spaces(scene.spaces, cameras, pictures(), progress=progress, reference=scene.cameras[0])
        mine = next(t for t in found if t.bounds is first)
        first = found[0].bounds if found[0].psnr_db > mine.psnr_db + SURE_DB else first
        figures = ", ".join(f"{t.bounds.kind} {t.psnr_db:.1f} dB" for t in found)
        text = f"field space: {first.kind}, tried on a camera left out: {figures} (scene.bounds)"
    config.scene.bounds = first.kind
    if first.rig_from_world:
        config.scene.near, config.scene.far = first.near, first.far
    if changed := field_kind(config.field.kind).suit_space(config.field, first):
        text += f"; {changed}"
    return replace(scene, bounds=first, spaces=(), notes=(*scene.notes, *([text] if text else [])))
