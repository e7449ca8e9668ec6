"""The report's curves of figures over the rounds of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

from i4d.metrics.kinds.edited_frames import CROSS_VIEW
from i4d.metrics.kinds.known_answer import PSNR
from i4d.metrics.protocol import Metric

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 320.0, 170.0, 52.0, 14.0, 14.0, 28.0
# of the judge of the rounds (i4d/report/judging.py)
_PARTS = {
    "temporal": "change in time (renders)",
    "cross_view": "disagreement of cameras (key frames)",
    "from_full_edit": "distance of renders from the first round's edits",
}


def curves(rounds: Sequence[dict[str, Any]], threshold: float) -> str:
    """Return a section with one small chart per figure over the rounds; empty for fewer than two rounds.

    `threshold` is the change under which rounds end, a share of full scale.
    """
    if len(rounds) < 2:
        return ""
    charts = [_chart(rounds, _title(PSNR), {"": partial(_value, PSNR)})]
    charts += [
        _chart(rounds, f"{title}, lower is better", {"": partial(_part_of, part)})
        for part, title in _PARTS.items()
    ]
    charts.append(
        _chart(
            rounds,
            "disagreement, the mean of the three: the least is kept",
            {"": lambda r: r["disagreement"]},
        )
    )
    charts.append(_chart(rounds, _title(CROSS_VIEW), {"": partial(_value, CROSS_VIEW)}))
    moved = {"edited frames": lambda r: r["change_edits"], "renders": lambda r: r["change_renders"]}
    charts.append(
        _chart(rounds, "moved since the round before, mean difference of [0, 1]", moved, threshold or None)
    )
    hint = "The ring marks the round that is kept." + (
        " The dashed line is where rounds end by themselves." if threshold else ""
    )
    cells = "".join(f"<figure>{chart}</figure>" for chart in charts if chart)
    columns = "grid-template-columns: repeat(auto-fit, minmax(260px, 1fr))"
    return (
        f"<h2>Round by round</h2><p class='hint'>{hint}</p><div class='card'><div class='sheet' "
        f"style='{columns}'>{cells}</div></div>"
    )


def _title(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.title[:1].lower()}{metric.title[1:]}{unit}, {metric.better} is better"


def _value(metric: Metric, found: dict[str, Any]) -> float | None:
    return found.get(metric.column)


def _part_of(name: str, found: dict[str, Any]) -> float | None:
    return found["parts"].get(name)


@dataclass(frozen=True)
class _Axes:
    """Where a round and a value lie in the picture."""

    first: int
    last: int
    low: float
    high: float

    def x(self, index: int) -> float:
        wide = _WIDTH - _LEFT - _RIGHT
        return _LEFT + (index - self.first) / max(self.last - self.first, 1) * wide

    def y(self, value: float) -> float:
        return _TOP + (self.high - value) / (self.high - self.low) * (_HEIGHT - _TOP - _BOTTOM)

    def level(self, value: float, css: str) -> str:
        """Return a line over the whole width."""
        y = f"{self.y(value):.1f}"
        return f'<line class="{css}" x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}"/>'


Points = list[tuple[int, float]]


def _chart(
    rounds: Sequence[dict[str, Any]],
    title: str,
    lines: dict[str, Callable[[dict], float | None]],
    threshold: float | None = None,
) -> str:
    """Return an SVG of one figure over the rounds, a line per name; empty where no round has it."""
    points = {
        name: [(r["round"], value) for r in rounds if (value := read(r)) is not None]
        for name, read in lines.items()
    }
    if not any(points.values()):
        return ""
    values = [value for found in points.values() for _, value in found]
    values += [] if threshold is None else [threshold]
    low, high = min(values), max(values)
    spare = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - spare, high + spare
    axes = _Axes(rounds[0]["round"], rounds[-1]["round"], low, high)
    parts = []
    for value in (low + spare, high - spare):
        parts.append(axes.level(value, "grid"))
        parts.append(
            f'<text class="tick end" x="{_LEFT - 6}" y="{axes.y(value) + 4:.1f}">{_tick(value)}</text>'
        )
    if threshold is not None:
        parts.append(axes.level(threshold, "cut"))
    parts += [
        f'<text class="tick" x="{axes.x(r["round"]):.1f}" y="{_HEIGHT - 8:.1f}">{r["round"]}</text>'
        for r in rounds
    ]
    kept = {r["round"] for r in rounds if r["kept"]}
    for number, (name, found) in enumerate(points.items()):
        parts += _line(axes, name, title, found, kept, "fit" if number else "refit")
    label = f'role="img" aria-label="{escape(f"{title}: {_told(points)}", quote=True)}"'
    box = f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}"'
    return (
        f"<svg {box} "
        f"{label}><title>{escape(title)}</title>{''.join(parts)}</svg><figcaption>{escape(title)}</figcaption>"
    )


def _line(axes: _Axes, name: str, title: str, found: Points, kept: set[int], css: str) -> list[str]:
    """Return a line with a dot per round, a ring around the one that is kept."""
    path = " ".join(f"{axes.x(index):.1f},{axes.y(value):.1f}" for index, value in found)
    parts = [
        f'<polyline class="line l-{css}" points="{path}"><title>{escape(name or title)}</title></polyline>'
    ]
    for index, value in found:
        ring = (
            ' fill="none" stroke="currentColor" stroke-width="2"' if index in kept else ' fill="currentColor"'
        )
        x, y, radius = f"{axes.x(index):.1f}", f"{axes.y(value):.1f}", 6 if index in kept else 2.5
        parts.append(f'<circle cx="{x}" cy="{y}" r="{radius}"{ring}/>')
    if name and found:
        index, value = found[0]
        parts.append(
            f'<text class="tick end" x="{axes.x(index) - 6:.1f}" '
            f'y="{axes.y(value) + 4:.1f}">{escape(name)}</text>'
        )
    return parts


def _told(points: dict[str, Points]) -> str:
    """Return in words what a chart shows."""
    return "; ".join(
        f"{name + ' ' if name else ''}" + ", ".join(f"round {i}: {v:.4g}" for i, v in found)
        for name, found in points.items()
    )


def _tick(value: float) -> str:
    """Return a value as it fits left of a chart."""
    return f"{value:.4g}" if abs(value) >= 0.1 else f"{value:.4f}"
