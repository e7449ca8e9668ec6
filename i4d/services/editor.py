"""The editor as a service: reads blocks, edits with InstructPix2Pix, writes blocks, answers with receipts.

Every answer is a function of the task alone. What is kept between calls (weights, text, anchors' keys and
values, flow of the originals) can be lost at any time without changing a bit of the next answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from i4d.edit.key_frame import InstantImages, agree, edit_key_frame
from i4d.edit.load import load_editor
from i4d.edit.merge import adapted, blended
from i4d.edit.model import EditCost, EditorModel, Guidance
from i4d.edit.repaint import AnchorCache, AnchorTrace, ConditionCache, conditions_of, repaint, trace_anchor
from i4d.edit.unchanged import BLENDED_COPY_ERROR, with_unchanged_given_back
from i4d.edit.window import WindowImages, edit_window, padded_batch, uses_trace
from i4d.errors import EditError
from i4d.flow.find import find_estimator
from i4d.geometry.regions import inside_of
from i4d.seeds import seed_for
from i4d.services.device import Device
from i4d.services.editor_parts import check_counts, naming, rows_of, seeds_of
from i4d.services.flow_ahead import FlowAhead
from i4d.services.flow_store import FlowStore
from i4d.services.identity import editor_identity
from i4d.services.window_start import WindowStart
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import (
    EditReceipt,
    EditSettings,
    FrameAddress,
    Identity,
    KeyFrameTask,
    RepaintTask,
    Strength,
    WindowTask,
    WorkerInfo,
)

ANCHOR_SHARE = 0.2  # of the device memory that may hold anchors' keys and values
ANCHOR_BYTES_CPU = 512 << 20
MOST_THREADS = 8  # of the flow of small pictures, where nobody says how many
CONDITION_BYTES = 1 << 30  # 3,000 frames of 1352x1014


class EditorService:
    """Implements `i4d.services.contract.Editor` on one device.

    `store` is the storage URI. `device` auto, cpu or cuda. `memory_cap_gb` bounds what this process may take
    of the device (0: no bound). `num_threads` fixes the compute threads (0: as they are), and with them the
    bits on CPUs. `warm_up_size` (height, width) and `warm_up_batch` are the plan's, so that a GPU has chosen
    and built its kernels before work. `mode` is the configuration's: in exact and turbo mode a GPU's networks
    are laid out for speed; with `compiled` "on" windows of the plan's shape go through `torch.compile`
    besides, on CPUs too. `settings` are those of the run: what is built depends on its guidance and turbo
    (None: the card's guidance, exact).
    """

    def __init__(
        self,
        store: str,
        name: str = "editor",
        weights: str = "auto",
        device: str = "auto",
        dtype: str = "auto",
        flow_method: str = "auto",
        flow_checkpoint: str = "",
        flow_iterations: int = 20,
        num_threads: int = 0,
        memory_cap_gb: float = 0.0,
        cache_dir: str | None = None,
        warm_up_size: tuple[int, int] = (0, 0),
        warm_up_batch: int = 2,
        mode: str = "exact",
        compiled: str = "off",
        settings: EditSettings | None = None,
    ) -> None:
        self._store = open_store(store)
        self._reader = BlockReader(self._store, cache_dir=cache_dir)
        self._cache_dir = cache_dir
        self._ahead: FlowAhead | None = None
        self._name = name
        self._weights, self._dtype = weights, dtype
        self._on = Device(device, num_threads, memory_cap_gb)
        self._device = self._on.torch
        self._flow_options = (flow_method, flow_checkpoint, flow_iterations)
        self._num_threads = num_threads
        self._warm_up_size, self._warm_up_batch = warm_up_size, warm_up_batch
        self._mode, quick = mode, mode in ("exact", "turbo")
        self._compile = quick and compiled == "on"
        self._fast = quick and (self._compile or self._device.type == "cuda")
        self._settings = settings
        self._conditions = ConditionCache(CONDITION_BYTES)
        self._model: EditorModel | None = None
        self._flows: dict[str, FlowStore] = {}
        self._anchors = AnchorCache(ANCHOR_BYTES_CPU)
        self._active = True
        self._calls, self._cost = 0, EditCost()

    # ------------------------------------------------------------------------------------------ life
    def warm_up(self) -> WorkerInfo:
        """Load weights and edit one blank window; the notes say which weights, flow and guidance are used."""
        began = time.time()
        self._fix_threads()
        model = self._loaded()
        notes = [
            *model.notes,
            f"guidance recommended: {model.card.text_guidance:g} / {model.card.image_guidance:g}",
        ]
        notes.append("flow: none" if self._flow_options[0] == "none" else self._flow("").sentence)
        height, width = self._warm_up_size if self._device.type == "cuda" else (0, 0)
        height, width = height or 8 * model.factor, width or 8 * model.factor
        if self._compile:
            model.compile(self._warm_up_batch - 1, height, width)
        blank = torch.full((self._warm_up_batch, 3, height, width), 0.5)
        settings = self._settings or EditSettings("", model.card.text_guidance, model.card.image_guidance)
        strength, cost, seeds = (
            Strength(600, 2),
            EditCost(),
            [0] * (len(blank) - 1),
        )  # two steps: the second may be a turbo one
        if uses_trace(settings):
            trace = trace_anchor(model, blank[:1], blank[:1], strength, settings, 0, cost)
            repaint(model, blank[1:], blank[1:], strength, settings, seeds, cost, anchor=trace)
        else:
            repaint(model, blank, blank, strength, settings, [0, *seeds], cost)
        return replace(
            self._on.info(self._name, time.time() - began, tuple(notes)),
            extra={"source": model.source, "demonstration": model.card.demonstration},
            identity=self._identity(model),
        )

    def _identity(self, model: EditorModel) -> Identity:
        """Return what this process has loaded, in the words that the driver uses of the run."""
        flow = "none" if self._flow_options[0] == "none" else self._flow("").estimator.identity
        dtype, compiled = str(model.dtype).removeprefix("torch."), "on" if self._compile else "off"
        return Identity(editor_identity(model.source, dtype, self._mode, compiled), flow)

    def progress(self) -> int:
        """Return a number that changes with every call and every forward of the network."""
        return (self._calls << 24) + self._cost.unet_forwards

    def set_active(self, active: bool) -> None:
        """Move weights onto the device (True) or to the host, giving the device's memory back (False)."""
        self._active = active
        target = self._device if active else torch.device("cpu")
        if self._model is not None:
            self._model.to(target)
        for flow in self._flows.values():
            flow.estimator.to(target)
        if not active:
            self._anchors.clear()
            self._conditions.clear()
            torch.cuda.empty_cache()

    def foresee(self, flow: str, pairs: Sequence[tuple[FrameAddress, FrameAddress]]) -> bool:
        """Begin to compute flow on the host's cores while the GPU is busy; elsewhere the cores have work and
        nothing is begun.
        """
        store = self._flow(flow)
        if self._device.type != "cuda" or not store.estimator.on_host:
            return False
        ahead = self._ahead = FlowAhead(
            lambda: FlowStore(
                self._store,
                BlockReader(self._store, cache_dir=self._cache_dir),
                store.estimator,
                store.sentence,
            ),
            max(1, (self._num_threads or torch.get_num_threads()) - 1),
        )
        ahead.begin(pairs)
        return True

    # ------------------------------------------------------------------------------------------ work
    def edit_key_frame(self, task: KeyFrameTask) -> EditReceipt:
        """One joint edit of the sampled views and its spread over all views; a float16 block, one row per
        view.
        """
        began, model, cost = self._begin()
        check_counts(task)
        images = InstantImages(
            self._images(task.originals),
            self._images(task.current),
            torch.from_numpy(np.array(self._reader.rows(task.depth))).to(self._device),
            task.cameras,
        )
        seeds, region = seeds_of(task, task.sample, task.step, "key"), self._region(task.region)
        sample = [task.views.index(view) for view in task.sample]
        task_id = f"r{task.round}/key{task.step:02d}"
        thresholds = task.match_threshold, task.fill_threshold
        with naming(task_id):
            if task.edited:
                out = agree(images, sample, self._images(task.edited), *thresholds, task.fill_share)
            else:
                condition = self._condition([task.originals[row] for row in sample])
                given = (model, images, sample, task.strength, task.settings, seeds)
                out = edit_key_frame(*given, *thresholds, cost, condition, region)
        out = out if region is None else inside_of(out, images.originals, region)
        return self._finish(task_id, began, cost, rows_of(self._joined(out, task), np.float16))

    def repaint(self, task: RepaintTask) -> EditReceipt:
        """Repaint some views at the key instant, anchored on the first; a float16 block, one row per view.

        Part of a joint edit (`share` of a key step) or what follows the last (a window of the rest).
        """
        began, model, cost = self._begin()
        condition = padded_batch(self._condition(task.originals), task.batch)
        originals, current = (
            padded_batch(self._images(a), task.batch) for a in (task.originals, task.current)
        )
        part, region = "rest" if task.share is None else "key", self._region(task.region)
        seeds = seeds_of(task, task.views, task.window, part)
        seeds += seeds[-1:] * (task.batch - len(seeds))
        task_id = f"r{task.round}/{part}{task.window:02d}" + (
            f"/s{task.share}" if task.share is not None else ""
        )
        with naming(task_id):
            padded = None if region is None else padded_batch(region, task.batch)
            out = repaint(
                model,
                originals,
                current,
                task.strength,
                task.settings,
                seeds,
                cost,
                condition=condition,
                region=padded,
            )
        count = len(task.views)
        out = out[:count] if region is None else inside_of(out[:count], originals[:count], region)
        return self._finish(task_id, began, cost, rows_of(self._joined(out, task), np.float16))

    def edit_window(self, task: WindowTask) -> EditReceipt:
        """Edit one window along time; a uint8 block, one row per frame."""
        began, model, cost = self._begin()
        flow = None if task.settings.flow == "none" else self._flow(task.settings.flow)
        originals = self._images(task.originals)

        def images_of(addresses: Sequence[FrameAddress]) -> torch.Tensor:
            return originals if addresses == task.originals else self._images(addresses)

        start = WindowStart(task, images_of, self._reader, flow, self._device)
        began_from, kept = start.frames()
        images = WindowImages(
            originals,
            began_from,
            self._images([task.anchor_original]),
            self._images([task.anchor_edited]),
            self._images([task.reference_edited]),
            None,
            None,
            self._condition(task.originals),
            self._condition([task.anchor_original]),
            self._region(task.region),
        )
        adaptive = task.settings.adaptive
        strength = adapted(task.strength, kept, model.schedule.least_steps) if adaptive else task.strength
        anchor_seed = seed_for(task.run_seed, task.round, task.view, None, "anchor")
        seeds = [
            anchor_seed
            if task.settings.noise == "shared"
            else seed_for(task.run_seed, task.round, task.view, None, f"frame {frame}")
            for frame in task.frames
        ]
        task_id = f"r{task.round}/v{task.view:02d}/w{task.window:02d}"

        def trace() -> AnchorTrace:
            settings = task.settings
            guidance = Guidance(settings.text_guidance, settings.image_guidance)
            thinned = settings.turbo.keys, settings.turbo.second_keys
            key = (
                task.anchor_original,
                task.anchor_edited,
                strength,
                settings.instruction,
                guidance,
                thinned,
                anchor_seed,
            )
            anchor, known = (images.anchor_original, images.anchor_edited), images.anchor_condition
            return self._anchors.get(
                key, lambda: trace_anchor(model, *anchor, strength, settings, anchor_seed, cost, known)
            )

        blend, settings = task.settings.blend, task.settings
        # first average, then see what was left unchanged: giving originals back twice draws the edit towards
        # them
        if blend:
            settings = replace(settings, keep_unchanged=False)
        with naming(task_id):
            out, _ = edit_window(
                model, images, strength, settings, anchor_seed, seeds, task.batch, cost, trace
            )
            if blend:
                unedited = torch.cat([self._images([task.reference_original]), images.originals])
                how = settings.flow_mask, settings.blend_sigma, settings.blend_detail
                out = blended(out, images.reference_edited, unedited, start.pairs(blend), *how).clamp(0, 1)
                if task.settings.keep_unchanged:
                    out = with_unchanged_given_back(out, images.originals, BLENDED_COPY_ERROR)
        out = out if images.region is None else inside_of(out, images.originals, images.region)
        return self._finish(
            task_id,
            began,
            cost,
            rows_of(self._joined(out, task), np.uint8),
            kept_share=kept,
            flow_passes=start.flow_passes,
            flow_seconds=start.flow_seconds,
        )

    # ------------------------------------------------------------------------------------------ parts
    def _begin(self) -> tuple[float, EditorModel, EditCost]:
        if not self._active:
            raise EditError("an editor was called while its weights were off the device")
        self._fix_threads()
        self._on.enter()
        self._calls, self._cost = self._calls + 1, EditCost()
        return time.time(), self._loaded(), self._cost

    def _fix_threads(self) -> None:
        """Fix the calling thread's threads: OpenCV's flow would take every core and wait for itself."""
        if self._num_threads:
            torch.set_num_threads(self._num_threads)
        cv2.setNumThreads(self._num_threads or min(MOST_THREADS, torch.get_num_threads()))

    def _loaded(self) -> EditorModel:
        if self._model is None:
            if self._on.on_gpu:
                self._on.prepare()
                total = torch.cuda.get_device_properties(self._device).total_memory
                self._anchors.max_bytes = int(ANCHOR_SHARE * min(self._on.memory_cap_bytes or total, total))
            self._model = load_editor(self._weights, self._device, self._dtype, fast=self._fast)
        return self._model

    def _flow(self, method: str) -> FlowStore:
        configured, checkpoint, iterations = self._flow_options
        method = method or configured
        if method not in self._flows:
            estimator, sentence = find_estimator(
                method, checkpoint, device=self._device, iterations=iterations
            )
            self._flows[method] = FlowStore(self._store, self._reader, estimator, sentence, self._device)
        return self._flows[method]

    def _condition(self, addresses: Sequence[FrameAddress]) -> torch.Tensor:
        model = self._loaded()
        return self._conditions.get(addresses, lambda address: conditions_of(model, self._images([address])))

    def _images(self, addresses: Sequence[FrameAddress]) -> torch.Tensor:
        """Return stored frames, float32 in [0, 1] (frame, 3, h, w): they travel to the device as they lie and
        become floats there.
        """
        rows = [
            torch.from_numpy(np.array(self._reader.row(address))).to(self._device) for address in addresses
        ]
        white = torch.tensor(
            255.0, device=self._device
        )  # as a tensor: a GPU multiplies by the reciprocal of a number
        images = torch.stack(
            [row.float() / white if row.dtype == torch.uint8 else row.float() for row in rows]
        )
        return images.permute(0, 3, 1, 2).contiguous()

    def _joined(self, images: torch.Tensor, task: KeyFrameTask | RepaintTask | WindowTask) -> torch.Tensor:
        """Return the mean of this round's answer and of all rounds' before; the answer itself where the task
        names none.
        """
        if not task.earlier:
            return images
        return images + (self._images(task.earlier).to(images.device) - images) * (1 - 1 / task.round)

    def _region(self, addresses: Sequence[FrameAddress]) -> torch.Tensor | None:
        """Return the masks (n, 1, h, w) of a local edit in [0, 1]; None where it acts everywhere."""
        if not addresses:
            return None
        rows = np.stack([self._reader.row(address) for address in addresses])
        return torch.from_numpy(rows)[:, None].to(self._device).float() / 255

    def _finish(
        self,
        task_id: str,
        began: float,
        cost: EditCost,
        rows: np.ndarray,
        kept_share: float = math.nan,
        flow_passes: int = 0,
        flow_seconds: float = 0.0,
    ) -> EditReceipt:
        return EditReceipt(
            task=task_id,
            block=write_block(self._store, rows),
            worker=self._name,
            device=str(self._device),
            started_s=began,
            seconds=time.time() - began,
            unet_forwards=cost.unet_forwards,
            peak_bytes=self._on.peak_bytes(),
            notes=(*cost.notes, *self._store.told(), *(self._ahead.told() if self._ahead else ())),
            kept_share=kept_share,
            flow_passes=flow_passes,
            flow_seconds=flow_seconds,
        )
