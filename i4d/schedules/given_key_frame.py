"""Plans whose key frame is given by the user in one camera (`--reference`): the others take it over by depth
and a repaint.

Instead of joint edits there is one step without the network: the given picture, warped through depth into
every other view. Where it reaches nowhere the original stands; then the other views are repainted in windows
that are anchored on the given one, and take it over by three quarters once more where they see it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from i4d.errors import ConfigError
from i4d.schedules.values import KeyStep, Plan, RestWindow
from i4d.types import Scene, Strength


def reference_view(scene: Scene, camera: str) -> int:
    """Return the view whose key frame is given: the named camera, else the edited one nearest to the middle
    of the edited ones.

    ConfigError where the named one is not edited.
    """
    names = {scene.cameras[view].name: view for view in scene.train_views}
    if camera and camera not in names:
        raise ConfigError(
            f"--reference-camera {camera}: no edited camera", f"edited cameras: {', '.join(names)}"
        )
    if camera:
        return names[camera]
    centres = {view: scene.cameras[view].centre for view in scene.train_views}
    middle = np.mean(list(centres.values()), 0)
    return min(centres, key=lambda view: (float(np.linalg.norm(centres[view] - middle)), view))


def referring(plan: Plan, view: int) -> Plan:
    """Return a plan whose key stages begin with a given picture of a view; `Plan.reference` is to be filled
    in.
    """
    batch = max(2, plan.rest_batch) if len(plan.views) > 1 else plan.rest_batch
    others = [other for other in plan.views if other != view]
    rest = tuple(
        RestWindow(i, (view, *others[a : a + batch - 1]))
        for i, a in enumerate(range(0, len(others), max(1, batch - 1)))
    )
    step = KeyStep(0, (view,), Strength(1, 1))
    rounds = tuple(replace(part, key_steps=(step,), rest=rest) for part in plan.rounds)
    return replace(plan, rounds=rounds, rest_batch=batch, key_shares=1, reference_view=view)
