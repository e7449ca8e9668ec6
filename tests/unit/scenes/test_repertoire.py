"""The demonstration editor's edits: functions of a picture, exact; sentences that lead back to their edit."""

import random

import pytest
import torch

from i4d.scenes.repertoire.phrases import EDITS, LOOKS, edit_named_by, stray_words, varied, wordings
from i4d.scenes.repertoire.pictures import PAINTERLY, PICTURES, WHOLE, kuwahara


def picture(seed=0, size=(48, 64)):
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(2, 3, 6, 8, generator=generator)
    return torch.nn.functional.interpolate(small, size, mode="bilinear")


def test_the_repertoire_is_the_one_promised():
    assert len(EDITS) >= 16 and set(WHOLE) == {
        "sepia",
        "black_and_white",
        "night",
        "sunset",
        "snow",
        "fog",
        "autumn",
    }
    assert set(PAINTERLY) == {"van_gogh", "watercolour", "pencil_sketch", "cartoon"}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_edits_are_deterministic_and_stay_in_range(name):
    x = picture()
    y = PICTURES[name](x)
    assert y.shape == x.shape and torch.isfinite(y).all() and y.min() >= 0 and y.max() <= 1
    assert torch.equal(y, PICTURES[name](x)) and (y - x).abs().mean() > 0.02


@pytest.mark.parametrize("name", PICTURES)
def test_picture_edits_stick_to_the_picture_not_to_the_screen(name):
    """Shifting the picture shifts the edit: no pattern hangs in front of the scene."""
    x = picture(1)
    shifted = torch.roll(x, (8, 12), (2, 3))
    a, b = torch.roll(PICTURES[name](x), (8, 12), (2, 3)), PICTURES[name](shifted)
    inner = (..., slice(20, -8), slice(24, -8))
    assert (a[inner] - b[inner]).abs().max() < 1e-4


def test_kuwahara_against_a_slow_twin():
    x = picture(2, (12, 14))[:1]
    fast, radius = kuwahara(x, 2), 2
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    grey = 0.299 * padded[:, 0] + 0.587 * padded[:, 1] + 0.114 * padded[:, 2]
    for i, j in ((0, 0), (5, 7), (11, 13), (3, 9)):
        total, weights = 0, 0
        for dy in (0, radius):
            for dx in (0, radius):
                part = padded[0, :, i + dy : i + dy + 3, j + dx : j + dx + 3]
                g = grey[0, i + dy : i + dy + 3, j + dx : j + dx + 3]
                weight = 1 / (((g**2).mean() - g.mean() ** 2).clamp_min(0) + 2e-4) ** 2
                total, weights = total + weight * part.mean((1, 2)), weights + weight
        torch.testing.assert_close(fast[0, :, i, j], total / weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("edit", EDITS)
def test_every_wording_leads_back_to_its_edit(edit):
    known = wordings(edit)
    assert not set(known.training) & set(known.held_out) and len(known.held_out) >= 10
    assert all(edit_named_by(s) == edit for s in known.training + known.held_out)
    rng, stray = random.Random(3), stray_words()
    assert all(edit_named_by(varied(rng.choice(known.training), edit, rng, stray)) == edit for _ in range(50))


def test_sentences_outside_the_repertoire_name_no_edit():
    assert (
        edit_named_by("turn the dog into a cat") is None and edit_named_by("make it sepia and snowy") is None
    )
    assert edit_named_by("What if it was painted by Van Gogh?") == "van_gogh" and len(LOOKS) == 11
