"""An editor with the exact shapes of timbrooks/instruct-pix2pix (random weights), through the ordinary path,
on a GPU.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.schedules.windows import sources_along
from i4d.services.editor import EditorService
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import EditSettings, FrameAddress, Strength, WindowTask

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import make_random_editor  # noqa: E402

FRAMES = 6
PARAMETERS = {"unet": 859_532_484, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_the_parts_have_the_public_models_sizes():
    with torch.device("meta"):
        parts = make_random_editor.full_size_parts()
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == PARAMETERS


@pytest.fixture(scope="module")
def full_size_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full-size-editor")
    make_random_editor.write(folder)
    torch.cuda.empty_cache()
    return folder


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("width", "height", "card_gb"), [(1352, 1014, 24), (676, 507, 12)])
def test_a_window_fits_the_card(full_size_folder, tmp_path, capsys, width, height, card_gb):
    store = open_store(tmp_path / "store")
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, height, width, 3), dtype=np.uint8)
    block = write_block(store, frames)
    at = [FrameAddress(block.digest, i) for i in range(FRAMES)]
    service = EditorService(
        store.uri,
        editor=InstructPix2PixConfig(weights=str(full_size_folder)),
        memory_cap_gb=card_gb,
        warm_up_size=(height, width),
        warm_up_batch=FRAMES,
    )
    info = service.warm_up()

    def task(window):
        return WindowTask(
            0,
            1,
            0,
            window,
            (1, 2, 3, 4, 5),
            tuple(at[1:]),
            tuple(at[1:]),
            0,
            at[0],
            at[0],
            0,
            at[0],
            at[0],
            FRAMES,
            Strength(600, 4),
            EditSettings("make it night", 9.5, 1.5),
            sources_along(0, (1, 2, 3, 4, 5), 0, 0, "last", 0),
        )

    first, second = service.edit_window(task(0)), service.edit_window(task(1))
    with capsys.disabled():
        print()
        for receipt in (first, second):
            shown = {
                k: getattr(receipt, k)
                for k in ("seconds", "flow_seconds", "unet_forwards", "peak_bytes", "notes")
            }
            about = {
                "device": info.device_name,
                "cap_gb": card_gb,
                "size": f"{width}x{height}",
                "warm_up_s": info.warm_up_s,
            }
            print(json.dumps(about | shown))
    assert BlockReader(store).rows(first.block.digest).shape == (5, height, width, 3)
    assert first.unet_forwards == 6 * 3 * 4 and second.unet_forwards == 5 * 3 * 4
    assert max(first.peak_bytes, second.peak_bytes) <= card_gb << 30
    assert first.block == second.block
    service.set_active(False)
    assert torch.cuda.memory_allocated() < 1 << 30
