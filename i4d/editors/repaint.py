"""The one loop of all diffusion editors: noise, denoise with guidance, decode. And the anchor, done once.

Where an anchor depends on nothing but itself, what others see of it at every layer and step can be recorded
in a run of its own and handed to every window of the same view and round. The recorded run is always a batch
of one, whether or not its result is kept: what a window gets does not depend on a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from i4d.editors.noise import draw_noise
from i4d.editors.protocol import Conditions, Denoiser, EditCost, Memory, joined
from i4d.editors.region import BlendedLatents, on_latents
from i4d.editors.unchanged import with_unchanged_given_back
from i4d.errors import EditError
from i4d.types import EditSettings, Strength

AUTOENCODER_PIXELS = 2 << 20  # images are encoded and decoded in groups of at most so many pixels


@torch.inference_mode()
def repaint(
    model: Denoiser,
    originals: torch.Tensor,
    current: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seeds: Sequence[int],
    cost: EditCost,
    *,
    memory: Memory | None = None,
    conditions: Conditions | None = None,
    region: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return images (batch, 3, h, w), float32 in [0, 1], as `i4d.editors.protocol.Editor.repaint`.

    With `region` (batch, 1, h, w), in [0, 1], only there is anything denoised; the answer's pixels outside
    are the autoencoder's copies of the originals. EditError when the model's answer is not finite.
    """
    height, width = current.shape[-2:]
    conditions, latents = start(model, originals, current, strength, seeds, conditions)
    around = None if region is None else _blended(model, conditions, region, seeds, (height, width))
    latents = denoise(model, latents, conditions, strength, settings, cost, memory, around)
    images = by_group(lambda part: model.decode(part, height, width), latents, height * width)
    if not torch.isfinite(images).all() or not torch.isfinite(latents).all():
        raise EditError(
            f'the editor answered with NaN for "{settings.instruction}"', "try editor.dtype float32"
        )
    images = images.to(current.device)
    return with_unchanged_given_back(images, originals) if settings.keep_unchanged else images


@torch.inference_mode()
def remember(
    model: Denoiser,
    original: torch.Tensor,
    edited: torch.Tensor,
    strength: Strength,
    settings: EditSettings,
    seed: int,
    cost: EditCost,
    conditions: Conditions | None = None,
) -> Memory:
    """Return what an anchor (1, 3, h, w) shows its window in a repaint of the same strength."""
    if len(edited) != 1 or settings.norm != "frame":
        raise EditError(f"a memory of {len(edited)} images, norm {settings.norm}", "one image, norm frame")
    conditions, latents = start(model, original, edited, strength, [seed], conditions)
    plan = model.plan(strength)
    predict = model.predictor(conditions, strength, settings, cost, _size(latents), record=True)
    for index in range(plan.num_steps):
        latents = plan.step(latents, predict(latents, index), index)
    return predict.recorded()


def start(
    model: Denoiser,
    originals: torch.Tensor,
    current: torch.Tensor,
    strength: Strength,
    seeds: Sequence[int],
    conditions: Conditions | None,
) -> tuple[Conditions, torch.Tensor]:
    """Return the conditions and the latents at the first level, float32, (batch, channel, h, w)."""
    height, width = current.shape[-2:]
    conditions = conditions_of(model, originals) if conditions is None else conditions
    if not len(conditions) == len(current) == len(seeds):
        counts = f"{len(conditions)} originals and {len(seeds)} seeds for {len(current)} images"
        raise EditError(counts, "one of each per image")
    diffusion, posterior = draw_noise(seeds, model.latent_shape(height, width))
    diffusion, plan = diffusion.to(model.device), model.plan(strength)
    if plan.from_noise:
        return conditions, diffusion.clone()
    latents = by_group(model.encode, current, height * width, posterior)
    return conditions, plan.noised(latents, diffusion, 0)


def denoise(
    model: Denoiser,
    latents: torch.Tensor,
    conditions: Conditions,
    strength: Strength,
    settings: EditSettings,
    cost: EditCost,
    memory: Memory | None = None,
    around: BlendedLatents | None = None,
) -> torch.Tensor:
    """Return latents denoised from the first level of a strength to the last. Where memory of the device runs
    out and frames look at nothing but the given anchor, they are taken in halves (noted).
    """
    separable = settings.attention == "own" or (memory is not None and settings.attention != "sparse_causal")
    plan = model.plan(strength)
    try:
        predict = model.predictor(conditions, strength, settings, cost, _size(latents), memory=memory)
        done = latents
        for index in range(plan.num_steps):
            done = plan.step(done, predict(done, index), index)
            if around is not None:
                done = around.around(plan, done, index + 1)
        return done
    except torch.OutOfMemoryError:
        if len(latents) == 1 or settings.norm != "frame" or not separable:
            raise
    half = (len(latents) + 1) // 2
    cost.note(f"out of device memory: a batch of {len(latents)} taken in halves")
    parts: Sequence[slice] = (slice(0, half), slice(half, None))
    kept = [around and around.part(s) for s in parts]
    return torch.cat(
        [
            denoise(model, latents[s], conditions[s], strength, settings, cost, memory, k)
            for s, k in zip(parts, kept, strict=True)
        ]
    )


def conditions_of(model: Denoiser, originals: torch.Tensor) -> Conditions:
    """Return the conditions of images (batch, 3, height, width), a row each."""
    pixels = originals.shape[-2] * originals.shape[-1]
    with torch.inference_mode():
        return joined([model.condition(part) for part in originals.split(_group(pixels))])


def _blended(
    model: Denoiser,
    conditions: Conditions,
    region: torch.Tensor,
    seeds: Sequence[int],
    size: tuple[int, int],
) -> BlendedLatents:
    """Return what stays outside a region."""
    noise, _ = draw_noise(seeds, model.latent_shape(*size))
    cells = on_latents(region.to(model.device), model.traits.cell)
    return BlendedLatents(model.clean(conditions), noise.to(model.device), cells)


def by_group(
    function: Callable[..., torch.Tensor], images: torch.Tensor, pixels: int, *others: torch.Tensor
) -> torch.Tensor:
    """Return a function of images, and of others beside them, computed a few at a time."""
    group = _group(pixels)
    starts = range(0, len(images), group)
    return torch.cat([function(*(x[i : i + group] for x in (images, *others))) for i in starts])


def _group(pixels: int) -> int:
    return max(1, AUTOENCODER_PIXELS // pixels)


def _size(latents: torch.Tensor) -> tuple[int, int]:
    return latents.shape[-2], latents.shape[-1]
