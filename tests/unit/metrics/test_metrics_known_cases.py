"""Long-range drift, sharpness, intervals and CLIP figures on cases whose value is known."""

import math

import numpy as np
import pytest
import torch

from i4d.errors import WeightsError
from i4d.flow.classical import DisFlow
from i4d.metrics.interval import Origin, block_length, bootstrap_interval, levels
from i4d.metrics.sharpness import gradient_psnr, laplacian_energy, sharpness_kept
from i4d.metrics.temporal import long_range_error
from i4d.metrics.text_image import (
    ClipEmbedder,
    caption_pair,
    directional_similarity,
    find_clip,
    frame_consistency,
)


def textured(frames=5):
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    picture = torch.stack([0.5 + 0.2 * torch.sin(x / 3 + k) * torch.cos(y / 4 - k) for k in range(3)])
    return picture.expand(frames, -1, -1, -1).clone()


# ---------------------------------------------------------------- drift
def test_a_static_scene_has_no_drift():
    assert long_range_error(textured(), textured(), DisFlow()).error < 1e-6


def test_injected_drift_is_what_is_measured():
    drift = torch.linspace(0, 0.08, 5).view(-1, 1, 1, 1)
    found = long_range_error(textured() + drift, textured(), DisFlow())
    assert found.error == pytest.approx(float(drift[1:].mean()), rel=1e-3)
    assert found.compared == pytest.approx(1.0)


# ---------------------------------------------------------------- sharpness
def test_the_laplacian_energy_of_a_checkerboard_by_hand():
    board = (torch.arange(10)[:, None] + torch.arange(12)) % 2
    images = board.float().expand(1, 3, -1, -1) * 0.5
    assert laplacian_energy(images) == pytest.approx(4.0)  # every Laplacian is +-2 = 4 neighbours x 0.5
    assert sharpness_kept(images * 0.5, images) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no detail"):
        sharpness_kept(images, torch.full_like(images, 0.3))


def test_gradients_see_blur_and_not_brightness():
    images = textured(1)
    assert gradient_psnr(images + 0.1, images) > 100
    assert gradient_psnr(images, images) == math.inf or gradient_psnr(images, images) > 150
    ramp = torch.arange(20.0).expand(1, 3, 10, 20) * 0.01
    assert gradient_psnr(ramp * 0, ramp) == pytest.approx(
        -10 * math.log10(0.01**2 * (3 * 10 * 19) / (3 * 10 * 19 + 3 * 9 * 20)), rel=1e-4
    )


# ---------------------------------------------------------------- intervals
def test_an_interval_holds_the_mean_and_shrinks_with_frames():
    rng = np.random.default_rng(1)
    few, many = rng.normal(30, 2, 12), rng.normal(30, 2, 1200)
    (low, high), (low2, high2) = bootstrap_interval(few), bootstrap_interval(many)
    assert low < few.mean() < high and high2 - low2 < (high - low) / 3
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)
    assert bootstrap_interval(few) == bootstrap_interval(few)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = sum(
        low <= 0 <= high for low, high in (bootstrap_interval(rng.normal(0, 1, 40)) for _ in range(200))
    )
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("values", "level"), [([], 0.95), ([1.0], 1.0)])
def test_an_interval_of_nothing_is_refused(values, level):
    with pytest.raises(ValueError):
        bootstrap_interval(values, level)


def test_a_weighted_interval_holds_the_weighted_mean():
    values, weights = [1.0, 0.02, 0.9, 0.03], [1.0, 300.0, 2.0, 300.0]
    mean = float(np.average(values, weights=weights))
    low, high = bootstrap_interval(values, weights=weights)
    assert low <= mean <= high and np.mean(bootstrap_interval(values)) > 0.4 > 10 * mean, (
        "pairs with few pixels count little"
    )
    assert bootstrap_interval([1.0, 5.0], weights=[1.0, 0.0])[1] == 1.0, (
        "what was found on no pixel says nothing"
    )
    assert bootstrap_interval(values, weights=[2.0] * 4) == pytest.approx(bootstrap_interval(values))
    for wrong in ([1.0], [0.0] * 4, [1.0, 1.0, 1.0, -1.0]):
        with pytest.raises(ValueError, match="weight"):
            bootstrap_interval(values, weights=wrong)


def correlated(rng, count, share):
    """A series in which each value keeps `share` of the one before (AR(1)), of mean zero."""
    values = np.zeros(count + 50)
    for i in range(1, len(values)):
        values[i] = share * values[i - 1] + rng.normal()
    return values[50:]


def test_frames_that_resemble_their_neighbours_are_drawn_in_blocks():
    """Drawn one by one, 40 to 55 of 100 intervals hold the truth; in blocks at least 75 do."""
    rng = np.random.default_rng(3)
    series = [correlated(rng, 100, 0.8) for _ in range(150)]
    blocks = sum(low <= 0 <= high for low, high in map(bootstrap_interval, series))
    alone = sum(abs(x.mean()) < 1.96 * x.std() / 10 for x in series)
    assert alone / 150 < 0.6 and blocks / 150 > 0.75
    assert block_length(correlated(rng, 200, 0.9)) >= 8 and block_length(np.arange(5)) == 1
    assert block_length([1.0, -1.0] * 20) == 1, "what alternates does not resemble its neighbours"


def test_pairs_are_drawn_by_their_cameras():
    """A camera that is off spoils all of its pairs, so pairs say less than as many single values."""
    rng = np.random.default_rng(4)
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    origins = [Origin(0, pair) for pair in pairs]
    held = alone = 0
    for _ in range(150):
        off = rng.normal(size=9)
        values = [off[i] + off[j] + 0.3 * rng.normal() for i, j in pairs]
        low, high = bootstrap_interval(values, origins=origins)
        held += low <= 0 <= high
        alone += abs(np.mean(values)) < 1.96 * np.std(values) / len(values) ** 0.5
    assert alone / 150 < 0.5 and held / 150 > 0.75
    assert levels(origins) == ("camera",) and levels([Origin(0, (0, 1)), Origin(0, (1, 0))]) == ()


def test_seeds_are_a_level_of_their_own():
    """Fifty frames with each of three seeds are three draws of the editor, not a hundred and fifty."""
    origins = [Origin(t, (0,), seed) for seed in range(3) for t in range(50)]
    rng = np.random.default_rng(5)
    values = np.repeat([1.0, 2.0, 3.0], 50) + 0.01 * rng.normal(size=150)
    low, high = bootstrap_interval(values, origins=origins)
    assert low < 1.2 and high > 2.8 and levels(origins) == ("seed", "time")
    one = bootstrap_interval(values[:50], origins=origins[:50])
    assert one[1] - one[0] < 0.02
    with pytest.raises(ValueError, match="one origin per value"):
        bootstrap_interval([1.0, 2.0], origins=[Origin()])


# ---------------------------------------------------------------- words and pictures
def test_directional_similarity_of_known_directions():
    before, words = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([1.0, 0.0, 0.0])
    after = torch.tensor([[0.0, 1.0, 0.0]])
    same, opposite = torch.tensor([0.0, 2.0, 0.0]), torch.tensor([2.0, -1.0, 0.0])
    assert float(directional_similarity(before, after, words, same)) == pytest.approx(1.0)
    assert float(directional_similarity(before, after, words, opposite)) < 0
    assert float(directional_similarity(before, before, words, same)) == 0


def test_frame_consistency_of_known_angles():
    frames = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert frame_consistency(frames).tolist() == pytest.approx([1.0, 0.0])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP of random weights, saved and loaded as a real one is."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    from i4d.editors.bundled import BUNDLED

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(BUNDLED / "tokenizer")
    sides = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    text = {
        **sides,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": 77,
    }
    config = CLIPConfig(
        text_config=text, vision_config={**sides, "image_size": 32, "patch_size": 8}, projection_dim=16
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_clip_folder_is_loaded_and_embeds(clip, monkeypatch):
    monkeypatch.setenv("I4D_CLIP", str(clip))
    embedder = find_clip()
    assert isinstance(embedder, ClipEmbedder) and embedder.source == str(clip)
    pictures = embedder.images(torch.rand(3, 3, 40, 60))
    words = embedder.sentences(caption_pair("Turn it into a sketch?"))
    assert pictures.shape == (3, 16) and words.shape == (2, 16) and not torch.equal(words[0], words[1])
    same = embedder.images(torch.rand(1, 3, 40, 60).expand(2, -1, -1, -1))
    assert float(frame_consistency(same)) == pytest.approx(1.0, abs=1e-5)


def test_images_are_prepared_as_clips_own_processor_does(clip, monkeypatch):
    from transformers import CLIPImageProcessor

    monkeypatch.setenv("I4D_CLIP", str(clip))
    embedder = find_clip()
    generator = torch.Generator().manual_seed(3)
    image = torch.nn.functional.interpolate(
        torch.rand((1, 3, 6, 9), generator=generator), (64, 96), mode="bilinear"
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(
        images=[(image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)], return_tensors="pt"
    )["pixel_values"]
    model = embedder._model
    with torch.inference_mode():
        reference = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    assert float(torch.nn.functional.cosine_similarity(embedder.images(image), reference)) > 0.999


def test_without_weights_both_ways_out_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("I4D_CLIP", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="no such folder"):
        find_clip()
    monkeypatch.setenv("I4D_CLIP", str(tmp_path))
    with pytest.raises(WeightsError, match="I4D_CLIP.*hub's cache"):
        find_clip()
