"""Charts of the report as inline SVG: who worked when, and how the fit went. Colours come from the page's
style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from i4d.report.workload import KINDS, Span, StageSpan, Workload

WIDTH, LEFT, RIGHT = 1000.0, 170.0, 12.0  # drawing units; the page scales them
_ROW, _BAR, _TOP, _AXIS = 34.0, 20.0, 44.0, 26.0
_BREAK_S = 45.0  # pauses between two sessions of a run longer than this are cut out


class Clock:
    """Maps unix seconds to drawing units, with the pauses between sessions cut out."""

    def __init__(self, load: Workload) -> None:
        spans: list[Span | StageSpan] = [*load.spans, *load.stages]
        points = sorted(t for s in spans for t in (s.began_s, s.ended_s))
        points = points or [load.began_s, load.ended_s]
        self.begin = points[0]
        self.cuts: list[tuple[float, float]] = []
        for start, stop in zip(points[:-1], points[1:], strict=True):
            resumed = any(start < session <= stop for session in load.sessions[1:])
            working = any(s.began_s <= start and s.ended_s >= stop for s in spans)
            if resumed and not working and stop - start > _BREAK_S:
                self.cuts.append((start, stop))
        self.length = max(points[-1] - self.begin - sum(b - a for a, b in self.cuts), 1e-3)

    def seconds(self, at_s: float) -> float:
        """Return the seconds of work time before a moment."""
        return at_s - self.begin - sum(max(0.0, min(at_s, b) - a) for a, b in self.cuts)

    def x(self, at_s: float) -> float:
        return self.at(self.seconds(at_s))

    def at(self, seconds: float) -> float:
        return LEFT + seconds / self.length * (WIDTH - LEFT - RIGHT)


def clock_text(seconds: float) -> str:
    """Return a time of the axis: 45 s, 2:05, 1:02:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def tick_step(length: float, wanted: int = 8) -> float:
    """Return a round number of seconds that divides a length into about `wanted` parts."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return next((s for s in steps if length / s <= wanted), math.ceil(length / wanted / 86400) * 86400)


def merged(spans: Sequence[Span], gap_s: float) -> list[Span]:
    """Return spans of one worker in order, neighbours of one kind joined: a fit is hundreds of short
    calls.
    """
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: s.began_s):
        last = out[-1] if out else None
        if (
            last
            and last.kind == span.kind
            and span.kind in ("fit", "refit", "render")
            and span.began_s - last.ended_s <= gap_s
        ):
            out[-1] = Span(
                last.worker, last.device, last.kind, span.task, last.began_s, max(last.ended_s, span.ended_s)
            )
        else:
            out.append(span)
    return out


def timeline_svg(load: Workload) -> str:
    """Return the picture of who worked when: the stages on top, then a row per worker with its device."""
    clock = Clock(load)
    workers = list(load.workers.values())
    bottom = _TOP + _ROW * len(workers)
    parts = [*_axis(clock, bottom), *_stages(load, clock)]
    for row, worker in enumerate(workers):
        y = _TOP + row * _ROW
        parts.append(f'<text class="who" x="4" y="{y + 14:.1f}">{escape(worker.name)}</text>')
        parts.append(f'<text class="where" x="4" y="{y + 27:.1f}">{escape(_short(worker.label, 27))}</text>')
        parts.append(
            f'<rect class="lane" x="{LEFT}" y="{y + 5:.1f}" width="{WIDTH - LEFT - RIGHT:.1f}" '
            f'height="{_BAR}" rx="3"/>'
        )
        spans = merged([s for s in load.spans if s.worker == worker.name], 0.004 * clock.length)
        parts += [_bar(span, clock, y + 5, worker.label) for span in spans]
    names = ", ".join(f"{w.name} on {w.label}" for w in workers)
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {bottom + _AXIS:.0f}" role="img" aria-label="Timeline: '
        f'{escape(names)}">'
        f"<title>Who worked when</title>{''.join(parts)}</svg>"
    )


def _bar(span: Span, clock: Clock, y: float, where: str) -> str:
    x = clock.x(span.began_s)
    width = max(clock.x(span.ended_s) - x, 0.8)
    kind = span.kind if span.kind in KINDS else "render"
    title = f"{span.kind}: {span.task}, {span.seconds:.1f} s on {where}"
    css = f"k-{kind.replace(' ', '-')}"
    return (
        f'<rect class="{css}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{_BAR}" '
        f'rx="{min(2.0, width / 3):.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _stages(load: Workload, clock: Clock) -> list[str]:
    out = []
    for number, stage in enumerate(sorted(load.stages, key=lambda s: s.began_s)):
        x, stop = clock.x(stage.began_s), clock.x(stage.ended_s)
        width = max(stop - x, 0.8)
        title = escape(
            f"{stage.name}{f', round {stage.round}' if stage.round else ''}: "
            f"{stage.ended_s - stage.began_s:.1f} s"
        )
        out.append(
            f'<rect class="stage s{number % 2}" x="{x:.2f}" y="10" width="{width:.2f}" height="22" '
            f'rx="3"><title>{title}</title></rect>'
        )
        if width > 6.5 * len(stage.name) + 8:
            out.append(f'<text class="stagename" x="{x + width / 2:.1f}" y="25">{escape(stage.name)}</text>')
    out.append('<text class="where" x="4" y="25">stage</text>')
    return out


def _axis(clock: Clock, bottom: float) -> list[str]:
    step, out, at = tick_step(clock.length), [], 0.0
    while at <= clock.length + 1e-6:
        x = clock.at(at)
        out.append(f'<line class="grid" x1="{x:.1f}" y1="6" x2="{x:.1f}" y2="{bottom + 4:.1f}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 19:.1f}">{clock_text(at)}</text>')
        at += step
    for start, _ in clock.cuts:
        x = clock.x(start)
        place = f'x1="{x:.1f}" y1="2" x2="{x:.1f}" y2="{bottom + 4:.1f}"'
        out.append(f'<line class="cut" {place}><title>the run was resumed here</title></line>')
    return out


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def fit_svg(load: Workload) -> str:
    """Return the PSNR of the training batches over steps, one line per round (0: the first fit), and that of
    a held-out camera where the first fit was watched; empty where unknown.
    """
    rounds = sorted({r for r, _, p in load.fits if p is not None and math.isfinite(p)})
    if not rounds:
        return ""
    offset, lines, points = 0.0, [], []
    for index in rounds:
        found = sorted((step, psnr) for r, step, psnr in load.fits if r == index and psnr is not None)
        lines.append((index, [(offset + step, psnr) for step, psnr in found]))
        offset += found[-1][0]
        points += found
    held = (
        sorted((step, psnr) for step, psnr in load.watched.items() if psnr is not None) if 0 in rounds else []
    )
    points += held
    low, high = math.floor(min(p for _, p in points)), math.ceil(max(p for _, p in points))
    high = max(high, low + 1)
    width, height, left, top, bottom = 1000.0, 210.0, 60.0, 12.0, 30.0
    x = lambda step: left + step / max(offset, 1) * (width - left - 12)
    y = lambda psnr: top + (high - psnr) / (high - low) * (height - top - bottom)
    parts = []
    for value in _round_values(low, high):
        parts.append(
            f'<line class="grid" x1="{left}" y1="{y(value):.1f}" x2="{width - 12}" y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text class="tick end" x="{left - 8}" y="{y(value) + 4:.1f}">{value:g} dB</text>')
    for index, line in lines:
        kind = "refit" if index else "fit"
        path = " ".join(f"{x(step):.1f},{y(psnr):.1f}" for step, psnr in line)
        parts.append(f'<polyline class="line l-{kind}" points="{path}"/>')
        name = f"refit, round {index}" if index else "fit"
        middle = (x(line[0][0]) + x(line[-1][0])) / 2
        parts.append(f'<text class="tick" x="{middle:.1f}" y="{height - 8:.1f}">{name}</text>')
    if held:
        path = " ".join(f"{x(step):.1f},{y(psnr):.1f}" for step, psnr in held)
        parts.append(f'<polyline class="line l-held" points="{path}"/>')
        parts.append(
            f'<text class="tick" x="{x(held[0][0]):.1f}" y="{y(held[0][1]) + 16:.1f}">held out</text>'
        )
    label = 'role="img" aria-label="PSNR of the training batches"'
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" {label}><title>Fit</title>{"".join(parts)}</svg>'


def _round_values(low: int, high: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 50) if (high - low) / s <= 5)
    return [v for v in range(low, high + 1) if v % step == 0]
