"""Frames that nobody took are never drawn from: not as random rays, not as moving ones, not as patches."""

import numpy as np
import pytest
import torch

from i4d.errors import FitError
from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.types import Bounds, Camera

SIZES, FRAMES = ((16, 12), (20, 10), (12, 12)), 4
GONE = ((0, 1, 3), (1, 2, 3), (2, 2, 3), (7, 0, 4))  # frame 2 of every trained view; 7 is not trained


def rig():
    K = np.array([[20.0, 0, 8], [0, 20.0, 6], [0, 0, 1]])
    return tuple(Camera(f"c{i}", w, h, K, np.eye(4)) for i, (w, h) in enumerate(SIZES))


def bank(missing=GONE):
    """Every pixel says whose it is: red the view, green the frame; some blue flickers, so that it moves."""
    made = FrameBank(rig(), (0, 1, 2), FRAMES, missing)
    for view, (width, height) in enumerate(SIZES):
        rows = np.zeros((FRAMES, height, width, 3), np.uint8)
        rows[..., 0] = 50 * view + 10
        rows[..., 1] = 20 * np.arange(FRAMES)[:, None, None]
        rows[:, :4, :, 2] = np.arange(FRAMES)[:, None, None] % 2 * 200
        made.put(view, 0, rows)
    return made


@pytest.mark.parametrize("how", [{}, {"motion_share": 0.5}, {"patch": 2}, {"motion_share": 0.5, "side": 4}])
def test_pixels_come_from_views_that_have_the_frame(how):
    generator, made = torch.Generator().manual_seed(0), bank()
    for frame, views in ((0, {0, 1, 2}), (1, {1, 2}), (3, {0, 1, 2})):
        pixels = made.draw_pixels(frame, 512, generator, **how)
        assert {(int(r) - 10) // 50 for r in pixels.rgb[:, 0]} == views == set(pixels.slot.tolist())
        assert set(pixels.rgb[:, 1].tolist()) == {20 * frame}
        areas = {v: SIZES[v][0] * SIZES[v][1] for v in views}
        if not how:  # each pixel as likely as any other
            for view in views:
                share = np.mean(pixels.slot == view)
                assert share == pytest.approx(areas[view] / sum(areas.values()), abs=0.07)


def test_a_frame_that_no_view_has_is_left_out_of_the_fit():
    made = bank()
    assert made.drawn.tolist() == [0, 1, 3]
    with pytest.raises(FitError, match="no trained view has frame 2"):
        made.draw_pixels(2, 64, torch.Generator())
    config = VectorMatrixConfig(grid_start=1000, grid_end=1000, growth_at=[], rays=64, samples=8, proposals=8)
    space = space_for(Bounds("box", ((-1.0, -1, 1), (1.0, 1, 3)), 0.5, 5.0), rig())
    fitter = Fitter(config, space, FRAMES, 0)
    fitter.begin("fit", 12)
    assert sorted(fitter.draw(made, step)[0] for step in range(12)) == [0] * 4 + [1] * 4 + [3] * 4


def test_without_gaps_rays_are_what_they_were():
    whole, none = bank(()), FrameBank(rig(), (0, 1, 2), FRAMES)
    for view in range(3):
        none.put(view, 0, np.stack([whole._frames[view, f] for f in range(FRAMES)]))
    a, b = (x.draw_pixels(1, 256, torch.Generator().manual_seed(3), 0.3) for x in (whole, none))
    assert np.array_equal(a.slot, b.slot) and np.array_equal(a.inside, b.inside)


def test_nothing_at_all_is_an_error():
    with pytest.raises(FitError, match="every frame"):
        bank(((0, 0, 4), (1, 0, 4), (2, 0, 4)))
