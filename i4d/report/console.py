"""The live console: an event sink that shows stages with bars on a terminal and plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from i4d.driver import events
from i4d.driver.events import Event
from i4d.fields.registry import field_kind

CARRIES_BELOW = 900  # timesteps: above it nothing of what a window starts from outlives the noise
PLAIN_EVERY_S = 10.0  # between two lines about one stage, where there is no terminal


def duration(seconds: float) -> str:
    """Return a time as people say it: "8 s", "3 min 05 s", "2 h 10 min"."""
    whole = int(round(seconds))
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Console:
    """Shows what happens. Call it with events; `line` prints a sentence, `progress` moves the current stage's
    bar.

    `stream` None writes to stderr, so that a command's own output stays clean.
    """

    def __init__(self, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() if live is None else live
        self._bar: Any = None
        self._task: Any = None
        self._stage, self._total, self._done = "", 0, 0
        self._began = self._told = time.monotonic()
        self._rounds = 0
        self._notes: dict[str, str] = {}  # of workers that are ready, by the first one that had them
        self._rich: Any = None
        if self._live:
            from rich.console import Console as Rich

            self._rich = Rich(file=self._stream, highlight=False)

    # ------------------------------------------------------------------------------------------ lines
    def line(self, text: str, style: str = "") -> None:
        """Print one sentence."""
        if self._rich is not None:
            (self._bar.console if self._bar else self._rich).print(text, style=style or None, markup=False)
        else:
            print(text, file=self._stream, flush=True)

    def describe(
        self, request: Any, config: Any, scene: Any, plan: Any, forwards: int, device: str = ""
    ) -> None:
        """Say what is about to happen; on a `device` "cpu" also how long a fit meant for GPUs would take."""
        work = field_kind(config.field.kind).work(config.field)
        hours = plan.fit_steps * work.samples / work.cpu_per_s / 3600
        if device == "cpu" and hours > 0.5:
            self.line(
                "note: these settings are meant for a GPU; on CPU cores the first fit alone takes "
                f"about {hours:.0f} h or more. "
                "`--preset demo` is sized for two cores (with scene.width of about 180)"
            )
        camera = scene.cameras[0]
        held = ", ".join(scene.held_out) or "none"
        self.line(
            f"scene {scene.name}: {len(scene.cameras)} cameras ({len(plan.views)} used, held out: "
            f"{held}), {scene.num_frames} frames of "
            f"{camera.width}x{camera.height}, field space: {scene.bounds.kind}"
        )
        if request.kind == "train":
            self.line(f"fit: {plan.fit_steps} steps of {work.samples} {work.unit}")
            return
        windows = sum(part.num_windows for part in plan.rounds)
        self.line(
            f'edit: "{request.prompt}" with {config.editor.weights}, guidance '
            f"{plan.settings.text_guidance:g} / {plan.settings.image_guidance:g}"
        )
        self.line(
            f"plan: fit {plan.fit_steps} steps; {len(plan.rounds)} round(s) of "
            f"{len(plan.rounds[0].key_steps)} key-frame edits, "
            f"{windows // max(1, len(plan.rounds))} windows and {plan.refit_steps} refit steps; "
            f"{forwards} UNet forwards in all"
        )
        if plan.reference_view is not None and plan.window_strength.T > CARRIES_BELOW:
            self.line(
                f"note: with schedule.refine_num_steps = {plan.window_strength.T} windows start from "
                "noise: the key frame keeps the "
                "picture's own look, the other frames follow the sentence. --refine-num-steps 800 "
                "carries more of it"
            )

    def making(self, done: int, total: int) -> None:
        """Show that the demo scene is being made (frames)."""
        if self._stage != "make scene":
            self._open("make scene", total)
        self.progress(done, total)
        if done == total:
            self._close(time.monotonic() - self._began)

    def trying(self, done: int, total: int) -> None:
        """Show that field spaces are tried (spaces)."""
        if self._stage != "try field spaces":
            self._open("try field spaces", total)
        self.progress(done, total)
        if done == total:
            self._close(time.monotonic() - self._began)

    def begin(self, name: str, total: int) -> None:
        """Open a stage that is no part of a run; `progress` moves it, `close` ends it."""
        self._open(name, total)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Move the current stage forward."""
        self._done, self._total = done, total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total or None, note=note)
            return
        now = time.monotonic()
        if now - self._told >= PLAIN_EVERY_S and total:
            self._told = now
            left = (now - self._began) / max(done, 1) * (total - done)
            self.line(
                f"  {self._stage}: {done}/{total}{', ' + note if note else ''}, about {duration(left)} left"
            )

    # ------------------------------------------------------------------------------------------ events
    def __call__(self, event: Event) -> None:
        """Show an event; kinds that say nothing to a reader are passed over."""
        handler = getattr(self, f"_on_{type(event).__name__}", None)
        if handler is not None:
            handler(event)
        elif isinstance(event, events.WorkDone):
            self._on_work(event)

    def _on_Placed(self, event: events.Placed) -> None:
        self.line(f"placement: {event.sentence}")

    def _on_RoundMeasured(self, event: events.RoundMeasured) -> None:
        moved = (
            f"edited frames moved by {event.change_edits:.4f}, renders by {event.change_renders:.4f}; "
            if event.round > 1
            else ""
        )
        self.line(f"  round {event.round}: {moved}disagreement {event.disagreement:.3f}")

    def _on_RoundsEnded(self, event: events.RoundsEnded) -> None:
        self.line(f"rounds end after {event.round}: {event.reason}; round {event.kept} is kept")

    def _on_Warned(self, event: events.Warned) -> None:
        self.line(f"note: {event.text}", "yellow")

    def _on_Noted(self, event: events.Noted) -> None:
        self.line(f"input: {event.text}")

    def _on_WorkerReady(self, event: events.WorkerReady) -> None:
        where = (
            f"{event.worker} on {event.device} ({event.device_name}), ready after {duration(event.seconds)}"
        )
        notes = "; ".join(event.notes)
        twin = self._notes.setdefault(notes, event.worker)
        self.line(
            ": ".join([where, *filter(None, [notes if twin == event.worker else f"the same as {twin}"])])
        )

    def _on_WorkerRestarted(self, event: events.WorkerRestarted) -> None:
        self.line(f"{event.worker} was lost and is started again: {event.reason}", "yellow")

    def _on_RunStarted(self, event: events.RunStarted) -> None:
        self._rounds = event.rounds
        if event.resumed:
            self.line("continuing where the run stopped")

    def _on_RoundStarted(self, event: events.RoundStarted) -> None:
        self.line(f"round {event.round} of {event.rounds}", "bold")

    def _on_StageStarted(self, event: events.StageStarted) -> None:
        self._open(event.stage, event.total)

    def _on_StageFinished(self, event: events.StageFinished) -> None:
        self._close(event.seconds)

    def _on_FitProgress(self, event: events.FitProgress) -> None:
        speed = event.step and event.rays / max(event.seconds, 1e-6)
        note = f"{event.psnr_db:.1f} dB, {f'{speed / 1000:.0f}k' if speed >= 2000 else f'{speed:.0f}'} rays/s"
        if self._stage in ("fit", "refit"):
            self.progress(event.step, event.total, note)
        elif self._bar is not None:
            self._bar.update(self._task, note=f"refit step {event.step}/{event.total}, {note}")

    def _on_work(self, event: events.WorkDone) -> None:
        note = ""
        if event.kept_share == event.kept_share:
            note = f"{100 * event.kept_share:.0f} % of the pixels carried by flow"
        self.progress(event.done, event.total, note)

    def _on_WindowRetried(self, event: events.WindowRetried) -> None:
        self.line(f"{event.task} failed on {event.worker} ({event.reason}): {event.decision}", "yellow")

    def _on_TrainerReloaded(self, event: events.TrainerReloaded) -> None:
        self.line(f"the trainer goes on from step {event.step}: {event.reason}", "yellow")

    def _on_RunFailed(self, event: events.RunFailed) -> None:
        self.close()

    def _on_RunStopped(self, event: events.RunStopped) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ stages
    def _open(self, name: str, total: int) -> None:
        self.close()
        self._stage, self._total, self._done = name, total, 0
        self._began = self._told = time.monotonic()
        if self._rich is None:
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns: Sequence[Any] = (
            TextColumn("{task.description:18}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(*columns, console=self._rich, transient=True)
        self._bar.start()
        self._task = self._bar.add_task(name, total=total or None, note="")

    def _close(self, seconds: float) -> None:
        name = self._stage
        self.close()
        if name:
            self.line(f"  {name}: done in {duration(seconds)}")
        self._stage = ""

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
