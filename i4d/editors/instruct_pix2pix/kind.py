"""InstructPix2Pix (Brooks et al., CVPR 2023) as a kind of editor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from i4d.config import EditorConfig
from i4d.editors.bundled import BUNDLED_NAME
from i4d.editors.card import EditorCard, read_card
from i4d.editors.diffusion import DiffusionEditor
from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig, own_options
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.memory import predicted_bytes
from i4d.editors.instruct_pix2pix.model import EditorModel
from i4d.editors.instruct_pix2pix.prompt_length import notice_of
from i4d.editors.instruct_pix2pix.weights import (
    HUB_DEFAULT,
    PARTS,
    choose_dtype,
    pinned,
    resolve_weights,
)
from i4d.editors.protocol import Call, State
from i4d.store.digests import folder_digest
from i4d.types import EditSettings, Norm, Turbo

QUICK = ("exact", "turbo")  # modes in which a GPU's networks are laid out for speed


class InstructPix2PixEditor(DiffusionEditor):
    """Implements `i4d.editors.protocol.Editor`."""

    def __init__(self, model: EditorModel, mode: str = "exact", compiled: bool = False) -> None:
        super().__init__(model)
        self._network, self._mode, self._compiled = model, mode, compiled

    @property
    def identity(self) -> str:
        dtype = str(self._network.dtype).removeprefix("torch.")
        return _identity(self.source, dtype, self._mode, "on" if self._compiled else "off")

    def warm_up(self, settings: EditSettings, batch: int, height: int, width: int) -> None:
        """Edit one blank window, compiled before where that was asked for."""
        if self._compiled:
            self._network.compile(batch - 1, height, width)
        super().warm_up(settings, batch, height, width)


class InstructPix2Pix:
    """Implements `i4d.editors.protocol.EditorKind`."""

    name = "instruct_pix2pix"
    pipelines = ("StableDiffusionInstructPix2PixPipeline",)
    options = InstructPix2PixConfig

    def resolve(self, weights: str, device: str, pin: bool = False) -> str:
        """Return the folder or hub id behind a setting; "auto" is the full model on GPUs, the bundled one on
        CPUs.
        """
        place = resolve_weights(weights, device)
        return pinned(place) if pin else place

    def card(self, place: str) -> EditorCard:
        """Return the card in a folder; hub ids have none."""
        return read_card(place) if Path(place).is_dir() else EditorCard()

    def settle(self, config: EditorConfig, place: str, device: str) -> None:
        """Settle weights, compute type and compilation."""
        if config.weights == "auto":
            config.weights = BUNDLED_NAME if Path(place).is_dir() else place
        elif not Path(place).is_dir():
            config.weights = place
        if config.dtype == "auto":
            config.dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
        own = own_options(config)
        own.compile = "on" if own.mode in QUICK and own.compile == "on" else "off"

    def complete(self, settings: EditSettings, config: EditorConfig) -> EditSettings:
        """Return the settings of an edit with normalisation and what turbo approximates."""
        own = own_options(config)
        turbo = Turbo(own.turbo_keys, own.turbo_depth, own.turbo_guidance, own.turbo_second_keys)
        norm: Norm = "joint" if own.mode == "authors" else own.norm
        return replace(settings, norm=norm, turbo=turbo if own.mode == "turbo" else Turbo())

    def weights_identity(self, place: str) -> str:
        """Return the digest of a folder's files, or a hub id with its revision."""
        return _weights_identity(place)

    def identity(self, place: str, config: EditorConfig) -> str:
        """Return weights, compute type, mode, and whether networks are compiled."""
        return _identity(place, config.dtype, config.mode, own_options(config).compile)

    def notices(self, place: str, card: EditorCard, sentence: str) -> tuple[str, ...]:
        """Return that an editor is a demonstration, that a sentence is outside its repertoire, or longer than
        its text encoder reads.
        """
        out = []
        if card.demonstration:
            name = card.name or "this editor"
            out.append(
                f"{name} is a demonstration editor: small, trained for a short list of edits; for real "
                f"work use {HUB_DEFAULT} on a GPU"
            )
        return tuple(text for text in (*out, card.warning(sentence), notice_of(place, sentence)) if text)

    def availability(self, place: str) -> tuple[State, str, str]:
        """Return whether weights are here, or would be downloaded, or cannot be had."""
        if Path(place).is_dir():
            if self.card(place).demonstration:
                fix = f"for real work: --weights {HUB_DEFAULT} on a GPU"
                return "warn", f"{place}, a demonstration editor", fix
            return "ok", f"{place}, an InstructPix2Pix", ""
        from huggingface_hub import constants, try_to_load_from_cache

        name, _, revision = place.partition("@")
        if isinstance(try_to_load_from_cache(name, "unet/config.json", revision=revision or None), str):
            return "ok", f"{place}, in the local cache", ""
        fix = (
            f"fetch it once with network, or give a folder with --weights ({BUNDLED_NAME} instead of "
            f"{HUB_DEFAULT} needs none)"
        )
        missing = f"{place} is not in the local cache"
        if constants.HF_HUB_OFFLINE:
            return "fail", f"{missing}, and the hub is switched off", fix
        return "warn", f"{missing}: about 2.1 GB will be downloaded", fix

    def load(
        self, place: str, device: torch.device | str = "cpu", config: EditorConfig | None = None
    ) -> InstructPix2PixEditor:
        """Return the editor; in exact and turbo mode a GPU's networks are laid out for speed, with `compile`
        "on" a CPU's too.
        """
        config = InstructPix2PixConfig() if config is None else own_options(config)
        quick = config.mode in QUICK
        compiled = quick and config.compile == "on"
        fast = quick and (compiled or torch.device(device).type == "cuda")
        return InstructPix2PixEditor(
            load_editor(place, device, config.dtype, fast=fast), config.mode, compiled
        )

    def predicted_bytes(self, place: str, config: EditorConfig, call: Call) -> int:
        """Return the device memory of a process at its peak."""
        return predicted_bytes(place, config, call)


def _weights_identity(place: str) -> str:
    folder = Path(place)
    return folder_digest(folder, PARTS) if folder.is_dir() else place


def _identity(place: str, dtype: str, mode: str, compiled: str) -> str:
    return f"weights {_weights_identity(place)}, {dtype}, {mode}, compile {compiled}"


KIND = InstructPix2Pix()
