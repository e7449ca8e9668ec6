"""A process that plays one small run again and again, killed at every event in turn, and resumes each: prints
JSON.

Children are forked from here, so that each costs its run and not its imports; each is ended by SIGKILL from
within, in the middle of telling the event, with its services as threads of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.exec.local import LocalExecutor
from i4d.schedules.key_frame import make_plan

LIMITS = Limits(20, 60, poll_s=0.05, save_every_s=0.0, call_goal_s=60.0)


def play(path: Path, kill_at: int, fresh: bool, told: Path) -> None:
    """Drive the run; SIGKILL at event number `kill_at` (0: never), else write what it came to."""
    rig_scene = scene(num_views=4, num_frames=7, held_out=1)
    keys = {"rounds": 1, "key_steps": 1, "key_views": 2, "key_frame": 0, "fit_steps": 8, "refit_steps": 8}
    rig = NullRig(path, make_plan(rig_scene, config(**keys), SETTINGS), fresh=fresh, scene=rig_scene)
    seen = []

    def die(event: events.Event) -> None:
        seen.append(event)
        with open(told.with_suffix(".events"), "a") as file:
            if isinstance(event, events.WorkDone) and not event.reused:
                file.write(event.task + "\n")
        if len(seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    result = rig.go(LocalExecutor(), 2, [die], limits=LIMITS)
    kinds = [type(e).__name__ for e in seen]
    told.write_text(json.dumps({"digest": result.digest, "renders": result.renders, "kinds": kinds}))


def in_child(*arguments) -> int:
    """Return the wait status of a forked process that plays."""
    child = os.fork()
    if child == 0:
        try:
            play(*arguments)
        finally:
            sys.stdout.flush()
            os._exit(1 if sys.exc_info()[0] else 0)
    return os.waitpid(child, 0)[1]


def main(folder: Path) -> None:
    assert in_child(folder / "whole", 0, True, folder / "whole.json") == 0
    whole = json.loads((folder / "whole.json").read_text())
    out = {"whole": whole, "killed": []}
    for k in range(1, len(whole["kinds"]) + 1):
        told = folder / f"{k:03d}.json"
        status = in_child(folder / f"run-{k:03d}", k, True, told)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (k, status)
        assert in_child(folder / f"run-{k:03d}", 0, False, told) == 0, k
        done = told.with_suffix(".events").read_text().split()
        out["killed"].append({"at": whole["kinds"][k - 1], "work": done, **json.loads(told.read_text())})
    print(json.dumps(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
