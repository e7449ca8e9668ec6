"""The sampler against diffusers where they agree, against worked numbers, and at zero terminal SNR."""

import pytest
import torch

from i4d.editors.instruct_pix2pix.schedule import Schedule, stable_diffusion_schedule
from i4d.editors.noise import step
from i4d.errors import ConfigError
from i4d.types import Strength

TRAILING = Schedule(torch.linspace(0.999, 0.0, 1000, dtype=torch.float64), "v_prediction", "trailing")


@pytest.mark.parametrize(
    "schedule,T,n,expected",
    [
        (stable_diffusion_schedule(), 600, 4, [451, 301, 151, 1]),
        (stable_diffusion_schedule(), 1000, 20, list(range(951, 0, -50))),
        (stable_diffusion_schedule(), 700, 6, [581, 465, 349, 233, 117, 1]),
        (TRAILING, 1000, 4, [999, 749, 499, 249]),
        (TRAILING, 600, 4, [599, 449, 299, 149]),
    ],
)
def test_timesteps_are_those_of_the_method(schedule, T, n, expected):
    assert schedule.timesteps(Strength(T, n)) == expected


def test_alpha_at_451_is_that_of_the_full_schedule_not_of_a_squeezed_one():
    assert abs(stable_diffusion_schedule().level(451).signal ** 2 - 0.346) < 5e-4


@pytest.mark.parametrize("T,n", [(0, 0), (1001, 4), (3, 4), (600, 0)])
def test_a_strength_that_does_not_fit_is_refused(T, n):
    with pytest.raises(ConfigError, match="strength"):
        stable_diffusion_schedule().timesteps(Strength(T, n))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_full_denoising_equals_diffusers(prediction, spacing):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1 if spacing == "leading" else 0,
        prediction_type=prediction,
        timestep_spacing=spacing,
        rescale_betas_zero_snr=spacing == "trailing" and prediction != "epsilon",
    )
    ours = Schedule(theirs.alphas_cumprod.double(), prediction, spacing)
    theirs.set_timesteps(10)
    timesteps = ours.timesteps(Strength(1000, 10))
    assert timesteps == theirs.timesteps.tolist()
    x = y = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    for t, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        output = torch.tanh(x.roll(1, -1))
        x = step(x, output, ours.level(t), ours.level(following), ours.prediction)
        y = theirs.step(output, t, y).prev_sample
        torch.testing.assert_close(x, y, atol=2e-5, rtol=2e-5)


def test_a_perfect_model_brings_the_image_back():
    clean, noise = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    for schedule in (stable_diffusion_schedule(), TRAILING):
        plan = schedule.plan(Strength(1000, 5))
        x = plan.noised(clean, noise, 0)
        for index, level in enumerate(plan.levels[:-1]):
            velocity = level.signal * noise - level.spread * clean
            x = plan.step(x, noise if schedule.prediction == "epsilon" else velocity, index)
        torch.testing.assert_close(x, plan.noised(clean, noise, plan.num_steps), atol=1e-3, rtol=1e-3)


def test_only_a_trailing_schedule_at_full_strength_starts_from_noise():
    assert TRAILING.plan(Strength(1000, 4)).from_noise and not TRAILING.plan(Strength(999, 4)).from_noise
    assert not stable_diffusion_schedule().plan(Strength(1000, 20)).from_noise
    assert TRAILING.level(999).signal == 0.0
