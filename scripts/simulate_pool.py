"""Run the real planner over simulated editors on a simulated clock: what dispatch costs, and what the chains
allow.

    python scripts/simulate_pool.py                                 100,000 windows over 1,000 editors
    python scripts/simulate_pool.py --views 17 --frames 50 --editors 8 --key-s 6.4 --key-shares 4

Plan, jobs, dispatch loop, pool and journal are those of a run; an editor is a number of seconds per call,
with some jitter. Printed beside the simulated time: the bound that the chains set (a chain's windows wait for
one another) and that of the work (all over all editors).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from i4d.config import Config  # noqa: E402
from i4d.driver.events import Emitter  # noqa: E402
from i4d.driver.jobs import Job  # noqa: E402
from i4d.driver.journal import Journal  # noqa: E402
from i4d.driver.key_stage import anchors, key_jobs  # noqa: E402
from i4d.driver.pool import EditorPool, Limits  # noqa: E402
from i4d.driver.retry import RetryPolicy  # noqa: E402
from i4d.driver.stages import Look, window_jobs  # noqa: E402
from i4d.driver.windows import EditLoop  # noqa: E402
from i4d.schedules.key_frame import make_plan  # noqa: E402
from i4d.schedules.values import Plan  # noqa: E402
from i4d.types import (  # noqa: E402
    BlockRef,
    Bounds,
    Camera,
    EditReceipt,
    EditSettings,
    FrameAddress,
    KeyFrameTask,
    Scene,
    WindowTask,
    WorkerInfo,
)


@dataclass(frozen=True)
class Named:
    name: str


class Simulated:
    """An executor whose calls take simulated seconds: `seconds` per method, times up to 1 + `jitter`."""

    def __init__(self, seconds: dict[str, float], jitter: float, seed: int = 0) -> None:
        self.now = 0.0
        self.busy: dict[str, float] = {}
        self._seconds, self._jitter, self._random = seconds, jitter, random.Random(seed)
        self._free_at: dict[str, float] = {}
        self._calls: dict[int, tuple[str, str, Any, float]] = {}
        self._ends: list[tuple[float, int]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now

    def call(self, handle: Named, method: str, *args: Any) -> int:
        ticket = next(self._numbers)
        task = args[0] if args else None
        kind = "agree" if isinstance(task, KeyFrameTask) and task.edited else method
        took = self._seconds.get(kind, 0.0)
        if method == "repaint" and task.share is not None:
            took = self._seconds["edit_key_frame"] * task.batch / self._seconds["key_batch"]
        took *= 1 + self._jitter * self._random.random()
        began = max(self.now, self._free_at.get(handle.name, 0.0))
        self._free_at[handle.name] = began + took
        self.busy[handle.name] = self.busy.get(handle.name, 0.0) + took
        heapq.heappush(self._ends, (began + took, ticket))
        self._calls[ticket] = (handle.name, method, task, took)
        return ticket

    def call_together(self, handle: Named, calls: list[tuple[str, Any]]) -> list[int]:
        return [self.call(handle, method, task) for method, task in calls]

    def wait(self, tickets: list[int], timeout_s: float) -> list[int]:
        if not self._ends:
            return []
        self.now, first = heapq.heappop(self._ends)
        done = [first]
        while self._ends and self._ends[0][0] <= self.now:
            done.append(heapq.heappop(self._ends)[1])
        return done

    def result(self, ticket: int) -> Any:
        name, method, task, took = self._calls.pop(ticket)
        if method == "warm_up":
            return WorkerInfo(name, "cpu", "", "", 0, 0.0)
        rows = len(task.frames) if isinstance(task, WindowTask) else len(task.views)
        return EditReceipt(
            str(ticket), BlockRef(f"block{ticket}", rows, (), "uint8", 1), name, "cpu", self.now, took, 0
        )


class Nowhere:
    """A record that keeps nothing."""

    def records(self) -> list:
        return []

    def append(self, *records: dict) -> None:
        pass

    def stored(self, digest: str) -> bool:
        return True

    def stop_requested(self) -> bool:
        return False


class Originals:
    """A frame table of one block per view."""

    def lookup(self, view: int, frame: int) -> FrameAddress:
        return FrameAddress(f"view{view}", frame)


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the real plan of a rig of so many cameras."""
    config = Config()
    config.schedule.sequence_length, config.schedule.key_shares = args.window, args.key_shares
    config.schedule.propagation = args.propagation
    camera = Camera("c", 8, 8, np.eye(3), np.eye(4))
    cameras = tuple(camera for _ in range(args.views))
    scene = Scene(
        "simulated",
        cameras,
        args.frames,
        25.0,
        Bounds("box", ((-1.0,) * 3, (1.0,) * 3), 0.1, 10.0),
        (),
        None,
        cameras,
    )
    return make_plan(scene, config, EditSettings("simulate", 9.5, 1.5))


def run_stage(jobs: list[Job], pool: EditorPool) -> dict[str, EditReceipt]:
    record = Nowhere()
    return EditLoop(
        jobs, pool, Journal(record), record, RetryPolicy(), Limits(), Emitter(), lambda *_: None
    ).run()


def simulate(args: argparse.Namespace) -> dict:
    """Plan and run one round; return simulated and real times."""
    began, cpu_began = time.perf_counter(), time.process_time()
    plan = plan_of(args)
    part = plan.rounds[0]
    seconds = {
        "edit_window": args.window_s,
        "edit_key_frame": args.key_s,
        "repaint": args.rest_s,
        "agree": args.agree_s,
        "key_batch": plan.rest_batch,
    }
    executor = Simulated(seconds, args.jitter)
    pool = EditorPool(
        executor,
        [Named(f"editor-{i}") for i in range(args.editors)],
        RetryPolicy(),
        Limits(),
        Emitter(),
        executor.clock,
    )
    pool.warm_up()
    originals = Originals()
    look = Look("depth", {}, tuple(originals.lookup(view, plan.key_frame) for view in plan.views))
    results = run_stage(key_jobs(plan, part, originals, look), pool) if args.key_s else {}
    key_end = executor.now
    edited = (
        anchors(plan, part, results)
        if results
        else {view: FrameAddress("key", i) for i, view in enumerate(plan.views)}
    )
    jobs = window_jobs(plan, part, originals, look, edited)
    planned = time.perf_counter() - began
    run_stage(jobs, pool)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    longest = max(len(chain.windows) for chain in part.chains)
    mean = args.window_s * (1 + args.jitter / 2)
    total = executor.now
    return {
        "windows": part.num_windows,
        "chains": len(part.chains),
        "editors": args.editors,
        "simulated_s": total,
        "key_frame_s": key_end,
        "windows_simulated_s": total - key_end,
        "bound_of_chains_s": longest * mean,
        "bound_of_work_s": part.num_windows * mean / args.editors,
        "idle_share": 1 - sum(executor.busy.values()) / (args.editors * total),
        "planning_s": planned,
        "real_s": took,
        "cpu_s": cpu,
        "overhead_ms_per_window": 1e3 * cpu / part.num_windows,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=51)
    parser.add_argument("--window", type=int, default=5, help="new frames of a window")
    parser.add_argument("--editors", type=int, default=1000)
    parser.add_argument("--window-s", type=float, default=1.4, help="seconds of a window")
    parser.add_argument("--key-s", type=float, default=0.0, help="seconds of a joint edit; 0: windows only")
    parser.add_argument(
        "--rest-s", type=float, default=3.0, help="seconds of a repaint of views the last joint edit left out"
    )
    parser.add_argument(
        "--agree-s", type=float, default=0.3, help="seconds of the warp averages after a joint edit in shares"
    )
    parser.add_argument("--key-shares", type=int, default=1)
    parser.add_argument("--propagation", choices=("outwards", "bidirectional"), default="outwards")
    parser.add_argument("--jitter", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    figures = simulate(args)
    for name, value in figures.items():
        print(f"{name:24} {value:.4g}" if isinstance(value, float) else f"{name:24} {value}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    return figures


if __name__ == "__main__":
    main()
