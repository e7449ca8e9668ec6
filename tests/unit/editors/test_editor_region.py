"""Denoising inside a region: everywhere it is the plain repaint, nowhere it is the original's copy, and the
grid of latents.
"""

import pytest
import torch

from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.protocol import EditCost
from i4d.editors.region import BlendedLatents, on_latents
from i4d.editors.repaint import conditions_of, denoise, repaint, start
from i4d.types import EditSettings, Strength

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = EditSettings("night", 3.0, 1.5, attention="own", keep_unchanged=False)


@pytest.fixture(scope="module")
def model(tiny_editor_folder):
    return load_editor(str(tiny_editor_folder))


def pictures(count=2, height=21, width=30):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3))


WEAKER = Strength(800, 3)


def painted(model, images, region, strength=WEAKER):
    return repaint(model, images, images, strength, SETTINGS, [1, 2], EditCost(), region=region)


def test_everywhere_and_nowhere(model):
    images = pictures()
    whole = painted(model, images, None)
    torch.testing.assert_close(painted(model, images, torch.ones(2, 1, 21, 30)), whole)
    with torch.inference_mode():
        copy = model.decode(model.clean(conditions_of(model, images)), 21, 30)
    torch.testing.assert_close(painted(model, images, torch.zeros(2, 1, 21, 30)), copy)
    assert (whole - copy).abs().mean() > 0.02


def test_a_full_edit_keeps_its_surroundings_too(model):
    """From pure noise, where nothing of the picture is in the start: latents outside still end as the
    original's.
    """
    images = pictures()
    region = torch.zeros(2, 1, 21, 30)
    region[:, :, :9, :9] = 1
    condition, latents = start(model, images, images, Strength(1000, 3), [1, 2], None)
    around = BlendedLatents(
        model.clean(condition),
        torch.randn_like(latents),
        on_latents(region, model.factor),
    )
    with torch.inference_mode():
        out = denoise(model, latents, condition, Strength(1000, 3), SETTINGS, EditCost(), None, around)
    outside = (around.region == 0).expand_as(out)
    torch.testing.assert_close(out[outside], around.latents[outside])
    assert (out[~outside] - around.latents[~outside]).abs().mean() > 0.05
    halves = torch.cat([around.part(slice(i, i + 1)).latents for i in (0, 1)])
    assert torch.equal(halves, around.latents)


def test_a_cell_of_the_latents_counts_wherever_the_region_touches_it():
    """Slow twin, cell by cell, for sizes that are no multiple of the factor."""
    region = (torch.rand(2, 1, 21, 30, generator=torch.Generator().manual_seed(1)) > 0.97).float() * 0.3
    found = on_latents(region, 8)
    slow = torch.zeros(2, 1, 3, 4)
    for n in range(2):
        for y in range(3):
            for x in range(4):
                slow[n, 0, y, x] = float(region[n, 0, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].any())
    assert torch.equal(found, slow) and 0 < slow.mean() < 1
