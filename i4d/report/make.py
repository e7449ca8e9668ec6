"""Evaluation, videos and page of a finished run, in order."""

from __future__ import annotations

import time
from pathlib import Path

from i4d.report.console import Console, duration
from i4d.report.evaluate import PARTS, evaluate
from i4d.report.evolution import shown_view
from i4d.report.footage import Footage
from i4d.report.page import LITTLE_DETAIL, LITTLE_SHARE, detail_kept, write_report
from i4d.report.videos import NO_VIDEOS, write_videos
from i4d.scenes.video import available
from i4d.store.events_table import write_events_table
from i4d.store.run_folder import RunFolder

ROUGH_DB = 20.0  # of reconstruction: below it the figure is told with a warning


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


def summary(metrics: dict) -> list[str]:
    """Return the main figures as sentences."""
    out = []
    fit, edit = metrics["reconstruction"], metrics.get("edit", {})
    if fit["psnr_db"] is not None:
        likeness = "" if fit["ssim"] is None else f", SSIM {fit['ssim']:.3f}"
        rough = (
            "; under 20 dB: an unseen view is hardly more than a guess" if fit["psnr_db"] < ROUGH_DB else ""
        )
        out.append(f"reconstruction of held-out cameras: {fit['psnr_db']:.2f} dB{likeness}{rough}")
    if edit.get("known_answer_psnr_db") is not None:
        away = edit["unedited_to_answer_psnr_db"]
        out.append(
            f"edit, from the known answer: {edit['known_answer_psnr_db']:.2f} dB (the unedited "
            f"video: {away:.2f} dB)"
        )
        if edit.get("known_answer_is"):
            out.append(f"the known answer is {edit['known_answer_is']}")
    if edit.get("object"):
        inside = edit["object"]
        out.append(
            f"inside the object: {inside['inside_db']:.2f} dB (the unedited video: "
            f"{inside['unedited_inside_db']:.2f} dB)"
        )
    if kept := detail_kept(metrics):
        faint = (
            "; its renders are blurred: more steps help (field.fit_steps, field.refit_steps)"
            if kept < LITTLE_DETAIL
            else ""
        )
        out.append(f"detail of the edit that the refit kept: {kept:.2f} (best near 1){faint}")
    for name, what in (("temporal", "in time"), ("cross_view", "between cameras")):
        if edit.get(f"{name}_ratio") is not None:
            share = (edit.get(name, {}).get("edited") or {}).get("compared", 1.0)
            little = (
                f" (of {100 * share:.1f} % of the pixels only: says little)" if share < LITTLE_SHARE else ""
            )
            out.append(f"disagreement {what}: {edit[f'{name}_ratio']:.2f} times the unedited field's{little}")
    return out
