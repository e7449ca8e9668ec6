"""The table of docs/metrics.md: every metric with its meaning, source, unit and range, and direction."""

from __future__ import annotations

from collections.abc import Iterable

from i4d.metrics.protocol import GROUPS, Metric, Need

BEGIN = "<!-- from here: generated from the registered metrics by scripts/metrics_page.py -->"
END = "<!-- to here -->"
_UNITS = {"": "none", "px": "pixels", "s": "seconds"}


def docs_table(metrics: Iterable[Metric]) -> str:
    """Return a Markdown section with a table for each group of metrics; what a metric is compared with
    has a line of its own.
    """
    lines: list[str] = []
    metrics = list(metrics)
    for group in GROUPS:
        rows = [row for metric in metrics if metric.group == group for row in _rows(metric)]
        if rows:
            head = "| figure | definition | source | unit, range | better |"
            lines += [f"### {group}", head, "|---|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def with_table(page: str, metrics: Iterable[Metric]) -> str:
    """Return a page with what stands between its two marks made anew; ValueError where it has none."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks '{BEGIN}' or '{END}'")
    return f"{head}{BEGIN}\n{docs_table(metrics)}{END}{tail}"


def _rows(metric: Metric) -> list[str]:
    unit = f"{_UNITS.get(metric.unit, metric.unit)}, {_range(metric)}"
    wanted = [need.value for need in metric.needs if need is not Need.EDIT]
    needs = f" Needs {', '.join(wanted)}." if wanted else ""
    rows = [(metric.key, f"*{metric.title}*: {metric.meaning}{needs}", metric.source, unit, metric.better)]
    baseline = metric.places[0].baseline
    if metric.baseline_is and isinstance(baseline, str):
        told = f"beside `{metric.key}`: {metric.baseline_is}"
        rows.append((baseline, told, metric.source, unit, "none"))
    return [
        f"| `{key}` | " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
        for key, *cells in rows
    ]


def _range(metric: Metric) -> str:
    low, high = metric.limits
    if high == float("inf"):
        return f"from {low:g}" if low != float("-inf") else "any"
    return f"{low:g} .. {high:g}"
