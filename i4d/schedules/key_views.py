"""Method `key_views`: a few cameras, chosen for coverage, are swept by windows as ever; each window of the
others starts from its own past (by flow) and from what the leaders show at the same instants (by depth), and
is repainted briefly (docs/method.md, section 5).
"""

from __future__ import annotations

from dataclasses import replace

from i4d.config import Config
from i4d.schedules.key_frame import make_plan
from i4d.schedules.leaders import leaders_of
from i4d.schedules.values import Plan, RoundPlan
from i4d.schedules.windows import seeing
from i4d.types import EditSettings, Scene, Strength


def plan(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return the plan of a scene; followers have a strength of their own. ConfigError as in `outline`."""
    brief = Strength(config.schedule.follow_num_steps, config.schedule.follow_diffusion_steps)
    return replace(led(scene, config, settings), follow_strength=brief)


def led(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return the plan of the key frame with leaders: as many as configured, or a third of the views, one at
    least. All windows have the same strength.
    """
    made = make_plan(scene, config, settings)
    wanted = config.schedule.leading_views or max(1, len(made.views) // 3)
    leaders = leaders_of(made.views, made.cameras, wanted)

    def following(part: RoundPlan) -> RoundPlan:
        chains = (c if c.view in leaders else seeing(c, leaders) for c in part.chains)
        return replace(part, chains=tuple(chains))

    rounds = tuple(following(part) for part in made.rounds)
    return replace(made, rounds=rounds, leaders=leaders, follow_strength=made.window_strength)
