"""Guidance, strength, exact reuse of the anchor, sizes, memory shortage, and failures of a repaint on a toy
model.
"""

import pytest
import torch

from i4d.editors.cache import MemoryCache
from i4d.editors.instruct_pix2pix.guidance import Guidance
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.model import LATENTS
from i4d.editors.noise import draw_noise, noised
from i4d.editors.protocol import EditCost
from i4d.editors.repaint import remember, repaint
from i4d.errors import EditError
from i4d.types import EditSettings, Strength

STRENGTH = Strength(600, 3)

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**changes):
    return EditSettings(
        **({"instruction": "make it night", "text_guidance": 5.0, "image_guidance": 1.5} | changes)
    )


@pytest.fixture(scope="module")
def model(tiny_editor_folder):
    return load_editor(str(tiny_editor_folder))


@pytest.fixture(scope="module")
def v_model(tiny_v_editor_folder):
    return load_editor(str(tiny_v_editor_folder))


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 4, 3, 21, 30, generator=generator)  # originals and current; odd sizes


def predict_all(model, latents, condition, timestep, prompt):
    """The three branches, each in a call of its own through the plain UNet."""
    text, empty = (model.text(p).expand(len(latents), -1, -1) for p in (prompt, ""))
    calls = {"text_image": (condition, text), "image": (condition, empty), "none": (condition * 0, empty)}
    return {
        name: model.unet(torch.cat([latents, c], 1), timestep, encoder_hidden_states=t).sample
        for name, (c, t) in calls.items()
    }


@pytest.mark.parametrize("s_t,s_i,branches", [(9.5, 1.5, 3), (7.0, 1.0, 2), (1.0, 1.0, 1), (3.0, 3.0, 2)])
def test_guidance_equals_the_full_formula_and_skips_branches_of_weight_zero(model, s_t, s_i, branches):
    latents, condition = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 6, 8)
    cost = EditCost()
    with torch.inference_mode():
        e = predict_all(model, latents, condition, 301, "make it night")
        full = e["none"] + s_i * (e["image"] - e["none"]) + s_t * (e["text_image"] - e["image"])
        out = model.predict(
            latents, condition, "make it night", Guidance(s_t, s_i), 301, cost, attention="own", norm="frame"
        )
    torch.testing.assert_close(out, full, atol=2e-4, rtol=1e-3)
    assert cost.unet_forwards == 2 * branches == 2 * len(Guidance(s_t, s_i).weights)


@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "sparse_causal"])
def test_a_reused_anchor_gives_what_denoising_it_again_gives(model, pictures, attention):
    originals, current = pictures
    chosen, cost, noise = settings(attention=attention), EditCost(), [7, 8, 9, 9]
    plain = repaint(model, originals, current, STRENGTH, chosen, noise, cost)
    assert cost.unet_forwards == 4 * 3 * 3
    trace = remember(model, originals[:1], current[:1], STRENGTH, chosen, noise[0], cost)
    cost.unet_forwards = 0
    reused = repaint(model, originals[1:], current[1:], STRENGTH, chosen, noise[1:], cost, memory=trace)
    assert cost.unet_forwards == 3 * 3 * 3
    torch.testing.assert_close(reused, plain[1:], atol=1e-4, rtol=0)
    alone = repaint(model, originals[1:2], current[1:2], STRENGTH, chosen, noise[1:2], cost, memory=trace)
    torch.testing.assert_close(alone, plain[1:2], atol=1e-4, rtol=0)
    own = repaint(model, originals, current, STRENGTH, settings(attention="own"), noise, cost)
    assert (own - plain)[1:].abs().max() > 1e-3


def test_equal_work_gives_equal_bits_and_another_seed_does_not(model, pictures):
    originals, current = pictures
    runs = [repaint(model, originals, current, STRENGTH, settings(), [s] * 4, EditCost()) for s in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert runs[0].shape == current.shape and runs[0].min() >= 0 and runs[0].max() <= 1


def test_sizes_are_padded_and_cropped_never_resampled(model):
    images = torch.rand(1, 3, 21, 30)
    padded = model.padded(images)
    assert padded.shape[-2:] == (24, 32) and torch.equal(padded[..., :21, :30], images)
    assert torch.equal(padded[..., 21, :30], images[..., 19, :]) and torch.equal(
        padded[..., :21, 30], images[..., 28]
    )
    assert model.latent_shape(21, 30) == (4, 6, 8) and len(model.condition(images)) == 1
    assert model.condition(images).parts[LATENTS].shape[1:] == (4, 6, 8)


def test_a_weak_repaint_stays_nearer_to_the_start_than_a_strong_one(model, pictures):
    originals, current = pictures
    shape = model.latent_shape(21, 30)
    noise, posterior = draw_noise([5] * 4, shape)
    with torch.inference_mode():
        latents = model.encode(current, posterior)
    near, far = (noised(latents, noise, model.schedule.level(t)) for t in (1, 951))
    assert (near - latents).norm() < 0.1 * (far - latents).norm()


def test_full_strength_on_a_trailing_schedule_forgets_the_current_image(v_model, pictures):
    originals, current = pictures

    def edits(strength):
        starts = (current, 1 - current)
        return [repaint(v_model, originals, x, strength, settings(), [1] * 4, EditCost()) for x in starts]

    assert torch.equal(*edits(Strength(1000, 2)))
    assert not torch.equal(*edits(Strength(600, 2)))


def test_noise_follows_each_images_seed_alone():
    noise, posterior = draw_noise([1, 2, 1], (2, 4))
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert torch.equal(draw_noise([2], (2, 4))[0][0], noise[1])
    assert not torch.equal(noise[0], posterior[0])


class ShortOfMemory(torch.nn.Module):
    """A UNet on a device that holds at most `limit` images at once."""

    def __init__(self, unet, limit):
        super().__init__()
        self.unet, self.limit, self.calls = unet, limit, []
        self.device, self.dtype = unet.device, unet.dtype

    def forward(self, inputs, *args, **kwargs):
        if len(inputs) > self.limit:
            raise torch.OutOfMemoryError("no room")
        self.calls.append(len(inputs))
        return self.unet(inputs, *args, **kwargs)


@pytest.mark.parametrize(
    "limit,note", [(8, "guidance branches taken 2"), (4, "1 at a time"), (3, "in halves")]
)
def test_a_shortage_of_memory_splits_the_batch_and_says_so(model, pictures, monkeypatch, limit, note):
    originals, current = pictures
    trace = remember(model, originals[:1], current[:1], STRENGTH, settings(), 7, EditCost())
    whole = repaint(model, originals, current, STRENGTH, settings(), [7] * 4, EditCost(), memory=trace)
    cost = EditCost()
    monkeypatch.setattr(model, "unet", ShortOfMemory(model.unet, limit))
    split = repaint(model, originals, current, STRENGTH, settings(), [7] * 4, cost, memory=trace)
    torch.testing.assert_close(split, whole, atol=1e-4, rtol=0)
    assert any(note in n for n in cost.notes) and max(model.unet.calls) <= limit


def test_memory_too_small_for_one_image_is_an_error(model, pictures, monkeypatch):
    originals, current = pictures
    monkeypatch.setattr(model, "unet", ShortOfMemory(model.unet, 0))
    with pytest.raises(torch.OutOfMemoryError):
        repaint(model, originals, current, STRENGTH, settings(), [7] * 4, EditCost())


def test_nan_is_an_edit_error(model, pictures):
    originals, current = pictures
    with pytest.raises(EditError, match="NaN"):
        repaint(model, originals, current * float("nan"), STRENGTH, settings(), [1] * 4, EditCost())


def test_the_anchor_cache_is_bounded_and_changes_nothing(model, pictures):
    originals, current = pictures

    def make(row):
        images = originals[row : row + 1], current[row : row + 1]
        return remember(model, *images, STRENGTH, settings(), 1, EditCost())

    size = make(0).size_bytes
    cache = MemoryCache(max_bytes=int(1.5 * size))
    first = cache.get("a", lambda: make(0))
    assert cache.get("a", lambda: make(0)) is first and cache.hits == 1
    cache.get("b", lambda: make(1))
    again = cache.get("a", lambda: make(0))
    assert again is not first and cache.hits == 1
    for old, new in zip(first.steps, again.steps, strict=True):
        for before, after in zip(old.layers.values(), new.layers.values(), strict=True):
            assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
