"""The trainer as a service: owns the field, fits it to stored frames, renders it, saves and loads it.

The only service with state. All of it is in a checkpoint: the frames it was given are the driver's to
remember.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from i4d.config import FieldConfig
from i4d.errors import FitError, WeightsError
from i4d.fields.frames import FrameBank
from i4d.fields.group import Group
from i4d.fields.protocol import FieldScene, TrainableField
from i4d.fields.registry import field_kind, open_field
from i4d.fields.workers import Workers
from i4d.metrics.image import as_uint8
from i4d.metrics.perceptual import Lpips, find_lpips
from i4d.services.device import Device
from i4d.services.identity import field_identity
from i4d.services.local import LocalScene
from i4d.services.watch import figures_of
from i4d.store.blocks import BlockReader, write_block
from i4d.store.named import get_checkpoint, put_checkpoint
from i4d.store.objects import open_store
from i4d.types import (
    Bounds,
    Camera,
    CheckpointReceipt,
    FitFigures,
    FitReceipt,
    Identity,
    LocalRender,
    RenderReceipt,
    RenderTask,
    TableRun,
    WorkerInfo,
)

ONLY_FIRST = frozenset(
    {"render", "save", "watch"}
)  # calls that one rank of a group answers; the others must reach all ranks


@dataclass(frozen=True, eq=False)
class TrainerScene:
    """What the trainer knows of a scene: calibration and bounds, no pixels."""

    cameras: tuple[Camera, ...]
    bounds: Bounds
    num_frames: int
    train_views: tuple[int, ...]
    missing: tuple[tuple[int, int, int], ...] = ()  # runs (view, first, stop) that are not trained on


class TrainerService:
    """Implements `i4d.services.contract.Trainer` on one device.

    `store` is the storage URI. `seed` and `field` settle a fit together with the frames; on CPUs the number
    of compute threads (`num_threads`, 0: as they are) settles its bits. `memory_cap_gb` bounds what this
    process may take of a GPU. `rank` of `size` trainers that meet at `rendezvous` and fit one field together,
    each with its own rays: all of them must be sent the same calls in the same order, except those of
    `ONLY_FIRST`.
    """

    def __init__(
        self,
        store: str,
        scene: TrainerScene,
        field: FieldConfig,
        seed: int = 0,
        name: str = "trainer",
        device: str = "auto",
        num_threads: int = 0,
        memory_cap_gb: float = 0.0,
        cache_dir: str | None = None,
        rank: int = 0,
        size: int = 1,
        rendezvous: str = "",
    ) -> None:
        self._store = open_store(store)
        self._reader = BlockReader(self._store, cache_dir=cache_dir)
        self._scene, self._seed, self._name = scene, seed, name
        self._device = Device(device, num_threads, memory_cap_gb)
        self._config, self._distance, self._why = _settled_loss(field, self._device.torch)
        self._workers = Workers(1 if self._device.on_gpu else num_threads or torch.get_num_threads())
        if self._workers.count > 1:
            self._device.num_threads = 1  # the workers are the threads
        self._kind = field_kind(field.kind)
        shown = scene.bounds, scene.num_frames, scene.train_views
        self._made_for = FieldScene(scene.cameras, *shown)
        self._group = Group(rank, size, rendezvous, self._device.torch) if size > 1 else None
        self._bank = self._empty_bank()
        self._fitter: TrainableField | None = None
        self._local: tuple[LocalRender, LocalScene] | None = None
        self._active = True
        self._images = 0  # rendered so far

    # ------------------------------------------------------------------------------------------ life
    def warm_up(self) -> WorkerInfo:
        """Fix threads and memory and run one step of a throw-away field, so that libraries and kernels are
        loaded.
        """
        began = time.perf_counter()
        self._device.prepare()
        self._device.enter()
        fitter = self._new_fitter()
        fitter.begin("fit", 1)
        bank = self._empty_bank()
        for view in self._scene.train_views:
            camera = self._scene.cameras[view]
            blank = np.broadcast_to(np.uint8(128), (self._scene.num_frames, camera.height, camera.width, 3))
            bank.put(view, 0, blank)
        fitter.advance(bank, 1)
        note = f"field: {self._scene.bounds.kind}, {fitter.summary()}{self._why}"
        info = self._device.info(self._name, time.perf_counter() - began, (note,))
        info = replace(info, identity=Identity(field=self._identity(fitter)))
        return info if self._device.on_gpu else replace(info, device_name=f"{self._workers.count} threads")

    def _identity(self, fitter: TrainableField) -> str:
        """Return what this process fits with, in the words that the driver uses of the run."""
        return field_identity(self._config, fitter.identity)

    def progress(self) -> int:
        """Return a number that changes with every step of the fit and every image rendered."""
        return self._images + (0 if self._fitter is None else self._fitter.step)

    def set_active(self, active: bool) -> None:
        """Move the field and its optimiser onto or off the device."""
        self._local = None
        if self._fitter is not None:
            self._fitter.to(self._device.torch if active else "cpu")
        if self._device.on_gpu and not active:
            torch.cuda.empty_cache()
        self._active = active

    # ------------------------------------------------------------------------------------------ fit
    def start(
        self, runs: Sequence[TableRun], checkpoint: str | None, phase: Literal["fit", "refit"], steps: int
    ) -> None:
        """Begin a phase of `steps` steps on these frames, from a checkpoint (its digest) or from a random
        field.
        """
        self._enter()
        self._local = None
        if checkpoint is None:
            self._fitter = self._new_fitter()
        else:
            self.load(checkpoint)
        self._bank = self._empty_bank()
        self._put(runs)
        self._field().begin(phase, steps)

    def advance(self, delta: Sequence[TableRun], num_steps: int) -> FitReceipt:
        """Take newly stored frames, then `num_steps` steps. FitError: frames are missing, or a loss is not
        finite.
        """
        began, clock = time.time(), time.perf_counter()
        self._enter()
        fitter = self._field()
        self._put(delta)
        missing = self._bank.missing()
        if missing:
            view, frame = missing[0]
            raise FitError(
                f"{len(missing)} training frames are missing, the first is frame {frame} of view {view}"
            )
        report = fitter.advance(self._bank, num_steps)
        return FitReceipt(
            report.step,
            report.total_steps,
            report.psnr_db,
            report.rays,
            self._name,
            str(self._device.torch),
            began,
            time.perf_counter() - clock,
            self._device.peak_bytes(),
        )

    def watch(self, held_out: Sequence[TableRun], frame: int) -> FitFigures:
        """Return how the fit stands at a frame, from a grid of pixels of a few cameras; changes nothing.

        `held_out`: where frames of cameras that are not trained on lie; the one with the nearest trained
        cameras is looked at.
        """
        self._enter()
        there = {v for v in range(len(self._scene.cameras)) if not self._stands_in(v, frame)}
        pictures = {v: self._bank.picture(v, frame) for v in self._scene.train_views if v in there}
        addresses = {run.view: run for run in held_out if run.view in there and run.start <= frame < run.stop}

        def unseen(view: int) -> np.ndarray:
            run = addresses[view]
            return self._reader.rows(run.digest)[run.row + frame - run.start]

        return figures_of(self._field(), self._scene.cameras, pictures, tuple(addresses), unseen, frame)

    def _stands_in(self, view: int, frame: int) -> bool:
        return any(v == view and first <= frame < stop for v, first, stop in self._scene.missing)

    # ------------------------------------------------------------------------------------------ render
    def render(self, task: RenderTask) -> RenderReceipt:
        """Render a camera, known or novel, at some frames; the blocks are stored before the receipt is
        given.
        """
        began, clock = time.time(), time.perf_counter()
        self._enter()
        fitter = self._field()
        unknown = set(task.want) - ({"rgb", "depth"} if task.local is None else {"rgb", "depth", "region"})
        if unknown or not task.want or not task.frames:
            asked = f"render: asked for {task.want} of frames {task.frames}"
            raise FitError(asked, "want: rgb, depth, region of a local edit; at least a frame")
        if task.num_frames != self._scene.num_frames or not set(task.frames) <= set(range(task.num_frames)):
            raise FitError(
                f"render: frames {task.frames} of {task.num_frames}", f"scene: {self._scene.num_frames}"
            )
        parts: dict[str, list[np.ndarray]] = {name: [] for name in task.want}
        shot = self._as_fitted(task.camera)
        for frame in task.frames:
            self._images += 1
            camera = shot.at(frame)
            if "region" in parts and task.local is not None:
                share = self._local_scene(task.local).share(camera, frame)
                parts["region"].append((share * 255).round().to(torch.uint8).cpu().numpy())
            if not {"rgb", "depth"} & set(parts):
                continue
            image = fitter.image(camera, frame)
            if task.local is not None:
                image = self._local_scene(task.local).shown(image, camera, frame)
            if "rgb" in parts:
                rgb = image.rgb if task.exposure_of is None else fitter.exposed(image.rgb, task.exposure_of)
                parts["rgb"].append(_rows(rgb, task.rows))
            if "depth" in parts:
                parts["depth"].append(image.depth_z.cpu().numpy())
        blocks = {name: write_block(self._store, np.stack(rows)) for name, rows in parts.items()}
        return RenderReceipt(blocks, self._name, str(self._device.torch), began, time.perf_counter() - clock)

    # ------------------------------------------------------------------------------------------ checkpoints
    def save(self) -> CheckpointReceipt:
        """Store the field with its optimiser and its place in the schedule."""
        self._enter()
        data = self._field().save()
        return CheckpointReceipt(put_checkpoint(self._store, data), self._field().step, len(data))

    def load(self, checkpoint: str) -> int:
        """Load a checkpoint, to render it or to go on with its fit; returns its step."""
        self._enter()
        fitter = self._new_fitter()
        fitter.load(get_checkpoint(self._store, checkpoint))
        self._fitter = fitter
        return fitter.step

    # ------------------------------------------------------------------------------------------ inside
    def _enter(self) -> None:
        if not self._active:
            raise FitError("the trainer was called while its field was off the device")
        self._device.enter()

    def _field(self) -> TrainableField:
        if self._fitter is None:
            raise FitError("the trainer holds no field", "start or load comes first")
        return self._fitter

    def _new_fitter(self) -> TrainableField:
        shared = self._device.torch, self._workers, self._group, self._distance
        return self._kind.make(self._config, self._made_for, self._seed, *shared)

    def _local_scene(self, local: LocalRender) -> LocalScene:
        """Return the unedited field with a region; kept until the next fit begins or the device is given
        away.
        """
        if self._local is None or self._local[0] != local:
            data = get_checkpoint(self._store, local.unedited)
            here = self._device.torch, self._workers
            unedited = open_field(data, self._config, self._made_for, *here)
            cameras = tuple(self._as_fitted(camera) for camera in self._scene.cameras)
            self._local = local, LocalScene(unedited, local.region, cameras, self._reader)
        return self._local[1]

    def _as_fitted(self, camera: Camera) -> Camera:
        """Return a camera as the fit corrected it where it is one that was trained on, of any picture size;
        others as they are.
        """
        for view in self._scene.train_views:
            given = self._scene.cameras[view]
            same = np.array_equal(given.world_from_camera, camera.world_from_camera)
            if given.name == camera.name and same:
                return self._field().corrected(camera, view)
        return camera

    def _empty_bank(self) -> FrameBank:
        scene = self._scene
        return FrameBank(scene.cameras, scene.train_views, scene.num_frames, scene.missing)

    def _put(self, runs: Sequence[TableRun]) -> None:
        for run in runs:
            rows = self._reader.rows(run.digest)[run.row : run.row + run.stop - run.start]
            if len(rows) != run.stop - run.start:
                raise FitError(
                    f"block {run.digest} has no rows {run.row}..{run.row + run.stop - run.start - 1}"
                )
            if run.view in self._scene.train_views:
                self._bank.put(run.view, run.start, rows)


def _rows(rgb: torch.Tensor, rows: str) -> np.ndarray:
    """Return an image (height, width, 3) in [0, 1] as uint8, rounded to nearest, or float16."""
    if rows == "uint8":
        return as_uint8(rgb)
    return rgb.clamp(0, 1).to(torch.float16).cpu().numpy()


def _settled_loss(config: FieldConfig, device: torch.device) -> tuple[FieldConfig, Lpips | None, str]:
    """Return the configuration with the refit's loss settled, the distance it needs, and why it is not what
    was wished for.

    `auto` takes the perceptual term on a GPU where LPIPS finds its weights: on CPUs its patches cost more
    than they give. WeightsError where `perceptual` was asked for by name and the weights are missing.
    """
    asked = config.refit_loss
    if asked == "auto" and device.type != "cuda":
        return replace(config, refit_loss="squared"), None, " (perceptual ones are for GPUs)"
    if asked not in ("auto", "perceptual"):
        return config, None, ""
    try:
        return replace(config, refit_loss="perceptual"), find_lpips(device), ""
    except WeightsError as err:
        if asked == "perceptual":
            raise
        return replace(config, refit_loss="squared"), None, f" (not perceptual: {err.args[0]})"
