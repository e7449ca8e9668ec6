"""Repainting a batch of images towards an instruction: noise, denoise with guidance, decode. And the anchor,
done once.

With per-image normalisation an anchor depends on nothing but itself, so its keys and values at every layer
and step can be recorded in a run of its own and handed to every window of the same view and round
(`AnchorTrace`). The recorded run is always a batch of one, whether or not its result is kept: what a window
gets does not depend on a cache.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from i4d.edit.attention import Recording
from i4d.edit.forward import Reuse
from i4d.edit.inside import Surroundings, on_latents
from i4d.edit.model import EditCost, EditorModel, Guidance
from i4d.edit.unchanged import with_unchanged_given_back
from i4d.errors import EditError
from i4d.types import EditSettings, Strength, Turbo

Key = TypeVar("Key", bound=Hashable)
VAE_PIXELS = (
    2 << 20
)  # images are taken through the VAE in groups of at most so many pixels: bounds its memory


@dataclass(frozen=True)
class AnchorTrace:
    """An anchor's keys and values, one Recording a step."""

    steps: tuple[Recording, ...]

    @property
    def size_bytes(self) -> int:
        return sum(step.size_bytes for step in self.steps)


class ConditionCache:
    """Keeps the latents of the most recently used originals on the device; losing one costs time, never a
    different result.

    An original is encoded by itself, whatever it is encoded with, so that its latents do not depend on what
    was cached.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.encoded = 0
        self._latents: OrderedDict[Hashable, torch.Tensor] = OrderedDict()

    def get(self, keys: Sequence[Key], encode: Callable[[Key], torch.Tensor]) -> torch.Tensor:
        """Return the latents (batch, channel, h, w) of originals; `encode` gives (1, channel, h, w) of one
        not held.
        """
        found = []
        for key in keys:
            if key not in self._latents:
                self._latents[key] = encode(key)
                self.encoded += 1
            self._latents.move_to_end(key)
            found.append(self._latents[key])
        while sum(t.numel() * t.element_size() for t in self._latents.values()) > self.max_bytes:
            self._latents.popitem(last=False)
        return torch.cat(found)

    def clear(self) -> None:
        """Forget all latents (weights move off the device)."""
        self._latents.clear()


class AnchorCache:
    """Keeps the most recently used traces within a number of bytes; losing one costs time, never a different
    result.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self._traces: OrderedDict[Hashable, AnchorTrace] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], AnchorTrace]) -> AnchorTrace:
        """Return the trace of a key, made if it is not held. Older ones leave before a new one is made."""
        if key in self._traces:
            self.hits += 1
            self._traces.move_to_end(key)
            return self._traces[key]
        if self._traces:
            size = next(reversed(self._traces.values())).size_bytes  # the next one will be much like the last
            self._shrink_to(self.max_bytes - size)
        trace = make()
        self._traces[key] = trace
        self._shrink_to(self.max_bytes)
        return trace

    def clear(self) -> None:
        """Forget all traces (weights move off the device)."""
        self._traces.clear()

    def _shrink_to(self, max_bytes: int) -> None:
        while self._traces and sum(t.size_bytes for t in self._traces.values()) > max_bytes:
            self._traces.popitem(last=False)


def draw_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the diffusion's noise and that of the draw from the VAE's posterior, (images, *shape) each.

    One seed per image. Images of one seed get the same noise: what then moves between them is the picture,
    not the noise. Drawn on the CPU, so that every device gets the same numbers.
    """
    drawn = {}
    for seed in seeds:
        if seed not in drawn:
            drawn[seed] = torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed))
    both = torch.stack([drawn[seed] for seed in seeds])
    return both[:, 0], both[:, 1]


@torch.inference_mode()
def repaint(
    model: EditorModel,
    originals: torch.Tensor,
    current: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seeds: Sequence[int],
    cost: EditCost,
    *,
    anchor: AnchorTrace | None = None,
    condition: torch.Tensor | None = None,
    region: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return images (batch, 3, h, w), float32 in [0, 1]: `current` repainted, conditioned on `originals`;
    `seeds` one per image.

    `condition` (batch, channel, h, w) are the originals' latents where they are known already. `region`
    (batch, 1, h, w), in [0, 1]: only there is anything denoised; the answer's pixels outside are the
    autoencoder's copies of the originals.

    Without `anchor`, slot 0 of the batch is the anchor and its own result is returned with the others.
    EditError when the model's answer is not finite.
    """
    height, width = current.shape[-2:]
    condition, latents = _start(model, originals, current, strength, seeds, condition)
    around = None if region is None else _surroundings(model, condition, region, seeds, (height, width))
    latents = _denoise_in_memory(model, latents, condition, strength, settings, cost, anchor, around)
    images = _by_group(lambda part: model.decoded(part, height, width), latents, height * width)
    if not torch.isfinite(images).all() or not torch.isfinite(latents).all():
        raise EditError(
            f'the editor answered with NaN for "{settings.instruction}"', "try editor.dtype float32"
        )
    images = images.to(current.device)
    return with_unchanged_given_back(images, originals) if settings.keep_unchanged else images


@torch.inference_mode()
def trace_anchor(
    model: EditorModel,
    original: torch.Tensor,
    edited: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seed: int,
    cost: EditCost,
    condition: torch.Tensor | None = None,
) -> AnchorTrace:
    """Return the keys and values that an anchor (1, 3, h, w) shows its window in a repaint of the same
    strength.
    """
    if len(edited) != 1 or settings.norm != "frame":
        raise EditError(f"a trace of {len(edited)} images, norm {settings.norm}", "one image, norm frame")
    condition, latents = _start(model, original, edited, strength, [seed], condition)
    steps: list[Recording] = []
    # alone in its batch, an anchor attends to itself: [anchor; anchor] and [anchor] have the same softmax
    # average
    _denoise(model, latents, condition, strength, settings, cost, attention="own", record=steps)
    return AnchorTrace(tuple(steps))


def _start(
    model: EditorModel,
    originals: torch.Tensor,
    current: torch.Tensor,
    strength: Strength,
    seeds: Sequence[int],
    condition: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the condition and the latents at the first timestep, float32, (batch, channel, h, w) each."""
    height, width = current.shape[-2:]
    condition = conditions_of(model, originals) if condition is None else condition
    if not len(condition) == len(current) == len(seeds):
        counts = f"{len(condition)} originals and {len(seeds)} seeds for {len(current)} images"
        raise EditError(counts, "one of each per image")
    shape = model.latent_shape(height, width)
    diffusion, posterior = draw_noise(seeds, shape)
    diffusion = diffusion.to(model.device)
    if model.schedule.starts_from_noise(strength):
        return condition, diffusion.clone()
    latents = _by_group(model.latents, current, height * width, posterior)
    return condition, model.schedule.noised(latents, diffusion, model.schedule.timesteps(strength)[0])


def _surroundings(
    model: EditorModel,
    condition: torch.Tensor,
    region: torch.Tensor,
    seeds: Sequence[int],
    size: tuple[int, int],
) -> Surroundings:
    """Return what stays outside a region; the condition is the mode of the originals' latents, not scaled."""
    noise, _ = draw_noise(seeds, model.latent_shape(*size))
    scaled = condition * model.vae.config.scaling_factor
    return Surroundings(scaled, noise.to(model.device), on_latents(region.to(model.device), model.factor))


def conditions_of(model: EditorModel, originals: torch.Tensor) -> torch.Tensor:
    """Return the condition latents (batch, channel, h, w), float32, of images (batch, 3, height, width)."""
    with torch.inference_mode():
        return _by_group(model.condition, originals, originals.shape[-2] * originals.shape[-1])


def _by_group(
    function: Callable[..., torch.Tensor], images: torch.Tensor, pixels: int, *others: torch.Tensor
) -> torch.Tensor:
    group = max(1, VAE_PIXELS // pixels)
    starts = range(0, len(images), group)
    return torch.cat([function(*(x[i : i + group] for x in (images, *others))) for i in starts])


def thinned_levels(model: EditorModel, turbo: Turbo, height: int, width: int) -> list[tuple[int, int, int]]:
    """Return (h, w, side) of the levels whose anchor keys `turbo` thins to one in side x side, for latents of
    a size.
    """
    if turbo.keys == turbo.second_keys == 1:
        return []
    height, width = model.attention_grid(height, width)
    levels = (height, width, turbo.keys), (-(-height // 2), -(-width // 2), turbo.second_keys)
    return [(h, w, math.isqrt(keys)) for h, w, keys in levels if keys > 1]


def _denoise(
    model: EditorModel,
    latents: torch.Tensor,
    condition: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    cost: EditCost,
    *,
    attention: str,
    record: list[Recording] | None = None,
    anchor: AnchorTrace | None = None,
    around: Surroundings | None = None,
) -> torch.Tensor:
    guidance = Guidance(settings.text_guidance, settings.image_guidance)
    timesteps = model.schedule.timesteps(strength)
    turbo = settings.turbo
    reuse = (
        Reuse(turbo.depth, turbo.guidance)
        if record is None and (turbo.depth, turbo.guidance) != (1, 1)
        else None
    )
    packed = model.fast and settings.attention == "anchor"
    thinned = thinned_levels(model, turbo, *latents.shape[-2:])
    for index, (timestep, following) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
        step_record = Recording(packed, thinned) if record is not None else None
        if reuse is not None:
            reuse.begin_step()
        output = model.predict(
            latents,
            condition,
            settings.instruction,
            guidance,
            timestep,
            cost,
            attention=attention,
            norm=settings.norm,
            record=step_record,
            anchor=anchor.steps[index] if anchor is not None else None,
            reuse=reuse,
        )
        latents = model.schedule.step(latents, output, timestep, following)
        if around is not None:
            latents = around.around(model.schedule, latents, following)
        if record is not None and step_record is not None:
            record.append(step_record)
    return latents


def _denoise_in_memory(
    model: EditorModel,
    latents: torch.Tensor,
    condition: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    cost: EditCost,
    anchor: AnchorTrace | None,
    around: Surroundings | None,
) -> torch.Tensor:
    """Denoise a window; where memory runs out and frames look at nothing but the given anchor, in halves
    (noted).
    """
    separable = settings.attention == "own" or (anchor is not None and settings.attention != "sparse_causal")
    try:
        return _denoise(
            model,
            latents,
            condition,
            strength,
            settings,
            cost,
            attention=settings.attention,
            anchor=anchor,
            around=around,
        )
    except torch.OutOfMemoryError:
        if len(latents) == 1 or settings.norm != "frame" or not separable:
            raise
    half = (len(latents) + 1) // 2
    cost.note(f"out of device memory: a batch of {len(latents)} taken in halves")
    parts: Sequence[slice] = (slice(0, half), slice(half, None))
    kept = [around and around.part(s) for s in parts]
    return torch.cat(
        [
            _denoise_in_memory(model, latents[s], condition[s], strength, settings, cost, anchor, k)
            for s, k in zip(parts, kept, strict=True)
        ]
    )
