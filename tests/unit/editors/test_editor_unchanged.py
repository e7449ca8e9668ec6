"""Pixels that an edit only copied come back from the original; what it changed stands, and so do fine
strokes.
"""

import torch

from i4d.editors.unchanged import changed_share, with_unchanged_given_back


def picture(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((2, 3, 6, 8), generator=generator)
    return torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear") * 0.8 + 0.1


def copy_of(original: torch.Tensor, noise: float = 0.015) -> torch.Tensor:
    return (original + noise * torch.randn(original.shape, generator=torch.Generator().manual_seed(9))).clamp(
        0, 1
    )


def test_a_mere_copy_is_replaced_by_its_original() -> None:
    original = picture()
    assert torch.equal(with_unchanged_given_back(copy_of(original), original), original)


def test_a_changed_object_stands_and_its_surroundings_come_back() -> None:
    original = picture()
    edited = copy_of(original)
    edited[:, :, 16:32, 16:32] = torch.tensor([0.95, 0.8, 0.1])[:, None, None]
    out = with_unchanged_given_back(edited, original)
    assert torch.allclose(out[:, :, 18:30, 18:30], edited[:, :, 18:30, 18:30], atol=1e-6)
    assert torch.equal(out[:, :, :13], original[:, :, :13])
    assert torch.equal(out[:, :, :, 36:], original[:, :, :, 36:])


def test_a_whole_image_change_stands_everywhere() -> None:
    original = picture()
    edited = (original * 0.4).clamp(0, 1)
    changed = (edited - original).abs().amin(1) > 0.06  # where even the least changed channel moved
    assert torch.allclose(with_unchanged_given_back(edited, original), edited, atol=0.02)
    assert float(changed_share(edited, original)[changed[:, None]].min()) > 0.8


def test_fine_strokes_of_the_same_mean_colour_are_a_change() -> None:
    original = torch.full((1, 3, 24, 24), 0.5)
    strokes = original.clone()
    strokes[..., ::2] += 0.15
    strokes[..., 1::2] -= 0.15
    assert torch.allclose(with_unchanged_given_back(strokes, original), strokes, atol=1e-6)
