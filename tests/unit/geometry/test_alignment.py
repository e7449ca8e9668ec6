"""Edited pictures laid onto their originals: the repertoire's edits, moved by known amounts."""

import cv2
import numpy as np
import pytest
import torch

from i4d.geometry.alignment import measure, undone
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.scenes.repertoire.pictures import PAINTERLY, WHOLE

EDITS = {**WHOLE, **PAINTERLY}
MOVES = {  # zoom, degrees, dx, dy
    "zoom and shift": (1.05, 0, 3, -1.2),
    "turn": (1.0, 2, 0, 0),
    "all": (0.97, -1.5, -4, 2),
}


@pytest.fixture(scope="module")
def original():
    """One frame of the demo scene, 240x180."""
    return next(render_frames(demo_cameras(240, 180)[3], [12], 24, samples=1))


def edited(image, name):
    x = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    return (EDITS[name](x)[0].permute(1, 2, 0).numpy() * 255).round().clip(0, 255).astype(np.uint8)


def moved(image, zoom, turn, dx, dy):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -turn, zoom)
    matrix[:, 2] += dx, dy
    out = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return out, matrix


def farthest(a, b, shape):
    """Return how far apart two maps of a picture take its points at most, in pixels."""
    y, x = np.mgrid[0 : shape[0] - 1 : 7j, 0 : shape[1] - 1 : 7j]
    at = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    return np.linalg.norm(at @ a.T - at @ b.T, axis=1).max()


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", ["sepia", "night", "snow", "fog", "pencil_sketch"])
def test_moves_are_measured_to_a_third_of_a_pixel(original, name, move):
    picture, matrix = moved(edited(original, name), *MOVES[move])
    found = measure(picture, original)
    assert found.fits and not found.still
    assert farthest(found.edited_from_original, matrix, original.shape) < 0.3
    zoom, turn, dx, dy = MOVES[move]
    assert found.zoom == pytest.approx(zoom, abs=0.003) and found.turn_deg == pytest.approx(turn, abs=0.15)
    assert found.shift == pytest.approx((dx, dy), abs=0.2)


@pytest.mark.parametrize("name", ["van_gogh", "watercolour", "cartoon"])
def test_painterly_edits_move_what_they_paint_and_are_measured_less_finely(original, name):
    picture, matrix = moved(edited(original, name), 1.05, 0, 3, -1.2)
    found = measure(picture, original)
    assert found.fits and farthest(found.edited_from_original, matrix, original.shape) < 1.2


@pytest.mark.parametrize("name", EDITS)
def test_what_lies_right_stays_as_it_is(original, name):
    picture = edited(original, name)
    found = measure(picture, original)
    assert found.fits and found.still and undone(picture, found) is picture


def test_undone_it_is_the_edit_again(original):
    """A zoom of 5 % and a shift of 3 pixels cost 10 dB; undone, what is left is the interpolation."""
    exact = edited(original, "sepia")
    picture, _ = moved(exact, 1.05, 0, 3, 0)
    mended = undone(picture, measure(picture, original))
    inner = np.s_[12:-12, 16:-16]

    def psnr(image):
        return -10 * np.log10(np.mean((image[inner].astype(float) - exact[inner]) ** 2) / 255**2)

    assert psnr(picture) < 26 and psnr(mended) > 36


def test_a_picture_of_something_else_does_not_fit(original):
    other = next(render_frames(demo_cameras(240, 180)[9], [12], 24, samples=1))
    noise = np.random.default_rng(0).integers(0, 256, original.shape, dtype=np.uint8)
    mirrored = original[:, ::-1].copy()
    for stranger in (other, noise, mirrored, np.full_like(original, 128)):
        found = measure(stranger, original)
        assert not found.fits and "residual" in found.figures()
