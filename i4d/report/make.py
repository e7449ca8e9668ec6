"""Evaluation and report of a finished run, in order."""

from __future__ import annotations

import time
from pathlib import Path

from i4d.report.console import Console, duration
from i4d.report.evaluate import evaluate
from i4d.report.facts import RunFacts, read_run
from i4d.report.html import page
from i4d.report.videos import write_videos
from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder


def finish(folder: RunFolder, console: Console) -> dict[str, Path]:
    """Measure a run and write its report; returns the places to look at, by what lies there."""
    run = read_run(folder)
    measure(run, console)
    return report(run, console)


def measure(run: RunFacts, console: Console) -> dict:
    """Write metrics.json and return it. What `eval --each-frame` found before is kept."""
    began = time.monotonic()
    metrics = evaluate(run)
    before = run.folder.read_json("metrics.json") or {}
    if "each_frame" in before:
        metrics["each_frame"] = before["each_frame"]
    run.folder.write_json("metrics.json", metrics)
    console.line(f"  evaluate: done in {duration(time.monotonic() - began)}")
    for text in summary(metrics):
        console.line(f"  {text}")
    return metrics


def report(run: RunFacts, console: Console) -> dict[str, Path]:
    """Write the videos and the page of a run that was measured."""
    began = time.monotonic()
    metrics = run.folder.read_json("metrics.json") or measure(run, console)
    videos = write_videos(run)
    place = run.folder.path / "report" / "index.html"
    write_atomically(place, page(run, metrics, videos).encode())
    console.line(f"  report: done in {duration(time.monotonic() - began)}")
    return {"report": place, "videos": run.folder.path / "videos", "metrics": run.folder.path / "metrics.json"}


def summary(metrics: dict) -> list[str]:
    """Return the main figures as sentences."""
    out = []
    fit, edit = metrics["reconstruction"], metrics.get("edit", {})
    if fit["psnr_db"] is not None:
        out.append(f"reconstruction of held-out cameras: {fit['psnr_db']:.2f} dB, SSIM {fit['ssim']:.3f}")
    if edit.get("known_answer_psnr_db") is not None:
        away = edit["unedited_to_answer_psnr_db"]
        out.append(f"edit, from the known answer: {edit['known_answer_psnr_db']:.2f} dB (the unedited video: {away:.2f} dB)")
    for name, what in (("temporal", "in time"), ("cross_view", "between cameras")):
        if edit.get(f"{name}_ratio") is not None:
            out.append(f"disagreement {what}: {edit[f'{name}_ratio']:.2f} times the unedited field's")
    return out
