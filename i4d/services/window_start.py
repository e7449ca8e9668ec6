"""Where the frames of a window start from, and the flows that it takes: reads blocks, asks the flow store,
merges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from i4d.edit.merge import FlowPair, Pull, merged, pull_by_depth, pull_by_flow
from i4d.errors import EditError
from i4d.pairs import pairs_within
from i4d.services.flow_store import FlowStore
from i4d.store.blocks import BlockReader
from i4d.types import FrameAddress, WindowTask

Images = Callable[[Sequence[FrameAddress]], torch.Tensor]


class WindowStart:
    """One task's flows and pulls. `images` reads frames as (n, 3, h, w), float; `flow` None: nothing is
    pulled along time.
    """

    def __init__(
        self,
        task: WindowTask,
        images: Images,
        reader: BlockReader,
        flow: FlowStore | None,
        device: torch.device,
    ) -> None:
        self._task, self._images, self._reader, self._flow, self._device = task, images, reader, flow, device
        self._passes_before = flow.passes if flow else 0
        self.flow_seconds = 0.0

    @property
    def flow_passes(self) -> int:
        return self._flow.passes - self._passes_before if self._flow else 0

    def frames(self) -> tuple[torch.Tensor, float]:
        """Return what the frames start from, (frames, 3, h, w), and the share of their pixels that was pulled
        from elsewhere.
        """
        return merged(self._images(self._task.current), self._pulls())

    def pairs(self, radius: int) -> dict[tuple[int, int], FlowPair]:
        """Return the flows of neighbours up to `radius` apart as `i4d.edit.merge.blended` takes them; none
        without flow.
        """
        if self._flow is None:
            return {}
        at = (*self._task.originals, self._task.reference_original)  # -1 is the reference
        return {
            pair: self._between(at[pair[0]], at[pair[1]])
            for pair in pairs_within(len(self._task.frames), radius)
        }

    def _pulls(self) -> list[Pull]:
        task, out = self._task, []
        if self._flow is not None and task.settings.references != "none":
            out.append(self._pull_from(task.reference_original, task.reference_edited))
            if task.settings.references == "both" and task.anchor_original != task.reference_original:
                out.append(self._pull_from(task.anchor_original, task.anchor_edited))
        if task.sights:
            if task.camera is None or len(task.depths) != len(task.frames):
                raise EditError("a window that sees other views needs its own camera and depths")
            own = self._depths(task.depths), [task.camera.at(frame) for frame in task.frames]
            for sight in task.sights:
                cameras = [sight.camera.at(frame) for frame in task.frames]
                other = self._images(sight.frames), self._depths(sight.depths), cameras
                out.append(pull_by_depth(*other, *own, task.match_threshold))
        return out

    def _pull_from(self, original: FrameAddress, edited: FrameAddress) -> Pull:
        found = [self._between(original, frame) for frame in self._task.originals]
        forward, backward = (torch.stack([pair[i] for pair in found]) for i in (0, 1))
        return pull_by_flow(self._images([edited]), forward, backward, self._task.settings.flow_mask)

    def _between(self, reference: FrameAddress, frame: FrameAddress) -> FlowPair:
        assert self._flow is not None, "asked for only where there is flow"
        began = time.time()
        forward, backward = self._flow.between(reference, frame)
        self.flow_seconds += time.time() - began
        return forward.to(self._device), backward.to(self._device)

    def _depths(self, addresses: Sequence[FrameAddress]) -> torch.Tensor:
        rows = [torch.from_numpy(self._reader.row(address).copy()) for address in addresses]
        return torch.stack(rows).to(self._device)
