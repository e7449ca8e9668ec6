"""What an editor service reads for a task: pictures, masks, depths and flows as tensors on its device."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from i4d.errors import EditError
from i4d.method.merge import FlowPair
from i4d.method.window import CrossViewSource, FlowSource
from i4d.services.flow_store import FlowStore
from i4d.store.blocks import BlockReader
from i4d.types import FrameAddress, WindowTask


class TaskReader:
    """Reads stored frames onto one device."""

    def __init__(self, reader: BlockReader, device: torch.device) -> None:
        self._reader, self._device = reader, device

    def images(self, addresses: Sequence[FrameAddress]) -> torch.Tensor:
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

    def earlier(self, addresses: Sequence[FrameAddress]) -> torch.Tensor | None:
        """Return the mean of the rounds before; None where a task names none."""
        return self.images(addresses) if addresses else None

    def region(self, addresses: Sequence[FrameAddress]) -> torch.Tensor | None:
        """Return the masks (n, 1, h, w) of a regional edit in [0, 1]; None where it acts everywhere."""
        if not addresses:
            return None
        rows = np.stack([self._reader.row(address) for address in addresses])
        return torch.from_numpy(rows)[:, None].to(self._device).float() / 255

    def depths(self, addresses: Sequence[FrameAddress]) -> torch.Tensor:
        """Return z depths (n, h, w), world units."""
        rows = [torch.from_numpy(self._reader.row(address).copy()) for address in addresses]
        return torch.stack(rows).to(self._device)

    def depth_block(self, digest: str) -> torch.Tensor:
        """Return a whole block of z depths (view, h, w), world units."""
        return torch.from_numpy(np.array(self._reader.rows(digest))).to(self._device)

    def views(self, task: WindowTask) -> list[CrossViewSource]:
        """Return the other cameras that a window sees."""
        return [
            CrossViewSource(
                self.images(source.frames),
                self.depths(source.depths),
                [source.camera.at(frame) for frame in task.frames],
            )
            for source in task.sights
        ]


class WindowFlows:
    """The flows that one window takes, and what they cost. EditError where it takes some and there is no
    `store` of flows.
    """

    def __init__(self, task: WindowTask, store: FlowStore | None, device: torch.device) -> None:
        self._task, self.passes, self.seconds = task, 0, 0.0
        self._found: dict[tuple[int, int], FlowPair] = {}
        wanted = task.sources.flows(task.frames, task.reference_frame)
        if store is None:
            if wanted:
                raise EditError("a window takes flow, and its settings have none")
            return
        before, began = store.passes, time.time()
        at = {task.anchor_frame: task.anchor_original, task.reference_frame: task.reference_original}
        at |= zip(task.frames, task.originals, strict=True)
        for i, j in wanted:
            forward, backward = store.between(at[i], at[j])
            self._found[i, j] = forward.to(device), backward.to(device)
        self.passes, self.seconds = store.passes - before, time.time() - began

    def pulled(self, anchor: torch.Tensor, reference: torch.Tensor) -> list[FlowSource]:
        """Return what flow pulls into the window out of the edited key frame and the edited frame before
        it.
        """
        task = self._task
        edited = {task.anchor_frame: anchor, task.reference_frame: reference}
        return [
            FlowSource(edited[source], [self._found[source, frame] for frame in task.frames])
            for source in task.sources.by_flow
        ]

    def averaged(self) -> dict[tuple[int, int], FlowPair]:
        """Return the flows of what is averaged after the repaint, by pairs of places in the window."""
        at = (*self._task.frames, self._task.reference_frame)  # -1 is the last
        return {(i, j): self._found[at[i], at[j]] for i, j in self._task.sources.averaged}
