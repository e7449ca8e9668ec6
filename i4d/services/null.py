"""Services that compute next to nothing: the test double of editor and trainer, for drivers, executors and
clusters.

They keep every promise of the real ones: editors are pure functions of task and blocks, the trainer's field
depends on its frames and steps but not on how the steps are cut into calls, and a checkpoint brings all of it
back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from i4d.errors import EditError, FitError
from i4d.seeds import seed_for
from i4d.store.blocks import BlockReader, write_block
from i4d.store.named import get_checkpoint, put_checkpoint
from i4d.store.objects import open_store
from i4d.store.tables import FrameTable
from i4d.types import (
    CheckpointReceipt,
    EditReceipt,
    FitFigures,
    FitReceipt,
    FrameAddress,
    KeyFrameTask,
    RenderReceipt,
    RenderTask,
    RepaintTask,
    TableRun,
    WindowTask,
    WorkerInfo,
)


def _info(name: str) -> WorkerInfo:
    return WorkerInfo(name, "cpu", "null", socket.gethostname(), os.getpid(), 0.0)


class NullEditor:
    """Blends what a task names, with a tint from its seed. `delay_s` is slept in every call."""

    def __init__(
        self, store: str, name: str = "editor", delay_s: float = 0.0, cache_dir: str | None = None
    ) -> None:
        self._store = open_store(store)
        self._reader = BlockReader(self._store, cache_dir=cache_dir)
        self._name = name
        self._delay_s = delay_s
        self.active = True
        self._moved = 0

    def warm_up(self) -> WorkerInfo:
        return _info(self._name)

    def progress(self) -> int:
        return self._moved

    def set_active(self, active: bool) -> None:
        self.active = active

    def foresee(self, flow: str, pairs: Sequence[tuple[FrameAddress, FrameAddress]]) -> bool:
        return False

    def edit_key_frame(self, task: KeyFrameTask) -> EditReceipt:
        depth = self._reader.rows(task.depth)
        if len(depth) != len(task.views):
            raise EditError(f"{len(depth)} depths for {len(task.views)} views")
        seed = seed_for(task.run_seed, task.round, None, task.step, "key")
        images = self._blend(task.originals, task.current, seed)
        for view, address in zip(task.sample, task.edited, strict=False):
            images[task.views.index(view)] = self._reader.images([address])[0]
        images = images + 0.01 * np.tanh(depth)[..., None]
        images = self._joined(images, task)
        for view in set(task.views) - set(task.sample):
            row = task.views.index(view)
            images[row] = self._reader.images([task.current[row]])[0]
        return self._receipt(
            f"r{task.round}/key{task.step:02d}",
            images.astype(np.float16),
            0 if task.edited else len(task.sample),
        )

    def repaint(self, task: RepaintTask) -> EditReceipt:
        part = "rest" if task.share is None else "key"
        seed = seed_for(task.run_seed, task.round, None, task.window, part)
        images = self._blend(task.originals, task.current, seed)
        id = f"r{task.round}/{part}{task.window:02d}" + (f"/s{task.share}" if task.share is not None else "")
        return self._receipt(id, self._joined(images, task).astype(np.float16), task.batch)

    def edit_window(self, task: WindowTask) -> EditReceipt:
        seed = seed_for(task.run_seed, task.round, task.view, task.window, "window")
        images = self._blend(task.originals, task.current, seed)
        near = self._reader.images([task.anchor_edited, task.reference_edited])
        images = 0.5 * images + 0.3 * near[0] + 0.2 * near[1]
        for sight in task.sights:
            seen = np.stack([self._reader.row(address) for address in (*sight.depths, *task.depths)])
            if seen.dtype != np.float32 or len(seen) != 2 * len(images) or task.camera is None:
                raise EditError("a window that sees other views needs its own camera and depths")
            images = 0.8 * images + 0.2 * self._reader.images(sight.frames) + 0.01 * np.tanh(seen.mean())
        pixels = np.round(self._joined(images, task) * 255).clip(0, 255).astype(np.uint8)
        return self._receipt(f"r{task.round}/v{task.view:02d}/w{task.window:02d}", pixels, task.batch, 0.5)

    def _joined(self, images: np.ndarray, task: KeyFrameTask | RepaintTask | WindowTask) -> np.ndarray:
        if not task.earlier:
            return images
        return (images + (task.round - 1) * self._reader.images(task.earlier)) / task.round

    def _blend(
        self, originals: Sequence[FrameAddress], current: Sequence[FrameAddress], seed: int
    ) -> np.ndarray:
        tint = np.random.default_rng(seed).random(3, dtype=np.float32)
        return 0.4 * self._reader.images(originals) + 0.4 * self._reader.images(current) + 0.2 * tint

    def _receipt(self, id: str, rows: np.ndarray, images: int, kept: float = math.nan) -> EditReceipt:
        if not self.active:
            raise EditError("an editor was called while its weights were off the device")
        began = time.time()
        self._moved += 1
        time.sleep(self._delay_s)
        block = write_block(self._store, rows)
        return EditReceipt(
            id,
            block,
            self._name,
            "cpu",
            began,
            time.time() - began,
            3 * images,
            kept_share=kept,
            notes=self._store.told(),
        )


class NullTrainer:
    """A field that is a chain of digests: one link per step, of the frames that the step saw."""

    def __init__(self, store: str, name: str = "trainer", delay_s: float = 0.0) -> None:
        self._store = open_store(store)
        self._name = name
        self._delay_s = delay_s
        self._runs: tuple[TableRun, ...] = ()
        self._state: dict[str, Any] = {}
        self.active = True
        self._moved = 0

    def warm_up(self) -> WorkerInfo:
        return _info(self._name)

    def progress(self) -> int:
        return self._moved

    def set_active(self, active: bool) -> None:
        self.active = active

    def start(
        self, runs: Sequence[TableRun], checkpoint: str | None, phase: Literal["fit", "refit"], steps: int
    ) -> None:
        self._runs = FrameTable.of(runs).runs
        if checkpoint is None:
            self._state = {"link": ""}
        else:
            self.load(checkpoint)
        self._state |= {"phase": phase, "step": 0, "total": steps}

    def advance(self, delta: Sequence[TableRun], num_steps: int) -> FitReceipt:
        began = self._enter()
        self._runs = FrameTable.of([*self._runs, *delta]).runs
        frames = FrameTable(self._runs).digest()
        for _ in range(num_steps):
            self._state["step"] += 1
            text = f"{self._state['link']}|{self._state['phase']}|{self._state['step']}|{frames}"
            self._state["link"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        step, total = self._state["step"], self._state["total"]
        return FitReceipt(
            step, total, 20.0 + step / 100, num_steps, self._name, "cpu", began, time.time() - began
        )

    def watch(self, held_out: Sequence[TableRun], frame: int) -> FitFigures:
        self._enter()
        psnr = 20.0 + self._state["step"] / 100
        return FitFigures("cam00" if held_out else "", psnr if held_out else math.nan, psnr, 0.9)

    def render(self, task: RenderTask) -> RenderReceipt:
        began = self._enter()
        shape = (len(task.frames), task.camera.height, task.camera.width)
        text = f"{self._state['link']}|{task.camera.name}|{task.frames}"
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        rng = np.random.default_rng(seed)
        rgb, depth = rng.random((*shape, 3), dtype=np.float32), 1 + rng.random(shape, dtype=np.float32)
        rows = rgb.astype(np.float16) if task.rows == "float16" else np.round(rgb * 255).astype(np.uint8)
        arrays = {"rgb": rows, "depth": depth, "region": np.round(255 * rgb[..., 0]).astype(np.uint8)}
        blocks = {name: write_block(self._store, arrays[name]) for name in task.want}
        return RenderReceipt(blocks, self._name, "cpu", began, time.time() - began)

    def save(self) -> CheckpointReceipt:
        self._enter()
        data = json.dumps(self._state, sort_keys=True).encode()
        return CheckpointReceipt(put_checkpoint(self._store, data), self._state["step"], len(data))

    def load(self, checkpoint: str) -> int:
        self._state = json.loads(get_checkpoint(self._store, checkpoint))
        return self._state["step"]

    def _enter(self) -> float:
        if not self.active:
            raise FitError("the trainer was called while its weights were off the device")
        if not self._state:
            raise FitError("the trainer holds no field", "start or load comes first")
        began = time.time()
        self._moved += 1
        time.sleep(self._delay_s)
        return began
