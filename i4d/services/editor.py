"""The editor as a service: reads what a task names, hands plain tensors to one function of `i4d.method`,
writes what comes back, answers with a receipt.

Every answer is a function of the task alone. What is kept between calls (weights, conditions, memories of
anchors, flow of the originals) can be lost at any time without changing a bit of the next answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from i4d.config import EditorConfig, FlowConfig
from i4d.config.kinds import default_editor
from i4d.editors.cache import MEMORY_FRACTION, ConditionCache, MemoryCache
from i4d.editors.protocol import Conditions, EditCost, Editor, Memory
from i4d.editors.registry import editor_kind
from i4d.errors import EditError
from i4d.flow.find import find_estimator
from i4d.method.key_frame import (
    Agreement,
    InstantImages,
    edit_key_frame,
    repaint_views,
    spread_over_views,
)
from i4d.method.window import Edited, WindowImages, WindowSeeds, edit_window
from i4d.services.device import Device
from i4d.services.editor_parts import check_counts, naming, rows_of, seeds_of, window_seeds
from i4d.services.flow_ahead import FlowAhead
from i4d.services.flow_store import FlowStore
from i4d.services.identity import editor_identity
from i4d.services.reads import TaskReader, WindowFlows
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

MEMORY_BYTES_CPU = 512 << 20
MOST_THREADS = 8  # of the flow of small pictures, where nobody says how many
CONDITION_BYTES = 1 << 30  # 3,000 frames of 1352x1014


class EditorService:
    """Implements `i4d.services.contract.Editor` on one device.

    `store` is the storage URI. `editor` and `flow` are these blocks of the configuration, settled: `auto` in
    either is settled here for this device alone. `device` auto, cpu or cuda. `num_threads` fixes the compute
    threads (0: as they are), and with them the bits on CPUs. `warm_up_size` (height, width) and
    `warm_up_batch` are the plan's, so that a GPU has chosen and built its kernels before work. `settings` are
    those of the run: what is built depends on its guidance and turbo (None: the card's guidance, exact).
    """

    def __init__(
        self,
        store: str,
        name: str = "editor",
        editor: EditorConfig | None = None,
        flow: FlowConfig | None = None,
        device: str = "auto",
        num_threads: int = 0,
        memory_cap_gb: float = 0.0,
        cache_dir: str | None = None,
        warm_up_size: tuple[int, int] = (0, 0),
        warm_up_batch: int = 2,
        settings: EditSettings | None = None,
    ) -> None:
        self._store = open_store(store)
        self._reader = BlockReader(self._store, cache_dir=cache_dir)
        self._cache_dir = cache_dir
        self._ahead: FlowAhead | None = None
        self._name = name
        self._config, self._flow_config = editor or default_editor(), flow or FlowConfig()
        self._on = Device(device, num_threads, memory_cap_gb)
        self._device = self._on.torch
        self._read = TaskReader(self._reader, self._device)
        self._num_threads = num_threads
        self._warm_up_size, self._warm_up_batch = warm_up_size, warm_up_batch
        self._settings = settings
        self._conditions = ConditionCache(CONDITION_BYTES)
        self._memories = MemoryCache(MEMORY_BYTES_CPU)
        self._editor: Editor | None = None
        self._flows: dict[str, FlowStore] = {}
        self._active = True
        self._calls, self._cost = 0, EditCost()

    # ------------------------------------------------------------------------------------------ life
    def warm_up(self) -> WorkerInfo:
        """Load weights and edit one blank window; the notes say which weights, flow and guidance are used."""
        began = time.time()
        self._fix_threads()
        editor = self._loaded()
        card = editor.card
        notes = [*editor.notes, f"guidance recommended: {card.text_guidance:g} / {card.image_guidance:g}"]
        notes.append("flow: none" if self._flow_config.method == "none" else self._flow("").sentence)
        height, width = self._warm_up_size if self._device.type == "cuda" else (0, 0)
        size = height or 8 * editor.traits.cell, width or 8 * editor.traits.cell
        settings = self._settings or EditSettings("", card.text_guidance, card.image_guidance)
        editor.warm_up(settings, self._warm_up_batch, *size)
        return replace(
            self._on.info(self._name, time.time() - began, tuple(notes)),
            extra={"source": editor.source, "demonstration": card.demonstration},
            identity=self._identity(editor),
        )

    def _identity(self, editor: Editor) -> Identity:
        """Return what this process has loaded, in the words that the driver uses of the run."""
        flow = "none" if self._flow_config.method == "none" else self._flow("").estimator.identity
        return Identity(editor_identity(editor_kind(self._config).name, editor.identity), flow)

    def progress(self) -> int:
        """Return a number that changes with every call and every pass of the network."""
        return (self._calls << 24) + self._cost.unet_forwards

    def set_active(self, active: bool) -> None:
        """Move weights onto the device (True) or to the host, giving the device's memory back (False)."""
        self._active = active
        target = self._device if active else torch.device("cpu")
        if self._editor is not None:
            self._editor.to(target)
        for flow in self._flows.values():
            flow.estimator.to(target)
        if not active:
            self._memories.clear()
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
        began, editor, cost = self._begin()
        check_counts(task)
        read = self._read
        images = InstantImages(
            read.images(task.originals),
            read.images(task.current),
            read.depth_block(task.depth),
            task.cameras,
            read.region(task.region),
            read.earlier(task.earlier),
        )
        sample = [task.views.index(view) for view in task.sample]
        agreement = Agreement(task.match_threshold, task.fill_threshold, task.fill_share)
        task_id = f"r{task.round}/key{task.step:02d}"
        with naming(task_id):
            if task.edited:
                out = spread_over_views(images, sample, read.images(task.edited), agreement, task.round)
            else:
                seeds = seeds_of(task, task.sample, task.step, "key")
                conditions = self._prepared([task.originals[row] for row in sample], task.settings)
                given = editor, images, sample, task.strength, task.settings, seeds, agreement, cost
                out = edit_key_frame(*given, conditions, task.round)
        return self._finish(task_id, began, cost, rows_of(out, np.float16))

    def repaint(self, task: RepaintTask) -> EditReceipt:
        """Repaint some views at the key instant, anchored on the first; a float16 block, one row per view.

        Part of a joint edit (`share` of a key step) or what follows the last (a window of the rest).
        """
        began, editor, cost = self._begin()
        part = "rest" if task.share is None else "key"
        suffix = "" if task.share is None else f"/s{task.share}"
        task_id = f"r{task.round}/{part}{task.window:02d}{suffix}"
        with naming(task_id):
            out = repaint_views(
                editor,
                self._read.images(task.originals),
                self._read.images(task.current),
                task.strength,
                task.settings,
                seeds_of(task, task.views, task.window, part),
                task.batch,
                cost,
                self._prepared(task.originals, task.settings),
                self._read.region(task.region),
                self._read.earlier(task.earlier),
                task.round,
            )
        return self._finish(task_id, began, cost, rows_of(out, np.float16))

    def edit_window(self, task: WindowTask) -> EditReceipt:
        """Edit one window along time; a uint8 block, one row per frame."""
        began, editor, cost = self._begin()
        flows = WindowFlows(task, self._flow_of(task.settings), self._device)
        images = self._window_images(task, flows)
        seeds = window_seeds(task)

        def recall(strength: Strength) -> Memory:
            return self._memory_of(editor, task, images, strength, seeds, cost)

        task_id = f"r{task.round}/v{task.view:02d}/w{task.window:02d}"
        with naming(task_id):
            given = editor, images, task.strength, task.settings, seeds, task.batch, cost, recall
            out, coverage = edit_window(*given, task.round)
        return self._finish(task_id, began, cost, rows_of(out, np.uint8), coverage, flows)

    # ------------------------------------------------------------------------------------------ parts
    def _window_images(self, task: WindowTask, flows: WindowFlows) -> WindowImages:
        read = self._read
        originals = read.images(task.originals)
        current = originals if task.current == task.originals else read.images(task.current)
        anchor = Edited(read.images([task.anchor_original]), read.images([task.anchor_edited]))
        before, blended = read.images([task.reference_edited]), task.settings.blend
        reference = Edited(read.images([task.reference_original]), before) if blended else None
        camera = task.camera
        return WindowImages(
            originals,
            current,
            anchor,
            reference,
            flows.pulled(anchor.edited, before),
            flows.averaged(),
            self._prepared(task.originals, task.settings),
            self._prepared([task.anchor_original], task.settings),
            read.region(task.region),
            read.views(task),
            read.depths(task.depths) if task.depths else None,
            [camera.at(frame) for frame in task.frames] if camera is not None else [],
            task.match_threshold,
            read.earlier(task.earlier),
        )

    def _memory_of(
        self,
        editor: Editor,
        task: WindowTask,
        images: WindowImages,
        strength: Strength,
        seeds: WindowSeeds,
        cost: EditCost,
    ) -> Memory:
        """Return what the editor remembers of a window's anchor; all windows of a view and round share it."""
        anchor, settings = images.anchor, task.settings
        at = task.anchor_original, task.anchor_edited, strength, settings, seeds.anchor
        given = anchor.original, anchor.edited, strength, settings, seeds.anchor, cost
        return self._memories.get(at, lambda: editor.remember(*given, images.anchor_conditions))

    def _begin(self) -> tuple[float, Editor, EditCost]:
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

    def _loaded(self) -> Editor:
        if self._editor is None:
            if self._on.on_gpu:
                self._on.prepare()
                total = torch.cuda.get_device_properties(self._device).total_memory
                self._memories.max_bytes = int(
                    MEMORY_FRACTION * min(self._on.memory_cap_bytes or total, total)
                )
            kind, config = editor_kind(self._config), self._config
            place = kind.resolve(config.weights, self._device.type)
            self._editor = kind.load(place, self._device, config)
        return self._editor

    def _flow_of(self, settings: EditSettings) -> FlowStore | None:
        return None if settings.flow == "none" else self._flow(settings.flow)

    def _flow(self, method: str) -> FlowStore:
        config = self._flow_config
        method = method or config.method
        if method not in self._flows:
            estimator, sentence = find_estimator(
                method, config.checkpoint, device=self._device, iterations=config.iterations
            )
            self._flows[method] = FlowStore(self._store, self._reader, estimator, sentence, self._device)
        return self._flows[method]

    def _prepared(self, addresses: Sequence[FrameAddress], settings: EditSettings) -> Conditions:
        editor, sentence = self._loaded(), settings.instruction
        keys = [(address, sentence) for address in addresses]
        return self._conditions.get(keys, lambda key: editor.prepare(sentence, self._read.images([key[0]])))

    def _finish(
        self,
        task_id: str,
        began: float,
        cost: EditCost,
        rows: np.ndarray,
        coverage: float = math.nan,
        flows: WindowFlows | None = None,
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
            kept_share=coverage,
            flow_passes=flows.passes if flows else 0,
            flow_seconds=flows.seconds if flows else 0.0,
        )
