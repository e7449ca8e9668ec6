"""Lens models: undistorted pictures have their points where a pinhole projects them, by cv2's own model."""

import cv2
import numpy as np
import pytest

from i4d.errors import SceneError
from i4d.scenes.lens import lens_of_keys, lens_of_list, pull_maps

W, H = 96, 72
K = np.array([[60.0, 0, 50], [0, 62.0, 34], [0, 0, 1]])
LENSES = {
    "PINHOLE": ((), {}),
    "SIMPLE_RADIAL": ((-0.15,), {"k1": -0.15}),
    "RADIAL": ((-0.15, 0.03), {"k1": -0.15, "k2": 0.03}),
    "OPENCV": ((-0.1, 0.02, 0.004, -0.003), {"k1": -0.1, "k2": 0.02, "p1": 0.004, "p2": -0.003}),
    "FULL_OPENCV": (
        (0.2, 0.05, 0.002, -0.004, 0.01, 0.3, 0.04, 0.02),
        {"k1": 0.2, "k2": 0.05, "p1": 0.002, "p2": -0.004, "k3": 0.01, "k4": 0.3, "k5": 0.04, "k6": 0.02},
    ),
    "OPENCV_FISHEYE": ((0.1, -0.02, 0.01, -0.003), {"k1": 0.1, "k2": -0.02, "k3": 0.01, "k4": -0.003}),
    "SIMPLE_RADIAL_FISHEYE": ((0.08,), {"k1": 0.08}),
    "RADIAL_FISHEYE": ((0.08, -0.02), {"k1": 0.08, "k2": -0.02}),
}


@pytest.mark.parametrize("model", LENSES)
def test_maps_are_cv2s_projection_of_the_pinholes_rays(model):
    """For pixel (x, y) of the pinhole, the map says where cv2 projects the ray through that pixel."""
    numbers, keys = LENSES[model]
    kind, settled = lens_of_list(model, numbers, "x")
    assert lens_of_keys(model, keys, "x") == (kind, settled)
    maps = np.stack(pull_maps(kind, settled, K, K, W, H), -1)
    corner = K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1).reshape(-1, 2)
    rays = np.concatenate([grid, np.ones((len(grid), 1))], 1) @ np.linalg.inv(corner).T
    zero = np.zeros(3)
    if "FISHEYE" in model:
        full = np.array([*numbers, 0, 0, 0, 0][:4])
        where, _ = cv2.fisheye.projectPoints(rays[:, None], zero, zero, corner, full)
    else:
        full = np.array([*numbers, 0, 0, 0, 0][: max(4, len(numbers))])
        where, _ = cv2.projectPoints(rays[:, None], zero, zero, corner, full)
    np.testing.assert_allclose(maps.reshape(-1, 2), where.reshape(-1, 2), atol=2e-3)
    if numbers:
        assert np.abs(maps.reshape(-1, 2) - grid).max() > 1, "the lens does something"


def test_four_numbers_without_a_name_are_opencvs():
    assert lens_of_list("OPENCV", (1, 2, 3, 4), "x") == ("opencv", (1, 2, 3, 4))
    assert lens_of_list("OPENCV", (0, 0, 0, 0), "x") == ("opencv", ())
    assert lens_of_list("OPENCV_FISHEYE", (0, 0, 0, 0), "x")[0] == "fisheye", "equidistant is no pinhole"


@pytest.mark.parametrize(
    ("model", "numbers", "words"),
    [
        ("FOV", (0.9,), "lens FOV"),
        ("THIN_PRISM_FISHEYE", (0.1,) * 8, "lens THIN_PRISM_FISHEYE"),
        ("OPENCV_FISHEYE", (0.1,) * 5, "5 numbers"),
        ("FULL_OPENCV", (0.1,) * 4, "4 numbers"),
        ("PINHOLE", (0.1,), "no distortion"),
        ("OPENCV", (0.1,) * 12, "12 numbers"),
    ],
)
def test_other_models_and_counts_are_refused_by_name(model, numbers, words):
    with pytest.raises(SceneError, match=words):
        lens_of_list(model, numbers, "x")


def test_keys_of_another_model_are_refused():
    with pytest.raises(SceneError, match="OPENCV has no k4"):
        lens_of_keys("OPENCV", {"k1": 0.1, "k4": 0.2}, "x")
    with pytest.raises(SceneError, match="OPENCV_FISHEYE has no p1"):
        lens_of_keys("OPENCV_FISHEYE", {"k1": 0.1, "p1": 0.2}, "x")
