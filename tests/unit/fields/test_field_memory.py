"""Host memory of the frames to fit does not grow with the video: blocks are mapped, nothing of them is
kept.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from i4d.fields.frames import FrameBank
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import FolderStore
from i4d.types import Camera

WIDTH, HEIGHT = 160, 120


def own_bytes():
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    pytest.skip("this system does not say how much memory is the process's own")


def growth(folder, frames, views=2):
    """Bytes that a bank of so many frames takes up once every frame has been drawn from."""
    store = FolderStore(folder)
    camera = Camera("c", WIDTH, HEIGHT, np.array([[100.0, 0, 80], [0, 100.0, 60], [0, 0, 1]]), np.eye(4))
    rng = np.random.default_rng(0)
    blocks = {}
    for view in range(views):
        for start in range(0, frames, 25):
            rows = rng.integers(0, 255, (25, HEIGHT, WIDTH, 3), dtype=np.uint8)
            blocks[view, start] = write_block(store, rows).digest
    del rows
    before = own_bytes()
    reader, bank = BlockReader(store), FrameBank((camera,) * views, tuple(range(views)), frames)
    for (view, start), digest in blocks.items():
        bank.put(view, start, reader.rows(digest))
    generator = torch.Generator().manual_seed(0)
    for frame in range(frames):
        bank.draw(frame, 256, generator, 0.5)
    assert not bank.missing()
    return own_bytes() - before


def test_memory_is_flat_from_50_to_300_frames(tmp_path):
    growth(tmp_path / "warm", 25)  # libraries and pools come first
    short, long = growth(tmp_path / "short", 50), growth(tmp_path / "long", 300)
    pixels = 2 * 250 * WIDTH * HEIGHT * 3
    assert long - short < 0.2 * pixels, (short, long, pixels)
