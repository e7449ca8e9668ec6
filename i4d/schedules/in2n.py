"""Method `in2n`, for comparison: Instruct-NeRF2NeRF (Haque et al., ICCV 2023, section 3.2) carried to 4D.
While the field refits, a few frames at a time are rendered from it, edited each by itself under the condition
of their originals, and take their places in the training set.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from i4d.config import Config
from i4d.schedules.comparison import alone, steps_each
from i4d.schedules.values import Plan, RoundPlan, Update
from i4d.seeds import seed_for
from i4d.types import EditSettings, Scene, Strength

# shares of the 1000 timesteps that an update may noise to
STRONGEST, WEAKEST, STRONGEST_AT_LAST = 0.98, 0.02, 0.5


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return updates in random order, every frame once before any comes again, spread evenly over the refit's
    steps. ConfigError as in `each_frame`.

    Strengths are drawn between 0.02 and an upper end that falls from 0.98 to 0.5 of the timesteps (theirs:
    0.02 to 0.98 throughout).
    """
    made, images = alone(scene, config, settings)
    steps = steps_each(made, images, len(made.views) * made.num_frames, config.schedule.diffusion_steps)
    groups = _groups(made, images // steps)
    updates = []
    for index, (view, frames) in enumerate(groups):
        share = index / len(groups)
        high = STRONGEST + (STRONGEST_AT_LAST - STRONGEST) * share
        drawn = np.random.default_rng(seed_for(made.seed, 1, view, index, "strength")).uniform(WEAKEST, high)
        strength = Strength(max(steps, round(1000 * float(drawn))), steps)
        updates.append(Update(index, view, frames, int(share * made.refit_steps), strength))
    return replace(made, rounds=(RoundPlan(1, (), (), (), tuple(updates)),))


def _groups(made: Plan, left: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return views and frames of `left` edits, lap after lap over all frames."""
    groups: list[tuple[int, tuple[int, ...]]] = []
    cycle = 0
    while left > 0:
        rng = np.random.default_rng(seed_for(made.seed, 1, None, cycle, "updates"))
        lap = []
        for view in made.views:
            frames = [int(f) for f in rng.permutation(made.num_frames)]
            lap += [(view, tuple(frames[i : i + made.batch])) for i in range(0, len(frames), made.batch)]
        for place in rng.permutation(len(lap)):
            view, some = lap[place]
            if some := some[:left]:
                groups.append((view, some))
                left -= len(some)
        cycle += 1
    return groups
