"""Flow of the originals: computed once per pair of frames and method, then read from the store."""

from __future__ import annotations

import numpy as np
import torch

from i4d.flow.find import FlowEstimator
from i4d.store.blocks import BlockReader, write_block
from i4d.store.named import get_named, put_named
from i4d.store.objects import ObjectStore
from i4d.types import FrameAddress


class FlowStore:
    """Flow between stored frames by one estimator; what is computed goes into the store as float16."""

    def __init__(
        self,
        store: ObjectStore,
        reader: BlockReader,
        estimator: FlowEstimator,
        sentence: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self._store, self._reader = store, reader
        self.estimator, self.sentence = estimator, sentence
        self._device = device
        self.passes = 0  # flows computed so far, both directions counted

    def between(self, reference: FrameAddress, frame: FrameAddress) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (forward, backward): flow reference -> frame and frame -> reference, (2, h, w) pixels,
        float32 on the device.

        Always rounded to float16 (1/32 px at 64 px), computed just now or not, and always one pair at a time:
        the answer does not depend on what the store happens to hold. A frame flows into itself by zero.
        """
        if reference == frame:
            height, width = self._reader.row(frame).shape[:2]
            return tuple(torch.zeros(2, 2, height, width, device=self._device))
        name = self._key(reference, frame)
        ref = get_named(self._store, name)
        rows = self._reader.rows(ref.digest) if ref is not None else self._computed(name, reference, frame)
        forward, backward = torch.from_numpy(np.array(rows)).to(self._device).float()
        return forward, backward

    def holds(self, reference: FrameAddress, frame: FrameAddress) -> bool:
        """Return whether the flow of a pair is stored already."""
        return get_named(self._store, self._key(reference, frame)) is not None

    def _key(self, reference: FrameAddress, frame: FrameAddress) -> str:
        return f"flow/{self.estimator.identity}/{_name(reference)}_{_name(frame)}"

    def _computed(self, name: str, reference: FrameAddress, frame: FrameAddress) -> np.ndarray:
        pair = torch.from_numpy(self._reader.images([reference, frame])).permute(0, 3, 1, 2)
        pair = pair if self.estimator.on_host else pair.to(self._device)
        flow = self.estimator.estimate(pair, pair.flip(0))
        self.passes += 2
        rows = flow.cpu().numpy().astype(np.float16)
        put_named(self._store, name, write_block(self._store, rows))
        return rows


def _name(at: FrameAddress) -> str:
    return f"{at.digest}-{at.row}"
