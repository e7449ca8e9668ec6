"""Method `adaptive`: cameras lead and follow as with `key_views`, but every window, a leader's too, is
repainted as strongly as its warps leave it unexplained.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.config import Config
from i4d.schedules import key_frame
from i4d.schedules.key_views import led
from i4d.schedules.values import Plan
from i4d.types import EditSettings, Scene


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return the plan of a scene; one edited camera follows nobody. ConfigError as in `outline`."""
    adapting = replace(settings, adaptive=True)
    alone = len(scene.train_views) == 1
    return (key_frame.plan if alone else led)(scene, config, adapting)
