"""Picking an object by its name: a model that sees red finds red; a real, tiny, random CLIPSeg loads and
answers.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from i4d.config import LocalConfig, SceneConfig
from i4d.errors import ConfigError, WeightsError
from i4d.scenes import where
from i4d.scenes.segmenter import ObjectPicker, load_picker
from i4d.scenes.where import read_region
from i4d.store.blocks import BlockReader
from i4d.store.objects import open_store
from i4d.types import Bounds, Camera, Scene

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = Path(__file__).parents[3] / "i4d" / "assets" / "tiny-ip2p" / "tokenizer"
W, H = 40, 24


class SeesRed(torch.nn.Module):
    """Answers with how red a pixel is, whatever it is asked for except the word nothing."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=32))

    def forward(self, input_ids, attention_mask, pixel_values):
        red = pixel_values[:, 0] - pixel_values[:, 1]
        return SimpleNamespace(logits=(10 * red if input_ids.shape[1] < 5 else -10 + 0 * red))


def picker():
    from transformers import AutoTokenizer

    return ObjectPicker(SeesRed(), AutoTokenizer.from_pretrained(TOKENIZER))


def red_square(x):
    image = np.full((H, W, 3), 128, np.uint8)
    image[6:18, x : x + 12] = (255, 0, 0)
    return image


def test_the_object_is_found_where_it_is():
    mask = picker().mask(red_square(10), "ball", 0.9)
    assert (mask.shape, mask.dtype) == ((H, W), np.uint8)
    assert (
        mask[8:16, 12:20].min() == 255
        and not mask[:, :7].any()
        and not mask[:, 25:].any()
        and not mask[:3].any()
    )


def test_every_edited_camera_is_looked_at(tmp_path, monkeypatch):
    cameras = tuple(
        Camera(f"cam{i:02d}", W, H, np.array([[40.0, 0, W / 2], [0, 40, H / 2], [0, 0, 1]]), np.eye(4))
        for i in range(3)
    )
    source = SimpleNamespace(
        read=lambda camera, start, stop, stride: (red_square(4 + 6 * f) for f in range(start, stop, stride))
    )
    bounds = Bounds("box", ((-1.0, -1.0, 1.0), (1.0, 1.0, 3.0)), 0.1, 10.0)
    scene = Scene("t", cameras, 2, 12.0, bounds, ("cam00",), source, cameras)
    monkeypatch.setattr(where, "load_picker", lambda source, device: picker())
    store = open_store(tmp_path)
    region = read_region(
        LocalConfig(where="the ball", segmenter="any", segment_threshold=0.9), SceneConfig(), scene, store
    )
    assert [run.view for run in region.masks] == [1, 2]
    masks = BlockReader(store).rows(region.masks[0].digest)
    assert masks[0][12, 8] == 255 and masks[1][12, 14] == 255 and not masks[0][12, 22:].any()
    with pytest.raises(ConfigError, match="sees nothing like it"):
        long = "a very long description of nothing at all"
        read_region(LocalConfig(where=long, segmenter="any"), SceneConfig(), scene, store)


def test_a_real_model_loads_from_its_folder(tmp_path):
    from transformers import AutoTokenizer, CLIPSegConfig, CLIPSegForImageSegmentation

    words = len(AutoTokenizer.from_pretrained(TOKENIZER))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config={**small, "vocab_size": words, "max_position_embeddings": 77, "projection_dim": 8},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(tmp_path / "model")
    for file in TOKENIZER.iterdir():
        shutil.copy(file, tmp_path / "model")
    mask = load_picker(str(tmp_path / "model")).mask(red_square(10), "the ball", 0.0)
    assert mask.shape == (H, W) and (mask == 255).all(), "every probability is at least 0"
    with pytest.raises(WeightsError, match="local.segmenter"):
        load_picker(str(tmp_path / "nothing"))
