"""What the methods that i4d is compared with share: every frame is edited by itself, with as many passes of
the network as the method would spend.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.config import Config
from i4d.errors import ConfigError
from i4d.schedules.cost import branches, predicted_forwards
from i4d.schedules.key_frame import make_plan
from i4d.schedules.values import Plan
from i4d.types import EditSettings, Scene


def alone(scene: Scene, config: Config, settings: EditSettings) -> tuple[Plan, int]:
    """Return a plan without rounds whose frames look at nobody, and how many images it may put through the
    network: those of `schedule.forwards`, or as many as the method `key_frame` would.
    """
    made = make_plan(scene, config, settings)
    images = (config.schedule.forwards or predicted_forwards(made)) // branches(settings)
    apart = replace(settings, attention="own", norm="frame", noise="frame", flow="none", blend=0)
    return replace(made, settings=apart, batch=config.schedule.sequence_length, rounds=()), images


def steps_each(plan: Plan, images: int, batched: int, most: int) -> int:
    """Return how many steps each of `batched` images can be given, at most those of a full edit; ConfigError
    where it is not one.
    """
    if images < batched:
        raise ConfigError(
            f"schedule.forwards is too little for schedule.method {plan.method}",
            f"one step per frame takes {batched * branches(plan.settings)}",
        )
    return min(images // batched, most)
