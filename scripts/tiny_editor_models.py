"""The demonstration editor's architecture: the components of InstructPix2Pix at toy size, under 16 MiB in
fp16.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_TOKENS = 24
TEXT_WIDTH = 96
UNET_WIDTHS = (32, 64, 112, 144)


def build_vae() -> AutoencoderKL:
    """Return the autoencoder: factor 2, 4 latent channels (a factor of 2 keeps pencil lines sharp at
    160x120).
    """
    return AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=96,
        # its cost grows with the square of the pixels, and it adds nothing at this factor
        mid_block_add_attention=False,
    )


def build_unet() -> UNet2DConditionModel:
    """Return the UNet: 4 noisy + 4 condition channels; attention on the two lower of four levels."""
    return UNet2DConditionModel(
        sample_size=48,
        in_channels=8,
        out_channels=4,
        block_out_channels=UNET_WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def build_scheduler() -> DDIMScheduler:
    """Return the schedule: v-prediction and zero terminal SNR (Lin et al. 2024), so that brightness can move
    freely.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def build_tokenizer(sentences: list[str], folder: Path) -> CLIPTokenizer:
    """Return a CLIP tokenizer whose byte-pair merges are learnt from `sentences`; its files are written to
    `folder`.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789'?!.,-")
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
    )
    tokenizer.train_from_iterator([s.lower() for s in sentences] + [" ".join(letters)], trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    vocabulary = dict(learnt["vocab"])
    for letter in letters:  # every letter must exist inside a word and at its end
        for token in (letter, f"{letter}</w>"):
            vocabulary.setdefault(token, len(vocabulary))
    merges = [" ".join(m) if isinstance(m, list) else m for m in learnt["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=MAX_TOKENS,
        unk_token="<|endoftext|>",
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a two-layer CLIP text encoder for this tokenizer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=TEXT_WIDTH,
        )
    )


def count(*modules: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for m in modules for p in m.parameters())
