"""A schedule: every frame is edited by itself, straight from its camera's key frame. No window waits for
another, so more editors are of use."""

from dataclasses import replace

from i4d.schedules.key_frame import make_plan
from i4d.schedules.outline import batch_of
from i4d.schedules.values import Chain, WindowPlan
from i4d.schedules.windows import along_time, sources_along


def plan(scene, config, settings):
    """Return the plan of a scene: key frames as ever, then windows of one frame."""
    made = make_plan(scene, config, settings)
    key, along = made.key_frame, along_time(config, settings)
    chains = []
    for view in made.views:
        for frame in sorted(set(range(made.num_frames)) - {key}):
            sources = sources_along(view, (frame,), key, key, *along)
            chains.append(Chain(view, "forward", (WindowPlan(frame, (frame,), key, sources),)))
    rounds = tuple(replace(part, chains=tuple(chains)) for part in made.rounds)
    return replace(made, rounds=rounds, batch=batch_of(1, settings))
