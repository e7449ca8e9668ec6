"""Methods by name. An entry point `i4d.schedules` names a function `plan(scene, config, settings) -> Plan`.

`schedule.method` chooses one. What a method need not know is done here: a key frame that the user gives
(`--reference`), edits within a region (`--where`), and the laws that every plan obeys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from i4d.config import Config
from i4d.errors import ConfigError
from i4d.registry import Registry
from i4d.schedules.given_key_frame import reference_view, referring
from i4d.schedules.laws import check
from i4d.schedules.outline import outline
from i4d.schedules.values import Plan
from i4d.types import EditSettings, Scene

Method = Callable[[Scene, Config, EditSettings], Plan]

METHODS: Registry[Method] = Registry(
    "i4d.schedules",
    "schedule.method",
    {
        "key_frame": "i4d.schedules.key_frame:plan",
        "key_views": "i4d.schedules.key_views:plan",
        "adaptive": "i4d.schedules.adaptive:plan",
        "each_frame": "i4d.schedules.each_frame:plan",
        "in2n": "i4d.schedules.in2n:plan",
    },
)


def schedule_method(name: str) -> Method:
    """Return a method by its name; ConfigError names those there are."""
    return METHODS[name]


def scheduled_plan(scene: Scene, config: Config, settings: EditSettings, edits: bool = True) -> Plan:
    """Return the plan that `schedule.method` makes; without `edits` one that only reconstructs.

    ConfigError names the methods there are, what a method cannot do, and what is wrong with a plan; besides
    as the methods say.
    """
    name, local = config.schedule.method, config.local
    method = schedule_method(name)
    if not edits:
        return outline(scene, config, settings)
    plan = replace(method(scene, config, settings), method=name)
    check(plan)
    for option, asked, impossible in (
        ("--where", local.where, any(part.updates for part in plan.rounds)),
        ("--reference", local.reference, not all(part.key_steps for part in plan.rounds)),
    ):
        if asked and impossible:
            raise ConfigError(f"{option} does not go with schedule.method {name}", "use key_frame")
    return referring(plan, reference_view(scene, local.reference_camera)) if local.reference else plan
