"""A run of many short windows, for what shares a call: twelve chains of eight windows."""

from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver.pool import Limits
from i4d.schedules.key_frame import make_plan

SHORT = {"rounds": 1, "key_steps": 1, "key_frame": 0, "sequence_length": 1, "fit_steps": 4, "refit_steps": 4}
ALONE, TOGETHER = (Limits(timeout_s=20, start_timeout_s=60, poll_s=0.02, together_s=s) for s in (0.0, 5.0))


class Remembering:
    """For an executor: remembers which windows went together."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def call_together(self, handle, calls):
        self.messages.append([f"r1/v{task.view:02d}/w{task.window:02d}" for _, task in calls])
        return super().call_together(handle, calls)


def together_rig(path, **faults):
    """Return the run; all editors share what goes wrong (see faulty_services)."""
    many = scene(13, 9, 1)
    out = NullRig(path, make_plan(many, config(**SHORT), SETTINGS), scene=many)
    plain = out.specs

    def specs(editors, delay_s=0.0):
        first, *rest = plain(editors, delay_s)
        marks = {"marks": str(path), **faults}
        return [
            first,
            *(type(s)(s.name, "faulty_services:FaultyEditor", {**s.kwargs, **marks}) for s in rest),
        ]

    out.specs = specs
    return out
