"""A schedule that nobody can carry out."""

from dataclasses import replace

from i4d.schedules.key_frame import make_plan


def twice(scene, config, settings):
    """Return a plan that edits frames twice a round."""
    made = make_plan(scene, config, settings)
    return replace(made, rounds=tuple(replace(part, chains=part.chains * 2) for part in made.rounds))
