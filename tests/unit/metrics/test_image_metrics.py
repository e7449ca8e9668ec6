"""PSNR and SSIM against their definitions and scikit-image."""

import math

import numpy as np
import pytest
import torch

from i4d.metrics.image import psnr, ssim


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 8, generator=generator), (37, 52), mode="bilinear"
    )[0]
    picture = smooth.permute(1, 2, 0)
    return picture, (picture + 0.1 * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def test_psnr_of_a_known_error():
    image = torch.full((4, 5, 3), 0.5)
    assert psnr(image, image + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert psnr(image, image) == math.inf


def test_psnr_counts_only_the_mask():
    image, reference = torch.zeros(4, 4, 3), torch.zeros(4, 4, 3)
    reference[0] = 1.0
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0] = True
    assert psnr(image, reference, mask) == pytest.approx(0.0, abs=1e-6)
    assert psnr(image, reference, ~mask) == math.inf
    with pytest.raises(ValueError, match="empty"):
        psnr(image, reference, torch.zeros_like(mask))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        psnr(torch.zeros(3, 4, 3), torch.zeros(4, 3, 3))
    with pytest.raises(ValueError, match="11"):
        ssim(torch.zeros(8, 20, 3), torch.zeros(8, 20, 3))


def test_both_agree_with_scikit_image(pictures):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = (p.double().numpy() for p in pictures)
    assert psnr(*pictures) == pytest.approx(metrics.peak_signal_noise_ratio(b, a, data_range=1), abs=1e-5)
    per_pixel = metrics.structural_similarity(
        a,
        b,
        channel_axis=-1,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]
    assert ssim(*pictures) == pytest.approx(per_pixel[5:-5, 5:-5].mean(), abs=1e-6)


def test_ssim_laws(pictures):
    a, b = pictures
    assert ssim(a, a) == pytest.approx(1.0)
    assert ssim(a, b) == pytest.approx(ssim(b, a))
    both = ssim(torch.stack([a, a]), torch.stack([a, b]))
    assert both == pytest.approx((1 + ssim(a, b)) / 2)
    assert not np.isclose(ssim(a, b), 1.0)
