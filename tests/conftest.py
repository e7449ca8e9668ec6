"""Fixtures that several packages' tests share."""

import os
from pathlib import Path

import pytest
from shared_data import shared_folder


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Caches and what the user has said lie in a folder of this session, never in the tester's home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        yield home


@pytest.fixture
def shared():
    """Give tests `shared(path)`: a path inside the shared data, or a skip."""
    return shared_folder


@pytest.fixture
def one_thread():
    """Compute with one thread: toy models lose more to waking threads than they gain, all the more when
    busy.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build_tiny_editor(folder: Path, prediction: str = "epsilon", trailing: bool = False) -> Path:
    """Write an InstructPix2Pix in diffusers' format with random weights and toy sizes (VAE factor 4) into
    `folder`.
    """
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    state = torch.get_rng_state()
    torch.manual_seed(5)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    blocks = (8, 8, 16)
    vae = AutoencoderKL(
        block_out_channels=blocks,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    torch.set_rng_state(state)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=0 if trailing else 1,
        prediction_type=prediction,
        rescale_betas_zero_snr=trailing,
        timestep_spacing="trailing" if trailing else "leading",
    )
    for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text), ("scheduler", scheduler)):
        part.save_pretrained(folder / name)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16
    ).save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def tiny_editor_folder(tmp_path_factory):
    """A random toy InstructPix2Pix: epsilon prediction, SD 1.4 schedule."""
    return build_tiny_editor(tmp_path_factory.mktemp("tiny-editor"))


@pytest.fixture(scope="session")
def tiny_v_editor_folder(tmp_path_factory):
    """The same with v-prediction, zero terminal SNR and trailing timesteps."""
    return build_tiny_editor(tmp_path_factory.mktemp("tiny-v-editor"), "v_prediction", trailing=True)


@pytest.fixture
def installed(monkeypatch):
    """Have tests/plugins on the path of this process and of those that it starts, as an installed package."""
    plugins = str(Path(__file__).parent / "plugins")
    monkeypatch.syspath_prepend(plugins)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([plugins, os.environ.get("PYTHONPATH", "")]))
