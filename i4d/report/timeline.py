"""Who worked when: events as an SVG with one row per worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

KINDS = {
    "FitProgress": ("fit", "refit"),
    "KeyFrameStepStored": "key frame",
    "RestViewsStored": "rest of the views",
    "WindowStored": "windows",
    "RenderStored": "renders",
}
COLOURS = {
    "fit": "#4c78a8", "refit": "#72b7b2", "key frame": "#e45756", "rest of the views": "#f58518", "windows": "#eeca3b",
    "renders": "#9d9da1",
}  # fmt: skip
LEFT, WIDTH, ROW, TOP = 190, 960, 30, 26


@dataclass(frozen=True)
class Span:
    """One piece of work on one worker, unix seconds."""

    worker: str
    kind: str
    task: str
    start_s: float
    stop_s: float


def spans_of(events: Sequence[dict]) -> list[Span]:
    """Return the work of all workers, in the order of its beginning; what was taken over from a journal is left out."""
    out = []
    for event in events:
        kind = KINDS.get(event["event"])
        if kind is None or event.get("reused"):
            continue
        if event["event"] == "FitProgress":
            kind, task = event["phase"], f"to step {event['step']}"
        else:
            task = event["task"]
        out.append(Span(event["worker"], kind, task, event["started_s"], event["started_s"] + event["seconds"]))
    return sorted(out, key=lambda span: span.start_s)


def devices_of(events: Sequence[dict]) -> dict[str, str]:
    """Return where each worker ran, as a reader knows it: node, device and its name."""
    return {
        e["worker"]: f"{e['device']} ({e['device_name']})" + (f" on {e['node']}" if e.get("node") else "")
        for e in events
        if e["event"] == "WorkerReady"
    }


def timeline(events: Sequence[dict]) -> str:
    """Return the SVG, or "" where nothing was done. A resumed run's pauses are cut out of the axis."""
    spans = spans_of(events)
    if not spans:
        return ""
    moved, total = _without_pauses(spans)
    devices = devices_of(events)
    workers = sorted({s.worker for s in spans}, key=lambda name: (not name.startswith("trainer"), name))
    height = TOP + ROW * len(workers) + 24
    scale = (WIDTH - LEFT - 10) / max(total, 1e-6)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Which worker did what over {total:.0f} seconds" '
        'xmlns="http://www.w3.org/2000/svg" class="timeline">'
    ]
    step = _tick(total)
    for i in range(int(total / step) + 1):
        x = LEFT + i * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{height - 22}" class="tick"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" class="axis" text-anchor="middle">{i * step:g} s</text>')
    for row, worker in enumerate(workers):
        y = TOP + row * ROW
        parts.append(f'<text x="4" y="{y + 12}" class="who">{escape(worker)}</text>')
        parts.append(f'<text x="4" y="{y + 23}" class="axis">{escape(_short(devices.get(worker, "")))}</text>')
        for span, start in moved:
            if span.worker == worker:
                width = max(0.7, (span.stop_s - span.start_s) * scale)
                text = f"{span.kind} {span.task}: {span.stop_s - span.start_s:.2f} s"
                parts.append(
                    f'<rect x="{LEFT + start * scale:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" '
                    f'fill="{COLOURS[span.kind]}"><title>{escape(text)}</title></rect>'
                )
    parts.append(_legend({s.kind for s in spans}))
    return "".join(parts) + "</svg>"


def _without_pauses(spans: list[Span], longest: float = 60.0) -> tuple[list[tuple[Span, float]], float]:
    """Return each span with its start in seconds on an axis where pauses of more than `longest` are cut to nothing."""
    first, reached, cut, out, end = spans[0].start_s, spans[0].start_s, 0.0, [], 0.0
    for span in spans:
        if span.start_s - reached > longest:
            cut += span.start_s - reached
        reached = max(reached, span.stop_s)
        start = span.start_s - first - cut
        out.append((span, start))
        end = max(end, start + span.stop_s - span.start_s)
    return out, end


def _tick(total: float) -> float:
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
    return next((step for step in steps if total / step <= 10), 28800)


def _short(text: str) -> str:
    return text if len(text) <= 32 else text[:31] + "…"


def _legend(kinds: set[str]) -> str:
    parts, x = [], LEFT
    for kind, colour in COLOURS.items():
        if kind in kinds:
            parts.append(f'<rect x="{x}" y="4" width="12" height="12" fill="{colour}"/><text x="{x + 16}" y="14" class="axis">{kind}</text>')
            x += 34 + 7 * len(kind)
    return "".join(parts)
