"""Cameras that disagree in brightness: their gains are found along with the scene, and pictures stay
neutral.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_field_fit import BOUNDS, FRAMES, TINY, cameras, picture

from i4d.errors import FitError
from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.exposure import recorded
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.metrics.image import psnr

VIEWS = (0, 1, 2, 3)
# logarithms by trained camera and colour, mean zero; not so large that any colour is clipped
GAINS = np.array([[0.3, 0.2, 0.1], [-0.3, -0.1, -0.2], [0.1, -0.3, -0.1], [-0.1, 0.2, 0.2]])
COLOUR = replace(TINY, exposure="camera", lr_mlp=0.02)


def neutral(camera, frame):
    return picture(camera, frame)[0] / 255 * 0.72


def exposed_bank(gains=GAINS):
    bank = FrameBank(cameras(), VIEWS, FRAMES)
    for view in VIEWS:
        rows = np.stack([neutral(cameras()[view], f) * np.exp(gains[view]) for f in range(FRAMES)])
        assert rows.max() < 1
        bank.put(view, 0, (rows * 255).round().astype(np.uint8))
    return bank


def fitter(config=COLOUR, views=VIEWS):
    return Fitter(config, space_for(BOUNDS, cameras()), FRAMES, 0, views=views)


def test_a_gain_multiplies_and_all_together_change_nothing():
    gains, view = torch.tensor(GAINS).float() + 5.0, torch.tensor([2, 0, 3])
    colours = torch.rand(3, 3)
    torch.testing.assert_close(
        recorded(colours, gains, view), colours * torch.tensor(GAINS[[2, 0, 3]]).exp().float()
    )
    assert recorded(colours, None, view) is colours
    each = torch.stack([recorded(torch.ones(1, 3), gains, torch.tensor([v])) for v in range(4)])
    torch.testing.assert_close(each.log().mean(0), torch.zeros(1, 3), atol=1e-5, rtol=0)


def test_gains_are_found_and_a_held_out_camera_is_seen_as_it_is():
    found = {}
    for name in ("off", "camera"):
        one = fitter(replace(COLOUR, exposure=name))
        one.begin("fit", 120)
        one.advance(exposed_bank(), 120)
        images = [
            psnr(one.image(cameras()[4], f).rgb, torch.from_numpy(neutral(cameras()[4], f)).float())
            for f in range(FRAMES)
        ]
        found[name] = float(np.mean(images))
    assert found["camera"] > found["off"] + 1.5, found
    gains = one.field.tensors["gains"]
    assert (gains - gains.mean(0) - torch.tensor(GAINS)).abs().max() < 0.07
    shown = one.exposed(torch.full((2, 5, 3), 0.5), 1)
    assert shown.shape == (2, 5, 3) and shown[0, 0].tolist() == pytest.approx(
        (0.5 * np.exp(GAINS[1])).tolist(), rel=0.08
    )


def test_gains_are_saved_and_refits_leave_them_alone():
    one, bank = fitter(), exposed_bank()
    one.begin("fit", 12)
    one.advance(bank, 12)
    gains = one.field.tensors["gains"].clone()
    assert gains.abs().max() > 0.01
    again = fitter()
    again.load(one.save())
    for each in (one, again):
        each.begin("refit", 4)
        each.advance(bank, 4)
        assert torch.equal(each.field.tensors["gains"], gains)
    assert torch.equal(one.field.tensors["w1"], again.field.tensors["w1"])
    plain = fitter(replace(COLOUR, exposure="off"))
    plain.load(
        one.save(light=True)
    )  # what a checkpoint has it keeps, whatever the configuration asks of new fields
    torch.testing.assert_close(plain.exposed(torch.ones(1, 3), 2), (gains - gains.mean(0)).exp()[2:3])


def test_what_cannot_be_is_said():
    one = fitter()
    with pytest.raises(FitError, match="view 4 has no exposure of its own"):
        one.exposed(torch.ones(1, 3), 4)
    other = fitter(views=(0, 1, 2))
    other.begin("fit", 4)
    with pytest.raises(FitError, match=r"exposures of views \(0, 1, 2\)"):
        other.advance(exposed_bank(), 1)
    plain = fitter(replace(COLOUR, exposure="off"))
    one.load(plain.save())
    with pytest.raises(FitError, match="fitted without gains"):
        one.begin("refit", 4)
    assert torch.equal(plain.exposed(torch.ones(2, 3), 4), torch.ones(2, 3))
