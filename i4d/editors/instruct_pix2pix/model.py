"""The loaded InstructPix2Pix: text, latents and one guided prediction; a `Denoiser` of i4d.editors.protocol.
Knows nothing of files or of windows in time.

Images are float [0, 1] (batch, 3, height, width) of any size from one VAE cell up; latents (batch, channel,
h, w).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from i4d.editors.card import EditorCard
from i4d.editors.instruct_pix2pix.attention import Recording, WindowContext
from i4d.editors.instruct_pix2pix.compiled import Compiled, compile_networks
from i4d.editors.instruct_pix2pix.forward import Reuse, unet_forward
from i4d.editors.instruct_pix2pix.guidance import Guidance
from i4d.editors.instruct_pix2pix.predictor import AnchorTrace, WindowPredictor
from i4d.editors.instruct_pix2pix.prompt_length import warn
from i4d.editors.instruct_pix2pix.schedule import Schedule
from i4d.editors.noise import NoisePlan
from i4d.editors.protocol import Conditions, EditCost, Memory, Traits
from i4d.types import EditSettings, Strength

LATENTS = "latents"  # the one part of this editor's conditions


@dataclass(eq=False)
class EditorModel:
    """Components of an InstructPix2Pix in diffusers' classes, ready on one device. Build it with
    `load_editor`.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: Schedule
    context: WindowContext
    card: EditorCard
    source: str  # where the weights came from
    notes: tuple[str, ...] = ()
    compiled: Compiled | None = None  # the pass for windows of the plan's shape
    _texts: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @cached_property
    def traits(self) -> Traits:
        parts = self.unet, self.vae, self.text_encoder
        weights = sum(p.numel() for part in parts for p in part.parameters())
        return Traits(self.factor, self.schedule.least_steps, weights)

    @property
    def factor(self) -> int:
        """Return how many pixels one latent cell spans."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def to(self, device: torch.device | str) -> None:
        """Move all weights; cached text goes with them."""
        for part in (self.unet, self.vae, self.text_encoder):
            part.to(device)
        self._texts.clear()

    @property
    def fast(self) -> bool:
        """Return whether the networks are laid out for speed (`i4d.editors.instruct_pix2pix.fast`)."""
        return self.context.kernels

    def attention_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (h, w) of the finest level with attention, for latents of a size."""
        for block in self.unet.down_blocks:
            if getattr(block, "has_cross_attention", False):
                break
            height, width = -(-height // 2), -(-width // 2)
        return height, width

    def compile(self, frames: int, height: int, width: int) -> None:
        """Have windows of so many frames of an image size run through compiled networks from now on."""
        assert self.fast, "only networks laid out for speed are compiled"
        self.compiled = compile_networks(self.unet, self.vae, frames, self.latent_shape(height, width)[1:])

    def text(self, prompt: str) -> torch.Tensor:
        """Return the text encoder's states (1, tokens, channels) of a prompt; the tokenizer cuts what is too
        long.
        """
        if prompt not in self._texts:
            if not Path(self.source).is_dir():  # else it was told when the run began
                warn(self.tokenizer, prompt)
            ids = self.tokenizer(
                prompt,
                padding="max_length",
                max_length=self.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            with torch.inference_mode():
                self._texts[prompt] = self.text_encoder(ids.to(self.device))[0].to(self.dtype)
        return self._texts[prompt]

    def padded(self, images: torch.Tensor) -> torch.Tensor:
        """Return images grown at the right and bottom, by reflection, to whole latent cells."""
        height, width = images.shape[-2:]
        return F.pad(images, (0, -width % self.factor, 0, -height % self.factor), mode="reflect")

    def posterior(self, images: torch.Tensor) -> Any:
        """Return the VAE's distribution over latents of images, padded to whole cells."""
        pixels = (2 * self.padded(images.to(self.device)) - 1).to(self.vae.dtype)
        if not self.fast:
            return self.vae.encode(pixels).latent_dist
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

        pixels = pixels.contiguous(memory_format=torch.channels_last)
        height, width = (length // self.factor for length in pixels.shape[-2:])
        encoder = self.vae.encoder
        if self.compiled is not None and len(pixels) == 1 and (height, width) == self.compiled.size:
            encoder = self.compiled.encoder
        moments = encoder(pixels)
        if self.vae.quant_conv is not None:
            moments = self.vae.quant_conv(moments)
        return DiagonalGaussianDistribution(moments)

    def condition(self, images: torch.Tensor) -> Conditions:
        """Return the image condition: the posterior's mode, not scaled (InstructPix2Pix, sec. 3.2)."""
        return Conditions({LATENTS: self.posterior(images).mode().float()})

    def clean(self, conditions: Conditions) -> torch.Tensor:
        """Return the originals' scaled latents."""
        return conditions.parts[LATENTS] * self.vae.config.scaling_factor

    def plan(self, strength: Strength) -> NoisePlan:
        """Return the noise levels of a strength."""
        return self.schedule.plan(strength)

    def predictor(
        self,
        conditions: Conditions,
        strength: Strength,
        settings: EditSettings,
        cost: EditCost,
        size: tuple[int, int],
        *,
        memory: Memory | None = None,
        record: bool = False,
    ) -> WindowPredictor:
        """Return the network for one repaint of latents of `size` (h, w)."""
        assert memory is None or isinstance(memory, AnchorTrace), "made by this kind"
        given = self, conditions.parts[LATENTS], strength, settings, cost, size
        return WindowPredictor(*given, memory=memory, record=record)

    def encode(self, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return latents of images to be edited: drawn from the posterior with the given normal noise, and
        scaled.
        """
        posterior = self.posterior(images)
        drawn = posterior.mean.float() + posterior.std.float() * noise.to(self.device)
        return drawn * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Return the images of latents, float32 in [0, 1], cropped to (batch, 3, height, width)."""
        inputs = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        if self.fast:
            if self.vae.post_quant_conv is not None:
                inputs = self.vae.post_quant_conv(inputs.contiguous(memory_format=torch.channels_last))
            decoder = self.vae.decoder
            if self.compiled is not None and self.compiled.fits(inputs, 1):
                decoder = self.compiled.decoder
            images = decoder(inputs)
        else:
            images = self.vae.decode(inputs).sample
        return (images[..., :height, :width].float() / 2 + 0.5).clamp(0, 1)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (channel, h, w) of the latents of an image size."""
        return self.vae.config.latent_channels, -(-height // self.factor), -(-width // self.factor)

    def predict(
        self,
        latents: torch.Tensor,
        condition: torch.Tensor,
        prompt: str,
        guidance: Guidance,
        timestep: int,
        cost: EditCost,
        *,
        attention: str,
        norm: str,
        record: Recording | None = None,
        anchor: Recording | None = None,
        reuse: Reuse | None = None,
    ) -> torch.Tensor:
        """Return the guided prediction (batch, channel, h, w), float32, for a window of latents at one
        timestep.

        With `reuse`, some steps take over what an earlier one has computed (`Reuse`).

        Branches form one batch; when the device runs out of memory they are taken in smaller groups, which is
        noted in `cost`: a branch never looks at another one, so the answer is the same up to rounding.
        """
        weights = guidance.weights
        if reuse is not None and not reuse.branches_now:
            weights = {"text_image": 1.0}
        names = list(weights)
        group = len(names)
        while True:
            try:
                parts = []
                for start in range(0, len(names), group):
                    rows = slice(start, start + group)
                    inputs, states = self._branches(names[rows], latents, condition, prompt)
                    with self.context.call(
                        attention, norm, len(names[rows]), record=record, anchor=anchor, rows=rows
                    ):
                        parts.append(
                            self._forward(
                                inputs, states, timestep, anchor is not None, reuse, start * len(latents)
                            )
                        )
                break
            except torch.OutOfMemoryError:
                if group == 1 or record is not None or reuse is not None:
                    raise
                group = (group + 1) // 2
                cost.note(f"out of device memory: guidance branches taken {group} at a time")
                torch.cuda.empty_cache()
        cost.unet_forwards += len(latents) * len(names)
        outputs = torch.cat(parts).unflatten(0, (len(names), len(latents)))
        scale = torch.tensor([weights[n] for n in names], device=outputs.device).view(-1, 1, 1, 1, 1)
        guided = (scale * outputs).sum(0)
        if reuse is None or "text_image" not in guidance.weights:
            return guided
        if not reuse.branches_now:
            return guided + reuse.added
        reuse.added = guided - outputs[0]
        return guided

    def _forward(
        self,
        inputs: torch.Tensor,
        states: torch.Tensor,
        timestep: int,
        window: bool,
        reuse: Reuse | None,
        first: int,
    ) -> torch.Tensor:
        """Return the UNet's answer for one group of branches, float32; `window`: the anchor's keys are
        given.
        """
        if reuse is None and not self.fast:
            return self.unet(inputs, timestep, encoder_hidden_states=states).sample.float()
        time = torch.full((1,), timestep, device=inputs.device)
        forward = unet_forward
        if self.fast:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            if (
                window
                and self.compiled
                and self.compiled.fits(inputs, self.compiled.frames * self.context.branches)
            ):
                forward = self.compiled.unet_forward
        kept = None
        if reuse is not None and reuse.deep is not None and not reuse.deep_now:
            kept = reuse.deep[first : first + len(inputs)]
        output, deep = forward(self.unet, inputs, time, states, kept)
        if reuse is not None and kept is None:
            reuse.deep = deep
        return output.float()

    def _branches(
        self, names: list[str], latents: torch.Tensor, condition: torch.Tensor, prompt: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the UNet's input (branches * batch, 2 * channel, h, w) and text states for some guidance
        branches.
        """
        inputs, states = [], []
        for name in names:
            seen = torch.zeros_like(condition) if name == "none" else condition
            inputs.append(torch.cat([latents, seen], 1))
            text = self.text(prompt if name == "text_image" else "")
            states.append(text.expand(len(latents), -1, -1))
        return torch.cat(inputs).to(self.dtype), torch.cat(states)
