"""A driver in a process of its own: one small run (3 views, 3 windows each, 48x36) with null services over
Ray, or its resume.

    python drive_null.py RUN ADDRESS [--editors 3] [--delay 0.2] [--resume]

Prints the digests as JSON when it has ended; events and pids are in RUN/events.jsonl as they happen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver.pool import Limits
from i4d.driver.rounds import run
from i4d.errors import I4DError
from i4d.exec.ending import leave
from i4d.exec.local import LocalExecutor
from i4d.schedules.key_frame import make_plan

LIMITS = Limits(timeout_s=20, start_timeout_s=60, poll_s=0.1, save_every_s=0.5, call_goal_s=0.3, place_s=8.0)


def rig_for(path: Path, fresh: bool, storage: str = "") -> NullRig:
    """Return the run: one round, barrier, the key frame first."""
    small = scene(4, 7, 1, 48, 36)
    keys = {"rounds": 1, "key_steps": 1, "key_views": 2, "key_frame": 0, "fit_steps": 12, "refit_steps": 12}
    return NullRig(
        path, make_plan(small, config(**keys), SETTINGS), fresh=fresh, scene=small, storage=storage
    )


def specs_for(rig: NullRig, editors: int, delay_s: float, num_cpus: float) -> list:
    """Return the services, each on its core; editors count what they compute."""
    out = []
    for spec in rig.specs(editors, delay_s):
        if spec.name == "trainer":
            spec = dataclasses.replace(spec, kwargs={**spec.kwargs, "delay_s": min(delay_s, 0.5)})
        else:
            kwargs = {**spec.kwargs, "marks": str(rig.path)}
            spec = dataclasses.replace(spec, import_path="faulty_services:CountingEditor", kwargs=kwargs)
        out.append(dataclasses.replace(spec, num_cpus=num_cpus))
    return out


def drive(
    path: Path,
    address: str,
    editors: int,
    delay: float,
    resume: bool,
    strategy: str,
    storage: str,
    joining: int,
    linger: float,
) -> dict:
    """Carry the run out and return its digests; an empty address means threads of this process."""
    if not address:
        executor, close = LocalExecutor(), lambda: None
    else:
        from i4d.exec.on_ray.executor import RayExecutor
        from i4d.exec.on_ray.session import connect

        close = connect(address).close
        executor = RayExecutor(path.name, strategy)
    rig = rig_for(path, not resume, storage)
    sinks = [lambda e: rig.folder.append_event(e.to_json())]
    if address:
        from i4d.exec.on_ray.metrics import published

        measure = published(path.name)
        sinks.append(lambda e: measure(e.to_json()))
    specs = specs_for(rig, editors + joining, delay, 1.0 if address else 0.0)
    specs, later = specs[: 1 + editors], specs[1 + editors :]
    handles = executor.start_all(specs, 90)
    try:
        waiting = [executor.start_later(spec) for spec in later]
        result = run(
            rig.plan,
            rig.originals,
            rig.folder,
            executor,
            handles[1:],
            handles[0],
            sinks,
            limits=LIMITS,
            renders=rig.renders(),
            joining=waiting,
        )
        time.sleep(linger)
    finally:
        executor.shutdown()
        close()
    return {"digest": result.digest, "table": result.table.digest(), "stopped": result.stopped}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("--editors", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--strategy", default="SPREAD")
    parser.add_argument("--storage", default="")
    parser.add_argument("--joining", type=int, default=0, help="editors that come up when there is room")
    parser.add_argument(
        "--linger", type=float, default=0.0, help="seconds to stay after the run, for those who scrape"
    )
    asked = vars(parser.parse_args())
    try:
        print(json.dumps(drive(asked.pop("run"), **asked)))
        leave(0)
    except I4DError as err:
        print(f"error: {err}", file=sys.stderr)
        leave(err.exit_code)


if __name__ == "__main__":
    main()
