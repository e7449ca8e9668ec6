"""Evaluation, videos and page of a finished run, in order."""

from __future__ import annotations

import time
from pathlib import Path

from i4d.report.console import Console, duration
from i4d.report.evaluate import PARTS, evaluate
from i4d.report.evolution import shown_view
from i4d.report.footage import Footage
from i4d.report.in_words import summary
from i4d.report.page import write_report
from i4d.report.videos import NO_VIDEOS, write_videos
from i4d.scenes.video import available
from i4d.store.events_table import write_events_table
from i4d.store.run_folder import RunFolder


def finish(run: RunFolder, console: Console) -> dict[str, Path]:
    """Measure a run and write its report; returns the places to look at, by what lies there."""
    measure(run, console)
    write_events_table(run)
    return report(run, console)


def measure(run: RunFolder, console: Console) -> dict:
    """Write metrics.json and return what it says."""
    began = time.monotonic()
    console.begin("evaluate", len(PARTS))
    metrics = evaluate(run, console.progress)
    console.close()
    console.line(f"  evaluate: done in {duration(time.monotonic() - began)}")
    for text in summary(metrics):
        console.line(f"  {text}")
    return metrics


def report(run: RunFolder, console: Console, camera: str = "") -> dict[str, Path]:
    """Write videos and page of a run, which looks into `camera`; measures it first where that was not
    done.
    """
    shown_view(Footage(run), camera)
    began = time.monotonic()
    if available():
        console.begin("videos", 0)
        write_videos(run, console.progress)
        console.close()
    else:
        console.line(f"  {NO_VIDEOS}")
    place = write_report(run, camera)
    console.line(f"  report: done in {duration(time.monotonic() - began)}")
    return {"report": place, "videos": run.path / "videos", "metrics": run.path / "metrics.json"}
