"""Evaluation of a run: metrics.json. A figure that cannot be computed is null, with the reason beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from i4d import __version__
from i4d.metrics.measure import measure
from i4d.metrics.protocol import GROUPS
from i4d.metrics.registry import all_metrics
from i4d.metrics.steadiness import bound_threads
from i4d.report.by_round import by_round
from i4d.report.evaluation import RunEvaluation
from i4d.report.footage import Footage
from i4d.report.workload import Workload, workload_of
from i4d.store.run_folder import RunFolder

# in the order they are measured
PARTS = (*GROUPS, "rounds")
Progress = Callable[[int, int, str], None]


def _quiet(done: int, total: int, note: str) -> None:
    """Tell nobody."""


def evaluate(run: RunFolder, progress: Progress = _quiet) -> dict:
    """Measure a run by every registered metric and write metrics.json; returns what it says.

    I4DError where nothing is committed yet. PSNR is the mean over images of each image's PSNR in dB; every
    figure says of how many frames (of how many cameras) it is a mean. `progress(done, of, what)` is told of
    each of PARTS before it is measured. `warnings` name metrics that raised or could not be loaded.
    """
    footage, load, began = Footage(run), workload_of(run), time.monotonic()
    bound_threads()
    tell = lambda part: progress(PARTS.index(part), len(PARTS), part)
    evaluation = RunEvaluation(footage, load)
    registered, warnings = all_metrics()
    found, failed = measure(evaluation, registered, tell)
    if footage.edited:
        found["edit"] = {"name": evaluation.edit_name, **found.get("edit", {})}
    tell("rounds")
    rounds = by_round(footage)
    metrics = {
        "version": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "scene": footage.scene.name,
        "prompt": footage.prompt,
        "cameras": [footage.camera(v).name for v in footage.watched],
        "held_out": bool(footage.scene.held_out),
        **found,
        **({"rounds": rounds} if rounds else {}),
        "placement": load.placement,
        "workers": workers(load),
        **({"warnings": told} if (told := [*warnings, *failed]) else {}),
    }
    metrics.setdefault("timing", {})["evaluate_s"] = round(time.monotonic() - began, 2)
    run.write_json("metrics.json", metrics)
    return metrics


def workers(load: Workload) -> list[dict]:
    """Return who took part, on which device, how much memory was needed at most and how long they had nothing
    to do.
    """
    out = []
    for worker in load.workers.values():
        stages = load.driven if worker.name.startswith("trainer") else load.editing
        idle = load.idle_share(worker.name, stages)
        out.append(
            {
                "name": worker.name,
                "device": worker.device,
                "device_name": worker.device_name,
                "node": worker.node,
                "busy_s": round(load.busy(worker.name), 2),
                "idle_share": None if idle is None else round(idle, 4),
                "peak_memory_bytes": worker.peak_bytes or None,
                "warm_up_s": round(worker.warm_up_s, 2),
                "notes": list(worker.notes),
            }
        )
    return out
