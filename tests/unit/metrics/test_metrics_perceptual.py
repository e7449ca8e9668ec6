"""LPIPS: the published package's numbers on its own pictures, zero for equal images, and clear words without
weights.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i4d.errors import WeightsError
from i4d.metrics.perceptual import Lpips, find_lpips

WEIGHTS = Path(os.environ.get("I4D_SHARED", Path(__file__).parents[4] / "shared")) / "data" / "weights"
needs_weights = pytest.mark.skipif(
    not (WEIGHTS / "alexnet_features.pth").is_file(), reason="no LPIPS weights in ../shared/data/weights"
)


@pytest.fixture
def lpips(monkeypatch) -> Lpips:
    monkeypatch.setenv("I4D_LPIPS", str(WEIGHTS))
    return find_lpips()


def picture(name: str) -> torch.Tensor:
    return (
        torch.from_numpy(np.array(Image.open(WEIGHTS / "lpips_golden" / name).convert("RGB")))
        .permute(2, 0, 1)[None]
        .float()
        / 255
    )


@needs_weights
@pytest.mark.parametrize(("other", "distance"), [("ex_p0.png", 0.7219), ("ex_p1.png", 0.1376)])
def test_the_golden_pictures(lpips, other, distance) -> None:
    assert float(lpips(picture("ex_ref.png"), picture(other))) == pytest.approx(distance, abs=0.002)


@needs_weights
def test_equal_images_are_at_zero_and_more_noise_is_farther(lpips) -> None:
    image = picture("ex_ref.png")
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    assert float(lpips(image, image)) == 0
    near, far = (float(lpips(image, (image + s * noise).clamp(0, 1))) for s in (0.02, 0.1))
    assert 0 < near < far


@needs_weights
def test_it_can_be_a_loss(lpips) -> None:
    image = picture("ex_p0.png").requires_grad_()
    lpips(image, picture("ex_ref.png")).sum().backward()
    assert image.grad is not None and float(image.grad.abs().max()) > 0


def test_without_weights_it_says_where_it_looked(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("I4D_LPIPS", str(tmp_path))
    monkeypatch.setenv("I4D_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="alexnet-owt-7be5be79.pth.*not found in"):
        find_lpips()


def test_a_file_of_something_else_is_refused(monkeypatch, tmp_path) -> None:
    (tmp_path / "alexnet_features.pth").write_bytes(b"not a checkpoint")
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "lin_alex_v0.1.pth")
    monkeypatch.setenv("I4D_LPIPS", str(tmp_path))
    with pytest.raises(WeightsError, match="alexnet_features.pth"):
        find_lpips()
