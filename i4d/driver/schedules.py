"""Plans other than the plain one: cameras that follow others, and what the method is compared with, for the
same services.

`key_views`: a few cameras, chosen for coverage, are swept by windows as ever; each window of the others
starts from its own past (by flow) and from what the leaders show at the same instants (by depth), and is
repainted briefly (method page, section 5). `adaptive`: the same order, but every window, a leader's too, is
repainted as strongly as its warps leave it unexplained. `each_frame`: every frame of every edited view by
itself, from the original, with noise of its own; then the refit. `in2n`: Instruct-NeRF2NeRF (Haque et al.,
ICCV 2023, section 3.2) carried to 4D: while the field refits, a few frames at a time are rendered from it,
edited each by itself under the condition of their originals, and take their places in the training set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from i4d.config import Config
from i4d.driver.coverage import leaders_of
from i4d.driver.plan import (
    Chain,
    Plan,
    RoundPlan,
    Update,
    WindowPlan,
    branches,
    make_plan,
    predicted_forwards,
)
from i4d.driver.reference import reference_view, referring
from i4d.driver.single import single_plan
from i4d.errors import ConfigError
from i4d.seeds import seed_for
from i4d.types import EditSettings, Scene, Strength

STRONGEST, WEAKEST, STRONGEST_AT_LAST = (
    0.98,
    0.02,
    0.5,
)  # shares of the 1000 timesteps that an update of in2n may noise to


def scheduled_plan(
    scene: Scene, config: Config, settings: EditSettings, num_rounds: int | None = None
) -> Plan:
    """Return the plan that `schedule.method` asks for; those of comparison have one round and spend
    `schedule.forwards`.

    ConfigError as in `make_plan`, where the forwards do not suffice for one step per frame, or where a
    comparison is to be local.
    """
    local, plan = config.local, _of_method(scene, config, settings, num_rounds)
    for option, asked, methods in (
        ("--where", local.where, ("in2n",)),
        ("--reference", local.reference, ("in2n", "each_frame")),
    ):
        if asked and plan.rounds and plan.method in methods:
            raise ConfigError(
                f"{option} does not go with schedule.method {plan.method}",
                "that is for comparison; use key_frame",
            )
    if not local.reference or not plan.rounds:
        return plan
    return referring(plan, reference_view(scene, local.reference_camera))


def _of_method(scene: Scene, config: Config, settings: EditSettings, num_rounds: int | None) -> Plan:
    plan = make_plan(scene, config, settings, num_rounds)
    schedule, method = config.schedule, config.schedule.method
    if method in ("key_frame", "adaptive") and len(plan.views) == 1 and schedule.single != "off":
        plan = single_plan(
            plan, schedule.single, schedule.diffusion_steps, schedule.sequence_length, schedule.round_share
        )
    if method == "key_frame" or not plan.rounds or (method == "adaptive" and len(plan.views) == 1):
        return replace(plan, method=method)
    if method in ("key_views", "adaptive"):
        return following(plan, config)
    images = (config.schedule.forwards or predicted_forwards(plan)) // branches(settings)
    alone = replace(settings, attention="own", norm="frame", noise="frame", flow="none", blend=0)
    plan = replace(plan, settings=alone, method=method, batch=config.schedule.sequence_length)
    return (_each_frame if method == "each_frame" else _in2n)(plan, images, config.schedule.diffusion_steps)


def following(plan: Plan, config: Config) -> Plan:
    """Return the plan with leaders: as many as configured, or a third of the views, one at least; all of them
    where there is one view.

    `key_views` gives followers a strength of their own; `adaptive` windows are all adapted from the same one.
    """
    schedule = config.schedule
    leaders = leaders_of(plan.views, plan.cameras, schedule.leading_views or max(1, len(plan.views) // 3))
    brief = Strength(schedule.follow_num_steps, schedule.follow_diffusion_steps)
    follow_strength = brief if schedule.method == "key_views" else plan.window_strength
    return replace(plan, method=schedule.method, leaders=leaders, follow_strength=follow_strength)


def _steps(plan: Plan, images: int, batched: int, most: int) -> int:
    """Return how many steps each of `batched` images can be given, at most those of a full edit."""
    if images < batched:
        needed = batched * branches(plan.settings)
        raise ConfigError(
            f"schedule.forwards is too little for schedule.method {plan.method}",
            f"one step per frame takes {needed}",
        )
    return min(images // batched, most)


def _each_frame(plan: Plan, images: int, most: int) -> Plan:
    """Return all frames in windows of as equal size as can be, each a chain of its own, at full strength."""
    count = -(-plan.num_frames // plan.batch)
    size = -(-plan.num_frames // count)
    steps = _steps(plan, images, len(plan.views) * count * size, most)
    chains = []
    for view in plan.views:
        for index in range(count):
            frames = tuple(range(index * size, min((index + 1) * size, plan.num_frames)))
            if frames:
                chains.append(Chain(view, "forward", (WindowPlan(index, frames, plan.key_frame),)))
    return replace(
        plan, batch=size, window_strength=Strength(1000, steps), rounds=(RoundPlan(1, (), (), tuple(chains)),)
    )


def _in2n(plan: Plan, images: int, most: int) -> Plan:
    """Return updates in random order, every frame once before any comes again, spread evenly over the refit's
    steps.

    Strengths are drawn between 0.02 and an upper end that falls from 0.98 to 0.5 of the timesteps (theirs:
    0.02 to 0.98 throughout).
    """
    steps = _steps(plan, images, len(plan.views) * plan.num_frames, most)
    left, groups, cycle = images // steps, [], 0
    while left > 0:
        rng = np.random.default_rng(seed_for(plan.seed, 1, None, cycle, "updates"))
        lap = []
        for view in plan.views:
            frames = [int(f) for f in rng.permutation(plan.num_frames)]
            lap += [(view, tuple(frames[i : i + plan.batch])) for i in range(0, len(frames), plan.batch)]
        for place in rng.permutation(len(lap)):
            view, frames = lap[place]
            if frames := frames[:left]:
                groups.append((view, frames))
                left -= len(frames)
        cycle += 1
    updates = []
    for index, (view, frames) in enumerate(groups):
        share = index / len(groups)
        high = STRONGEST + (STRONGEST_AT_LAST - STRONGEST) * share
        drawn = np.random.default_rng(seed_for(plan.seed, 1, view, index, "strength")).uniform(WEAKEST, high)
        strength = Strength(max(steps, round(1000 * float(drawn))), steps)
        updates.append(Update(index, view, frames, int(share * plan.refit_steps), strength))
    return replace(plan, rounds=(RoundPlan(1, (), (), (), tuple(updates)),))
