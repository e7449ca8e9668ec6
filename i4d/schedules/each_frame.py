"""Method `each_frame`, for comparison: every frame of every edited view by itself, from the original, with
noise of its own; then the refit.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.config import Config
from i4d.schedules.comparison import alone, steps_each
from i4d.schedules.values import Chain, Plan, RoundPlan, WindowPlan
from i4d.types import EditSettings, Scene, Strength


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return all frames in windows of as equal size as can be, each a chain of its own, at full strength.
    ConfigError as in `outline`, and where the forwards do not suffice for one step per frame.
    """
    made, images = alone(scene, config, settings)
    count = -(-made.num_frames // made.batch)
    size = -(-made.num_frames // count)
    steps = steps_each(made, images, len(made.views) * count * size, config.schedule.diffusion_steps)
    chains = []
    for view in made.views:
        for index in range(count):
            frames = tuple(range(index * size, min((index + 1) * size, made.num_frames)))
            if frames:
                chains.append(Chain(view, "forward", (WindowPlan(index, frames, made.key_frame),)))
    part = RoundPlan(1, (), (), tuple(chains))
    return replace(made, batch=size, window_strength=Strength(1000, steps), rounds=(part,))
