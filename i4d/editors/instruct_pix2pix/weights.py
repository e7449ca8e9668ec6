"""Where the weights of an InstructPix2Pix lie: a folder in diffusers' format, the bundled editor, or a hub
id.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from i4d.editors.bundled import BUNDLED, BUNDLED_NAME
from i4d.errors import WeightsError

HUB_DEFAULT = "timbrooks/instruct-pix2pix"
WAYS_OUT = f"download it with network, or set editor.weights to a folder that holds it, or to {BUNDLED_NAME}"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")  # folders that results follow from

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_COMMIT = re.compile(r"@[0-9a-f]{40}$")


def resolve_weights(weights: str, device: torch.device | str) -> str:
    """Return the folder or hub id behind a setting: "auto" follows the device, "tiny-ip2p" is the bundled
    editor.

    WeightsError when a path is named that is no folder holding an editor.
    """
    if weights == "auto":
        weights = HUB_DEFAULT if torch.device(device).type == "cuda" else BUNDLED_NAME
    if weights == BUNDLED_NAME:
        if not (BUNDLED / "unet").is_dir():
            raise WeightsError(f"{BUNDLED}: the bundled editor is missing", "reinstall the package")
        return str(BUNDLED)
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / "unet").is_dir():
            raise WeightsError(
                f"{path}: holds no unet/ folder, so it is no diffusers InstructPix2Pix", WAYS_OUT
            )
        return str(path)
    if path.exists() or not _HUB_ID.fullmatch(weights):
        raise WeightsError(
            f"editor.weights = {weights}: no such folder, and not a hub id (owner/name)", WAYS_OUT
        )
    return weights


def pinned(place: str) -> str:
    """Return a hub id with the revision that is meant by it now, owner/name@commit; a folder and what is
    pinned already as they are.

    The local cache is asked first, then the hub; WeightsError where neither knows.
    """
    if Path(place).is_dir() or _COMMIT.search(place):
        return place
    from huggingface_hub import HfApi, try_to_load_from_cache

    name, _, revision = place.partition("@")
    here = try_to_load_from_cache(name, "unet/config.json", revision=revision or None)
    if isinstance(here, str):
        return f"{name}@{Path(here).parents[1].name}"
    try:
        return f"{name}@{HfApi().model_info(name, revision=revision or None, timeout=10).sha}"
    except Exception as err:  # of whatever HTTP library this version of the hub's client uses
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
        told = f"hub id {place}: not in the local cache, and the hub does not tell its revision: {reason}"
        raise WeightsError(told, WAYS_OUT) from err


def choose_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """Return the compute type; "auto" is float16 on GPUs and float32 on CPUs."""
    if name == "auto":
        return torch.float16 if torch.device(device).type == "cuda" else torch.float32
    return DTYPES[name]
