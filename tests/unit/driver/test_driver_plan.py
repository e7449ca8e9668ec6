"""Laws of plans: every frame of every view is edited exactly once a round, in chains; figures of the paper's
main case.
"""

import dataclasses
import math

import pytest
from null_rig import SETTINGS, config, scene

from i4d.config import Config
from i4d.errors import ConfigError
from i4d.schedules.cost import advice, predicted_forwards, useful_editors
from i4d.schedules.key_frame import key_strength, make_plan
from i4d.schedules.windows import chains_of
from i4d.types import EditSettings


@pytest.mark.parametrize(
    "num_frames, key_frame, length", [(1, 0, 5), (7, 0, 3), (7, 6, 3), (24, 11, 5), (10, 4, 1), (50, 0, 5)]
)
def test_windows_cover_every_frame_but_the_key_frame_once_and_in_order(num_frames, key_frame, length):
    chains = chains_of(3, num_frames, key_frame, length)
    frames = [f for chain in chains for window in chain.windows for f in window.frames]
    assert sorted([*frames, key_frame]) == list(range(num_frames))
    indices = [window.index for chain in chains for window in chain.windows]
    assert indices == list(range(len(indices))), "ids of windows do not repeat within a view"
    for chain in chains:
        reference, sign = key_frame, 1 if chain.direction == "forward" else -1
        for window in chain.windows:
            assert window.reference_frame == reference and 1 <= len(window.frames) <= length
            assert [f - reference for f in window.frames] == [
                sign * (i + 1) for i in range(len(window.frames))
            ]
            reference = window.frames[-1]


def test_a_key_frame_in_the_middle_doubles_the_chains():
    assert len(chains_of(0, 9, 4, 2)) == 2 and len(chains_of(0, 9, 0, 2)) == 1 and chains_of(0, 1, 0, 2) == ()


def test_strengths_fall_from_all_the_way_to_eight_tenths():
    steps = [key_strength(i, 12, 20) for i in range(12)]
    assert (steps[0].T, steps[0].n) == (1000, 20)
    assert all(a.T >= b.T and a.n >= b.n for a, b in zip(steps, steps[1:], strict=False))
    assert steps[6].T == round(1000 * (0.8 + 0.1 * (1 + math.cos(math.pi / 2)))) == 900
    assert steps[-1].T > 800 and sum(s.n for s in steps) == 214  # 1,070 images of 5 cameras


def test_the_plan_of_the_authors_main_example():
    """17 cameras x 50 frames; docs/method.md, section 8, counts 1,070 + 90 images and 4,080 in windows."""
    settings = EditSettings("x", 9.5, 1.5, norm="joint")
    plan = make_plan(scene(18, 50, 1), Config(), settings)
    part = plan.rounds[0]
    assert [len(rest.views) for rest in part.rest] == [5, 5, 2]
    assert sum(len(s.sample) * s.strength.n for s in part.key_steps) == 1070
    assert part.num_windows == 170 and plan.batch == 6
    assert predicted_forwards(plan) == 3 * (1070 + 90 + 170 * 6 * 4)
    reused = make_plan(scene(18, 50, 1), Config(), EditSettings("x", 9.5, 1.5))
    assert predicted_forwards(reused) == 3 * (1070 + 90 + (170 * 5 + 17) * 4), (
        "the anchor is denoised once per view"
    )


@pytest.mark.parametrize("num_views", [1, 2, 5, 9])
def test_samples_are_of_the_edited_views_and_the_rest_is_repainted_once(num_views):
    plan = make_plan(scene(num_views + 1), config(key_views=5), SETTINGS)
    for part in plan.rounds:
        for step in part.key_steps:
            assert len(set(step.sample)) == len(step.sample) == min(5, num_views)
            assert set(step.sample) <= set(plan.views)
        rest = [v for window in part.rest for v in window.views]
        assert sorted([*rest, *part.key_steps[-1].sample]) == list(plan.views)
        assert {chain.view for chain in part.chains} == set(plan.views)


def test_plans_follow_from_the_seed():
    big = scene(10)
    first, again = make_plan(big, config(), SETTINGS), make_plan(big, config(), SETTINGS)
    assert first.digest() == again.digest()
    other = config()
    other.seed = 1
    assert make_plan(big, other, SETTINGS).digest() != first.digest()
    samples = [[step.sample for step in part.key_steps] for part in first.rounds]
    assert samples[0] != samples[1], "rounds draw their own samples"


def test_impossible_plans_name_the_key():
    with pytest.raises(ConfigError, match="schedule.key_frame = 8 .*0 to 7"):
        make_plan(scene(), config(key_frame=8), SETTINGS)
    with pytest.raises(ConfigError, match="holds out every camera"):
        make_plan(scene(2, 8, 2), config(), SETTINGS)


def test_useful_editors_are_bounded_by_chains():
    plan = make_plan(scene(4, 8, 1), config(key_frame=0), SETTINGS)
    assert useful_editors(plan) == 3 and advice(plan, 3) == ""
    assert "at most 3" in advice(plan, 4)
    assert useful_editors(make_plan(scene(4, 8, 1), config(key_frame=4), SETTINGS)) == 6
    assert useful_editors(make_plan(scene(), config(), SETTINGS, num_rounds=0)) == 1


def test_thresholds_are_in_world_units():
    metric = scene()
    metric = dataclasses.replace(metric, bounds=dataclasses.replace(metric.bounds, kind="box", unit=4.0))
    plan = make_plan(metric, config(), SETTINGS)
    assert (plan.match_threshold, plan.fill_threshold) == (0.2, 0.08)


def test_a_small_cards_batch_takes_windows_in_several_calls():
    small = config(key_steps=1, sequence_length=5, key_frame=0, rounds=1)
    whole = make_plan(scene(4, 11, 1), small, SETTINGS)
    small.editor.batch = 2
    plan = make_plan(scene(4, 11, 1), small, SETTINGS)
    assert (whole.batch, plan.batch) == (6, 3) and plan.digest() != whole.digest()
    assert plan.rounds[0].num_windows == whole.rounds[0].num_windows
    more = (
        3 * 2 * (3 * 2 - 5)
    ) * plan.window_strength.n  # three views, two windows each: three calls of two frames in place of five
    assert predicted_forwards(plan) - predicted_forwards(whole) == more * 3
    joint = EditSettings("night", 5.0, 1.5, norm="joint")
    assert make_plan(scene(4, 11, 1), small, joint).batch == 6


@pytest.mark.parametrize(
    "kind, near, unit, share, expected",
    [
        ("ndc", 1.0, 1.0, None, 0.05),  # N3DV: as ever
        ("ndc", 0.3, 1.0, None, 0.015),
        ("box", 0.1, 4.0, None, 0.2),
        ("contracted", 0.1, 4.0, None, 0.2),
        ("ndc", 1.0, 1.0, 0.1, 0.2),
        ("box", 0.1, 2.0, 0.1, 0.2),
    ],
)
def test_a_threshold_is_a_share_of_the_median_scene_depth(kind, near, unit, share, expected):
    rig, settings = scene(), config()
    settings.schedule.match_threshold = share
    bounds = dataclasses.replace(rig.bounds, kind=kind, near=near, unit=unit)
    plan = make_plan(dataclasses.replace(rig, bounds=bounds), settings, SETTINGS)
    assert plan.match_threshold == pytest.approx(expected)
    if share is None:
        assert plan.fill_threshold == pytest.approx(0.4 * expected)
