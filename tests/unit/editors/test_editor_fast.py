"""Networks laid out for speed, shallow passes and what is reused: each against its plain twin."""

import pytest
import torch

from i4d.editors.cache import ConditionCache
from i4d.editors.instruct_pix2pix import ops
from i4d.editors.instruct_pix2pix.forward import Reuse, unet_forward
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.protocol import EditCost
from i4d.editors.repaint import conditions_of, remember, repaint
from i4d.types import EditSettings, Strength, Turbo

STRENGTH = Strength(600, 3)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tiny_editor_folder):
    return str(tiny_editor_folder)


@pytest.fixture(scope="module")
def plain(folder):
    return load_editor(folder)


@pytest.fixture(scope="module")
def fast(folder):
    return load_editor(folder, fast=True)


def pictures(count=3, height=20, width=28):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def edit(model, settings, images, cost=None):
    """Frames 1.. of `images`, anchored on the first by its own pass."""
    cost = cost or EditCost()
    trace = remember(model, images[:1], images[:1], STRENGTH, settings, 3, cost)
    return repaint(
        model, images[1:], images[1:], STRENGTH, settings, [3] * (len(images) - 1), cost, memory=trace
    )


def psnr_db(a, b):
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.mark.parametrize("attention", ["anchor", "anchor_self", "sparse_causal", "own"])
def test_the_fast_layout_gives_the_plain_ones_answer(plain, fast, attention):
    settings, images = EditSettings("night", 5.0, 1.5, attention=attention), pictures()
    torch.testing.assert_close(edit(fast, settings, images), edit(plain, settings, images), atol=1e-4, rtol=0)


def test_the_fast_layout_keeps_joint_normalisation(plain, fast):
    settings, images = EditSettings("night", 5.0, 1.5, norm="joint", mode="authors"), pictures()
    both = [repaint(m, images, images, STRENGTH, settings, [3] * 3, EditCost()) for m in (fast, plain)]
    torch.testing.assert_close(*both, atol=1e-4, rtol=0)
    alone = repaint(
        plain, images, images, STRENGTH, EditSettings("night", 5.0, 1.5, mode="plain"), [3] * 3, EditCost()
    )
    assert not torch.allclose(both[0], alone, atol=1e-3)


def test_exact_is_plain_to_60_db_with_the_bundled_editor():
    fast, plain = load_editor("tiny-ip2p", fast=True), load_editor("tiny-ip2p")
    images = torch.nn.functional.interpolate(pictures(3, 8, 10), (48, 64), mode="bilinear")
    settings = EditSettings("turn it into night", 1.5, 1.2, mode="plain")
    again = repaint(plain, images, images, STRENGTH, settings, [3] * 3, EditCost())[1:]
    exact = edit(fast, EditSettings("turn it into night", 1.5, 1.2), images)
    assert psnr_db(exact, again) >= 60.0 and psnr_db(exact, images[1:]) < 40.0


def test_our_pass_of_the_unet_equals_the_stock_one_and_a_shallow_one_the_whole(plain):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 8, 5, 7, generator=generator)
    states = torch.randn(2, 77, plain.unet.config.cross_attention_dim, generator=generator)
    time = torch.tensor([301])
    with torch.inference_mode():
        stock = plain.unet(sample, time, encoder_hidden_states=states).sample
        whole, deep = unet_forward(plain.unet, sample, time, states)
        shallow, same = unet_forward(plain.unet, sample, time, states, deep)
    torch.testing.assert_close(whole, stock, atol=1e-5, rtol=0)
    torch.testing.assert_close(shallow, stock, atol=1e-5, rtol=0)
    assert same is deep


def test_a_block_compiles_without_a_break(fast):
    generator, block = torch.Generator().manual_seed(1), fast.unet.mid_block
    width = block.resnets[0].conv1.weight.shape[1]
    x = torch.randn(2, width, 4, 4, generator=generator)
    emb = torch.randn(2, fast.unet.time_embedding.linear_2.out_features, generator=generator)
    states = torch.randn(2, 77, fast.unet.config.cross_attention_dim, generator=generator)
    compiled = torch.compile(block, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        out = compiled(x, emb, encoder_hidden_states=states)
        torch.testing.assert_close(out, block(x, emb, encoder_hidden_states=states), atol=1e-5, rtol=0)


def test_turbo_of_ones_is_exact_and_every_switch_saves_what_it_says(plain):
    images = pictures()
    exact = edit(plain, EditSettings("night", 5.0, 1.5), images, full := EditCost())
    ones = edit(plain, EditSettings("night", 5.0, 1.5, mode="turbo", turbo=Turbo()), images, EditCost())
    assert (
        torch.equal(exact, ones) and full.unet_forwards == 3 * 3 * 3
    )  # anchor and two frames, three branches and steps
    guided = edit(
        plain,
        EditSettings("night", 5.0, 1.5, mode="turbo", turbo=Turbo(guidance=2)),
        images,
        cost := EditCost(),
    )
    assert (
        cost.unet_forwards == full.unet_forwards - 2 * 2
    )  # the second step leaves out two branches of two frames
    assert 15 < psnr_db(guided, exact) < 90
    for turbo in (Turbo(keys=4), Turbo(depth=2)):
        assert (
            15
            < psnr_db(edit(plain, EditSettings("night", 5.0, 1.5, mode="turbo", turbo=turbo), images), exact)
            < 90
        )


def test_steps_compute_anew_at_multiples_of_their_setting():
    reuse, seen = Reuse(depth=2, guidance=3), []
    for _ in range(5):
        reuse.begin_step()
        seen.append((reuse.deep_now, reuse.branches_now))
        reuse.deep = reuse.added = torch.zeros(1)
    assert seen == [(True, True), (False, False), (True, False), (False, True), (True, False)]


def test_thinned_tokens_are_averages_of_neighbours():
    tokens = torch.arange(15.0).view(1, 15, 1)  # 3 rows of 5
    assert ops.thinned(tokens, 3, 5).flatten().tolist() == [3.0, 5.0, 6.5, 10.5, 12.5, 14.0]


def test_wide_attention_and_normalisation_equal_their_twins():
    generator = torch.Generator().manual_seed(2)
    q, k, v = torch.randn(3, 2, 9, 24, generator=generator, dtype=torch.float64)
    weights = torch.softmax(q @ k.transpose(1, 2) / 24**0.5, -1)
    torch.testing.assert_close(ops.wide_attention(q, k, v), weights @ v)
    x, add = torch.randn(2, 8, 3, 5, generator=generator), torch.randn(2, 8, generator=generator)
    weight, bias = torch.randn(2, 8, generator=generator)
    out = ops.group_norm(x.contiguous(memory_format=torch.channels_last), 4, weight, bias, 1e-5, add, True)
    flat = (x + add[..., None, None]).view(2, 4, -1)
    flat = (flat - flat.mean(-1, keepdim=True)) / (flat.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = flat.view(2, 8, 3, 5) * weight[:, None, None] + bias[:, None, None]
    torch.testing.assert_close(out, expected * torch.sigmoid(expected), atol=1e-5, rtol=1e-5)


def test_known_latents_stand_for_their_originals(plain):
    images, settings, encoded = pictures(), EditSettings("night", 5.0, 1.5), []
    cache = ConditionCache(max_bytes=2 * 4 * 4 * 5 * 7)  # two originals

    def latents(rows):
        return cache.get(rows, lambda row: encoded.append(row) or conditions_of(plain, images[row : row + 1]))

    known = repaint(
        plain, images, images, STRENGTH, settings, [3] * 3, EditCost(), conditions=latents([0, 1, 2])
    )
    torch.testing.assert_close(
        known, repaint(plain, images, images, STRENGTH, settings, [3] * 3, EditCost()), atol=1e-4, rtol=0
    )
    latents([1, 2])
    latents([0])
    assert encoded == [0, 1, 2, 0] and cache.encoded == 4
