"""Method `key_frame`: joint edits of the key frame across cameras, then every camera's windows outwards from
it. Constants: docs/method.md, sections 3 and 4.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from i4d.config import Config
from i4d.schedules import single
from i4d.schedules.outline import outline
from i4d.schedules.values import KeyStep, Plan, RestWindow, RoundPlan, weakened
from i4d.schedules.windows import along_time, chains_of
from i4d.seeds import seed_for
from i4d.types import EditSettings, Scene, Strength


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return the plan of a scene; one edited camera has a schedule of its own unless `schedule.single` is
    off. ConfigError as in `outline`.
    """
    if len(scene.train_views) == 1 and config.schedule.single != "off":
        return single.plan(scene, config, settings)
    return make_plan(scene, config, settings)


def make_plan(scene: Scene, config: Config, settings: EditSettings, num_rounds: int | None = None) -> Plan:
    """Return the plan for any number of cameras. `num_rounds` overrides the configuration (0: reconstruct
    only).
    """
    made = outline(scene, config, settings)
    count = config.schedule.rounds if num_rounds is None else num_rounds
    return replace(made, rounds=tuple(_round(made, config, index) for index in range(1, count + 1)))


def key_strength(step: int, num_steps: int, diffusion_steps: int) -> Strength:
    """Return how far key-frame step `step` of `num_steps` noises: all the way at first, 0.8 of it at the
    end.
    """
    scale = 0.8 + 0.1 * (1 + math.cos(math.pi * step / num_steps))
    return Strength(round(1000 * scale), max(1, int(diffusion_steps * scale)))


def _round(made: Plan, config: Config, index: int) -> RoundPlan:
    schedule, views = config.schedule, made.views
    size = made.rest_batch
    share = 1.0 if schedule.accumulate else schedule.round_share ** (index - 1)
    steps = []
    for step in range(schedule.key_steps):
        rng = np.random.default_rng(seed_for(config.seed, index, None, step, "sample"))
        sample = tuple(views[i] for i in rng.choice(len(views), size, replace=False))
        full = key_strength(step, schedule.key_steps, schedule.diffusion_steps)
        steps.append(KeyStep(step, sample, weakened(full, share)))
    rest = [v for v in views if v not in steps[-1].sample]
    windows = tuple(RestWindow(i, tuple(rest[a : a + size])) for i, a in enumerate(range(0, len(rest), size)))
    cut = made.num_frames, made.key_frame, schedule.sequence_length, *along_time(config, made.settings)
    chains = tuple(chain for view in views for chain in chains_of(view, *cut))
    return RoundPlan(index, tuple(steps), windows, chains, strength_share=share)
