"""Loading: what is accepted, what is refused and in which words. Offline."""

import json
import shutil

import pytest
import torch

from i4d.editors.card import CARD
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.weights import HUB_DEFAULT, choose_dtype, resolve_weights
from i4d.errors import WeightsError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def copied(tiny_editor_folder, tmp_path):
    return shutil.copytree(tiny_editor_folder, tmp_path / "editor")


def test_a_folder_loads_with_its_own_schedule(tiny_editor_folder, tiny_v_editor_folder):
    model = load_editor(str(tiny_editor_folder))
    assert model.schedule.prediction == "epsilon" and model.schedule.spacing == "leading"
    assert model.factor == 4 and model.dtype == torch.float32 and str(tiny_editor_folder) in model.notes[0]
    model = load_editor(str(tiny_v_editor_folder), dtype="bfloat16")
    assert model.schedule.prediction == "v_prediction" and model.schedule.level(999).signal == 0.0
    assert model.dtype == torch.bfloat16 and model.vae.dtype == torch.bfloat16
    assert model.text("night").dtype == torch.bfloat16


def test_a_scheduler_of_another_kind_gives_the_sd_schedule(copied):
    path = copied / "scheduler" / "scheduler_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"_class_name": "EulerAncestralDiscreteScheduler"})
    )
    schedule = load_editor(str(copied)).schedule
    assert abs(schedule.level(451).signal ** 2 - 0.346) < 5e-4 and schedule.prediction == "epsilon"


def test_the_text_changes_with_the_words_and_is_kept(tiny_editor_folder):
    model = load_editor(str(tiny_editor_folder))
    assert model.text("night") is model.text("night")
    assert (model.text("night") - model.text("")).abs().max() > 1e-3


def test_a_demonstration_editor_says_so(copied):
    (copied / CARD).write_text(json.dumps({"name": "toy", "demonstration": True}))
    assert any("demonstration editor" in note for note in load_editor(str(copied)).notes)


def break_nothing(folder):
    shutil.rmtree(folder / "unet")


def break_channels(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 4}))


def break_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_config(folder):
    (folder / "vae" / "config.json").write_text("{")


def drop_text_weights(folder):
    (folder / "text_encoder" / "model.safetensors").unlink()


def pickle_instead(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    path.unlink()


def drop_one_tensor(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state.pop("decoder.conv_out.bias")
    save_file(state, path, {"format": "pt"})


def drop_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


def drop_scheduler(folder):
    shutil.rmtree(folder / "scheduler")


@pytest.mark.parametrize(
    "damage,word",
    [
        (break_nothing, "no unet/"),
        (break_channels, "takes 4 channels"),
        (break_weights, "unet"),
        (break_config, "vae"),
        (drop_text_weights, "text_encoder"),
        (pickle_instead, "unet"),
        (drop_one_tensor, "decoder.conv_out.bias|vae"),
        (drop_tokenizer, "tokenizer"),
        (drop_scheduler, "scheduler"),
    ],
)
def test_a_damaged_folder_is_a_weights_error_that_names_it(copied, damage, word):
    damage(copied)
    with pytest.raises(WeightsError, match=word) as caught:
        load_editor(str(copied))
    assert str(copied) in str(caught.value) and caught.value.exit_code == 4


def test_a_hub_id_that_cannot_be_had_names_both_ways_out(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_editor("nobody/no-such-editor")
    text = str(caught.value)
    assert (
        "nobody/no-such-editor" in text
        and "download" in text
        and "tiny-ip2p" in text
        and "editor.weights" in text
    )


@pytest.mark.parametrize("weights", ["./nowhere", "/nowhere/at/all", "nowhere", "a/b/c"])
def test_a_path_that_is_none_is_refused(weights):
    with pytest.raises(WeightsError, match="no such folder"):
        resolve_weights(weights, "cpu")


def test_auto_follows_the_device():
    assert resolve_weights("auto", "cuda") == HUB_DEFAULT == resolve_weights(HUB_DEFAULT, "cpu")
    assert choose_dtype("auto", "cuda") == torch.float16 and choose_dtype("auto", "cpu") == torch.float32
