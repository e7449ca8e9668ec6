"""Plans of scenes with one edited camera: no other view to agree with, so the key frame is one edit and
windows follow it. `key_frame` and `adaptive` hand over to it (`schedule.single`).

The public code's schedule for them (docs/method.md, single camera): the key frame at T = 1000, then windows
at T = 700 in 5 steps; a second edit of the key frame at T = 800 and windows at T = 550 in 3 steps stand in it
and are never reached. `effective` is what it does, `intended` what it means to do: here a second round, which
starts from the refitted field's renders.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.config import Config
from i4d.schedules.outline import batch_of, outline
from i4d.schedules.values import KeyStep, Plan, RoundPlan, weakened
from i4d.schedules.windows import along_time, chains_of
from i4d.types import EditSettings, Scene, Strength

KEY_T, WINDOW = (1000, 800), (Strength(700, 5), Strength(550, 3))  # by pass


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return a plan of one view with the rounds of `schedule.single` "effective" or "intended" (at least
    two), further ones weaker by `schedule.round_share`. ConfigError as in `outline`.

    A window has `schedule.sequence_length` images, the anchor among them, as there.
    """
    made, schedule = outline(scene, config, settings), config.schedule
    passes = 1 if schedule.single == "effective" else 2
    (view,) = made.views
    new = max(1, schedule.sequence_length - 1)
    chains = chains_of(view, made.num_frames, made.key_frame, new, *along_time(config, settings))
    rounds = []
    for index in range(1, max(passes, schedule.rounds) + 1):
        at = min(index, passes) - 1
        share = schedule.round_share ** max(0, index - passes)
        key = Strength(KEY_T[at], max(1, int(schedule.diffusion_steps * KEY_T[at] / 1000)))
        step = KeyStep(0, (view,), weakened(key, share))
        rounds.append(RoundPlan(index, (step,), (), chains, strength_share=share, window_strength=WINDOW[at]))
    return replace(made, rounds=tuple(rounds), batch=batch_of(new, settings))
