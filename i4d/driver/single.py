"""Plans of scenes with one edited camera: no other view to agree with, so the key frame is one edit and
windows follow it.

The public code's schedule for them (docs/method.md, single camera): the key frame at T = 1000, then windows
at T = 700 in 5 steps; a second edit of the key frame at T = 800 and windows at T = 550 in 3 steps stand in it
and are never reached. `effective` is what it does, `intended` what it means to do: here a second round, which
starts from the refitted field's renders.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.driver.plan import Chain, KeyStep, Plan, RoundPlan, chains_of, weakened
from i4d.types import Strength

KEY_T, WINDOW = (1000, 800), (Strength(700, 5), Strength(550, 3))  # by pass


def single_plan(plan: Plan, kind: str, diffusion_steps: int, length: int, round_share: float) -> Plan:
    """Return a plan of one view with the rounds of `kind` "effective" or "intended" (at least two), further
    ones weaker by `round_share`.

    A window has `length` images, the anchor among them, as there.
    """
    passes = 1 if kind == "effective" else 2
    count = max(passes, len(plan.rounds)) if plan.rounds else 0
    new = max(1, length - 1)
    chains = chains_of(plan.views[0], plan.num_frames, plan.key_frame, new)
    rounds = tuple(
        _round(index, plan.views[0], chains, passes, diffusion_steps, round_share)
        for index in range(1, count + 1)
    )
    return replace(plan, rounds=rounds, batch=new + (plan.settings.attention != "own"))


def _round(
    index: int, view: int, chains: tuple[Chain, ...], passes: int, steps: int, round_share: float
) -> RoundPlan:
    at = min(index, passes) - 1
    share = round_share ** max(0, index - passes)
    key = Strength(KEY_T[at], max(1, int(steps * KEY_T[at] / 1000)))
    step = KeyStep(0, (view,), weakened(key, share))
    return RoundPlan(index, (step,), (), chains, strength_share=share, window_strength=WINDOW[at])
