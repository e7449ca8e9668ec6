"""The figures of a run for the terminal, as a table and as sentences, and as CSV."""

from __future__ import annotations

import csv
import io
import textwrap

from i4d.metrics.protocol import Tree, at
from i4d.report.figures import Figure, groups, headlines, readings

_NAME, _VALUE, _SURE, _BASE = 40, 9, 17, 9  # characters of the columns; a line has 80


def table(metrics: Tree, width: int = 80) -> list[str]:
    """Return the lines of a run's figures (what `evaluate` returns), with the reasons of those that cannot be
    had below them.
    """
    out: list[str] = []
    reasons: dict[str, list[str]] = {}
    for group in groups(metrics):
        known = [row for row in group.rows if not row.reason]
        for row in group.rows:
            if row.reason:
                reasons.setdefault(row.reason, []).append(row.name)
        if not known:
            continue
        if out:
            out.append("")
        sure = "95 %" if any(row.interval for row in known) else ""
        base = group.baseline.lower() if any(row.baseline for row in known) else ""
        out.append(
            f"{group.title:{_NAME}}{'':>{_VALUE}}{sure:>{_SURE}}"
            f"{base.removesuffix(' field'):>{_BASE}}".rstrip()
        )
        out += map(_line, known)
    for reason, names in reasons.items():
        told = f"not measured, {'; '.join(names)}: {reason}"
        out += [
            "",
            *textwrap.wrap(
                told, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            ),
        ]
    return out


def _line(row: Figure) -> str:
    name = row.name if len(row.name) <= _NAME - 2 else f"{row.name[: _NAME - 3]}…"
    return (
        f"  {name:{_NAME - 2}}{row.value:>{_VALUE}}{row.interval:>{_SURE}}"
        f"{row.baseline:>{_BASE}}{_arrow(row.better):>5}"
    ).rstrip()


def _arrow(better: str) -> str:
    return {"higher": "up", "lower": "down"}.get(better, better.removeprefix("near "))


def summary(metrics: Tree) -> list[str]:
    """Return the main figures as sentences, and what could not be measured."""
    out = []
    for row in headlines(metrics):
        metric, what = row.metric, row.metric.headline
        note = row.name.removeprefix(metric.title)
        beside = f" ({row.beside})" if row.beside else ""
        out.append(f"{what}{note}: {row.value}{beside}{f'; {row.caution}' if row.caution else ''}")
        out += [
            f"  {name}: {text}" for name, path in metric.also if isinstance(text := at(metrics, path), str)
        ]
    return [*out, *(f"warning: {text}" for text in metrics.get("warnings", ()))]


def as_csv(metrics: Tree) -> str:
    """Return every figure of a run as CSV, a line a metric, unrounded; empty where there is nothing."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(["key", "title", "value", "low", "high", "unit", "better", "baseline", "frames", "reason"])
    for metric, found in readings(metrics):
        numbers = (found.value, *(found.interval or (None, None)))
        rest = (metric.unit, metric.better, found.baseline, found.frames or None, found.reason)
        lines.writerow([metric.key, metric.title, *("" if v is None else v for v in (*numbers, *rest))])
    return out.getvalue()
