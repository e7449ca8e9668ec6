"""What a run says before it begins."""

import io
from types import SimpleNamespace

from null_rig import SETTINGS, config, scene

from i4d.report.console import Console
from i4d.schedules.registry import scheduled_plan


def said(**keys):
    settings = config(rounds=1, **keys)
    settings.local.reference = "picture.png"
    told, plan = io.StringIO(), scheduled_plan(scene(4), settings, SETTINGS)
    Console(told, live=False).describe(
        SimpleNamespace(kind="edit", prompt="make it gold"), settings, scene(4), plan, 12
    )
    return told.getvalue()


def test_a_picture_that_cannot_carry_on_in_time_is_said_so():
    assert "windows start from noise" in said(refine_num_steps=1000) and "make it gold" in said(
        refine_num_steps=1000
    )
    assert "windows start from noise" not in said(refine_num_steps=600)
