"""Finding and loading an InstructPix2Pix in diffusers' format: a folder, the bundled editor, or a hub id.

Only safetensors and JSON are read. Only the parts that editing needs are loaded (no safety checker, no
pipeline class).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from i4d.editors.card import EditorCard, read_card
from i4d.editors.instruct_pix2pix.attention import install
from i4d.editors.instruct_pix2pix.fast import speed_up
from i4d.editors.instruct_pix2pix.model import EditorModel
from i4d.editors.instruct_pix2pix.schedule import Schedule, stable_diffusion_schedule
from i4d.editors.instruct_pix2pix.weights import WAYS_OUT, choose_dtype, resolve_weights
from i4d.editors.noise import PREDICTIONS
from i4d.errors import WeightsError

_LOADING = (
    threading.Lock()
)  # diffusers' lazy imports and its meta device are process-wide: two loads at once break each other


def load_editor(
    weights: str = "auto",
    device: torch.device | str = "cpu",
    dtype: str | torch.dtype = "auto",
    *,
    fast: bool = False,
) -> EditorModel:
    """Return an editor ready to edit, its self-attention and normalisation made steerable.

    Raises WeightsError, naming what was looked for and where, when the weights cannot be had or are not those
    of an InstructPix2Pix (a UNet with 8 input channels). `fast` lays the networks out for speed
    (`i4d.editors.instruct_pix2pix.fast`). Editors that are threads of one process load one after the other.
    """
    with _LOADING:
        return _load(weights, device, dtype, fast)


def _load(weights: str, device: torch.device | str, dtype: str | torch.dtype, fast: bool) -> EditorModel:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # the console belongs to the run's own progress
    place = resolve_weights(weights, device)
    at = _source(place)
    dtype = choose_dtype(dtype, device) if isinstance(dtype, str) else dtype
    config = _attempt(place, "unet", lambda: UNet2DConditionModel.load_config(subfolder="unet", **at))
    if config.get("in_channels") != 8:
        raise WeightsError(
            f"{place}: its UNet takes {config.get('in_channels')} channels, an InstructPix2Pix takes 8",
            WAYS_OUT,
        )
    common = {"use_safetensors": True, "output_loading_info": True}
    parts: dict[str, Any] = {}
    for name, build in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        parts[name] = _part(place, name, build, torch_dtype=dtype, low_cpu_mem_usage=True, **common)
    parts["text_encoder"] = _part(place, "text_encoder", CLIPTextModel, dtype=dtype, **common)
    tokenizer = _attempt(
        place, "tokenizer", lambda: CLIPTokenizer.from_pretrained(subfolder="tokenizer", **at)
    )
    if (
        not 2 < len(tokenizer) <= parts["text_encoder"].config.vocab_size
    ):  # transformers makes up an empty one
        raise WeightsError(f"{place}/tokenizer: no vocabulary that fits the text encoder", WAYS_OUT)
    for part in parts.values():
        part.to(device).eval().requires_grad_(False)
    context = install(parts["unet"], fast)
    if fast:
        speed_up(parts["unet"])
        speed_up(parts["vae"])
    card = read_card(place) if Path(place).is_dir() else EditorCard()
    model = EditorModel(
        **parts, tokenizer=tokenizer, schedule=_schedule(place), context=context, card=card, source=place
    )
    model.notes = _notes(model)
    return model


def _source(place: str) -> dict[str, Any]:
    """Return what `from_pretrained` needs to find an editor: a folder, or a hub id and its revision."""
    if Path(place).is_dir():
        return {"pretrained_model_name_or_path": place}
    name, _, revision = place.partition("@")
    return {"pretrained_model_name_or_path": name, **({"revision": revision} if revision else {})}


def _part(place: str, name: str, build: Any, **options: Any) -> Any:
    part, info = _attempt(
        place, name, lambda: build.from_pretrained(subfolder=name, **_source(place), **options)
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise WeightsError(f"{place}/{name}: lacks {len(missing)} weights, such as {missing[0]}", WAYS_OUT)
    return part


def _attempt(place: str, name: str, action: Callable[[], Any]) -> Any:
    """Run one loading step; whatever the libraries raise about files, network or shapes becomes one
    WeightsError.
    """
    from safetensors import SafetensorError

    try:
        return action()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as err:
        where = (
            f"{place}/{name}"
            if Path(place).is_dir()
            else f"hub id {place} ({name}), in the local cache and online"
        )
        lines = str(err).strip().splitlines() or [type(err).__name__]
        raise WeightsError(
            f"cannot load the editor's {name} from {where}: {lines[0][:200]}", WAYS_OUT
        ) from err


def _schedule(place: str) -> Schedule:
    """Return the folder's own schedule where it is a DDIM, otherwise that of SD 1.4."""
    from diffusers import DDIMScheduler

    def read() -> dict:
        return DDIMScheduler.load_config(subfolder="scheduler", **_source(place))

    config = _attempt(place, "scheduler", read)
    if config.get("_class_name") != "DDIMScheduler":
        return stable_diffusion_schedule()
    scheduler = _attempt(place, "scheduler", lambda: DDIMScheduler.from_config(config))
    prediction, spacing = scheduler.config.prediction_type, scheduler.config.timestep_spacing
    alphas = scheduler.alphas_cumprod.double()
    if prediction not in PREDICTIONS or spacing not in ("leading", "trailing"):
        raise WeightsError(
            f"{place}/scheduler: {prediction} prediction with {spacing} spacing is not supported"
        )
    if prediction == "epsilon" and float(alphas.min()) <= 0.0:
        raise WeightsError(f"{place}/scheduler: epsilon prediction cannot start from zero terminal SNR")
    return Schedule(alphas, prediction, spacing, float(scheduler.final_alpha_cumprod))


def _notes(model: EditorModel) -> tuple[str, ...]:
    millions = model.traits.num_parameters / 1e6
    schedule = model.schedule
    notes = [
        f"editor: {model.source} ({millions:.1f} M parameters, {str(model.dtype).removeprefix('torch.')}, "
        f"{schedule.prediction}, {schedule.spacing} timesteps)"
    ]
    if model.card.demonstration:
        notes.append(f"{model.card.name or 'this editor'} is a demonstration editor with a small repertoire")
    return tuple(notes)
