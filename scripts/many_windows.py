"""Drive 10,000 windows through 8 Ray editors that compute nothing: the driver's share of a core, its memory,
what is left behind.

    python scripts/many_windows.py --windows 10000 --editors 8

Needs a checkout (it uses tests/). CPU time is the whole driver process's, Ray's threads in it included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import uuid
from collections import deque
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])

from null_rig import SETTINGS, NullRig, config, scene  # noqa: E402

from i4d.driver import events  # noqa: E402
from i4d.driver.pool import Limits  # noqa: E402
from i4d.schedules.key_frame import make_plan  # noqa: E402

VIEWS = 100  # each a chain of windows of one frame


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Gauge:
    """Looks at the process at the first window and at every tenth of them after it."""

    def __init__(self, windows: int) -> None:
        self.windows, self.looks = windows, []

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.WindowStored) and (
            event.done == 1 or event.done % (self.windows // 10) == 0
        ):
            used = resource.getrusage(resource.RUSAGE_SELF)
            self.looks.append((event.done, time.monotonic(), used.ru_utime + used.ru_stime, resident_bytes()))


def orphans(mark: str) -> list[str]:
    """Return the processes that have inherited our mark, this one and its `ps` apart: other people's Ray may
    be running here.
    """
    out = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (place / "environ").read_bytes()
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (
            FileNotFoundError,
            ProcessLookupError,
            PermissionError,
        ):  # it has just ended, or is somebody else's
            continue
        if marked and int(place.name) != os.getpid() and words:
            out.append(f"{place.name} {words[:60]}")
    return out


def drive(windows: int, editors: int) -> dict:
    """Run and return the figures."""
    from i4d.exec.on_ray.executor import RayExecutor
    from i4d.exec.on_ray.session import connect

    frames = windows // VIEWS + 1
    big = scene(VIEWS, frames, 0)
    keys = {
        "rounds": 1,
        "key_steps": 1,
        "key_frame": 0,
        "sequence_length": 1,
        "fit_steps": 4,
        "refit_steps": 4,
    }
    gauge, work = Gauge(windows), Path(tempfile.mkdtemp(prefix="i4d-many-"))
    session = connect(dashboard=False, num_cpus=editors + 1)
    executor = RayExecutor("many", "PACK")
    try:
        rig = NullRig(work / "run", make_plan(big, config(**keys), SETTINGS), scene=big)
        rig.renders = lambda: []
        sinks = [gauge, lambda event: rig.folder.append_event(event.to_json())]
        rig.events = deque(maxlen=1)  # the test rig's own list of all events is no part of a driver
        rig.go(executor, editors, sinks, limits=Limits(60, 300))
    finally:
        executor.shutdown()
        session.close()
        shutil.rmtree(work, ignore_errors=True)
    (_, t0, cpu0, _), (done, t1, cpu1, _) = gauge.looks[0], gauge.looks[-1]
    rate, share = (done - 1) / (t1 - t0), (cpu1 - cpu0) / (t1 - t0)
    return {
        "windows": done,
        "editors": editors,
        "seconds": t1 - t0,
        "windows_per_s": rate,
        "driver_cpu_share": share,
        "cpu_ms_per_window": 1000 * (cpu1 - cpu0) / (done - 1),
        "core_share_per_100_windows_per_s": 100 * share / rate,
        "memory_mb": [round(look[3] / 1e6, 1) for look in gauge.looks],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--editors", type=int, default=8)
    asked = parser.parse_args()
    mark = os.environ["I4D_MANY_WINDOWS"] = uuid.uuid4().hex
    figures = drive(asked.windows, asked.editors)
    until = time.monotonic() + 20
    while orphans(mark) and time.monotonic() < until:
        time.sleep(0.5)  # processes take a moment to end
    print(json.dumps({**figures, "left_behind": orphans(mark)}, indent=1))


if __name__ == "__main__":
    main()
