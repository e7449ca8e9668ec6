"""The figures of metrics.json in words, as tables: every registered metric of which it says something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i4d.metrics.protocol import GROUPS, Metric, Reading, Tree, at
from i4d.metrics.registry import all_metrics

LITTLE = 0.02  # of the pixels compared: below this a figure is told with a warning


@dataclass(frozen=True)
class Figure:
    """One row of the table. `value` and `baseline` are texts ready to show; `reason` says why there is no
    value, `interval` where 95 % of resampled means lie, `caution` why it is not to be trusted."""

    metric: Metric
    name: str
    value: str
    baseline: str
    better: str
    over: str
    meaning: str
    reason: str = ""
    interval: str = ""
    caution: str = ""

    @property
    def beside(self) -> str:
        """Return what a value is to be compared with, in a few words; empty where that is clear by itself."""
        if self.metric.better in ("near 1", "near 0"):
            return f"best {self.metric.better}"
        fixed = any(isinstance(places.baseline, float) for places in self.metric.places)
        return f"{GROUPS[self.metric.group].lower()} {self.baseline}" if self.baseline and not fixed else ""


@dataclass(frozen=True)
class Group:
    """Rows that belong together; `baseline` heads their second column."""

    title: str
    baseline: str
    rows: tuple[Figure, ...]


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """Return a figure with its unit, "n/a" for None."""
    if value is None:
        return "n/a"
    if unit == "bytes":
        return size_text(value)
    return f"{value:,.{digits}f}{f' {unit}' if unit else ''}"


def span(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return a 95 % interval in words; empty where there is none."""
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}" if bounds else ""


def size_text(size_bytes: float | None) -> str:
    """Return a size in GiB or MiB, "n/a" for None or 0."""
    if not size_bytes:
        return "n/a"
    return f"{size_bytes / 2**30:.2f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"


def groups(metrics: Tree) -> list[Group]:
    """Return the tables of a run's figures."""
    rows: dict[str, list[Figure]] = {title: [] for title in GROUPS}
    for metric, found in readings(metrics):
        rows[metric.group].append(figure(metric, found, metrics))
    return [Group(title, base, tuple(rows[title])) for title, base in GROUPS.items() if rows[title]]


def readings(metrics: Tree) -> list[tuple[Metric, Reading]]:
    """Return the registered metrics that a metrics.json says something of, with what it says."""
    return [(metric, found) for metric in all_metrics()[0] if (found := metric.read(metrics))]


def headlines(metrics: Tree) -> list[Figure]:
    """Return the figures that matter most: those with a value and a headline, by which they are named."""
    return [
        figure(metric, found, metrics)
        for metric, found in readings(metrics)
        if metric.headline and found.value is not None
    ]


def figure(metric: Metric, found: Reading, metrics: Tree) -> Figure:
    """Return a metric's row."""
    digits = metric.digits
    return Figure(
        metric,
        f"{metric.title} ({found.note})" if found.note else metric.title,
        number(found.value, metric.unit, digits),
        "" if found.baseline is None else number(found.baseline, metric.unit, digits),
        "" if metric.better == "none" else metric.better,
        _over(metric, found),
        " ".join([metric.meaning, *details(metric, metrics)]),
        found.reason,
        span(found.interval, digits),
        _caution(metric, found),
    )


def details(metric: Metric, metrics: Tree) -> list[str]:
    """Return what else is told of a metric, each a sentence."""
    found = ((name, path, at(metrics, path)) for name, path in metric.also)
    return [
        f"{name[:1].upper()}{name[1:]}: {_text(value, path, metric)}."
        for name, path, value in found
        if value is not None
    ]


def _text(value: Any, path: str, metric: Metric) -> str:
    if isinstance(value, dict):
        return "; ".join(
            f"{name.removesuffix('_s').replace('_', ' ')} {number(part, metric.unit, metric.digits)}"
            for name, part in value.items()
            if f"{path}.{name}" != metric.key
        )
    return value if isinstance(value, str) else number(value, metric.unit, metric.digits)


def _over(metric: Metric, found: Reading) -> str:
    if not found.frames:
        return ""
    first, _, rest = metric.counted.partition(" ")
    count = f"{found.frames} {first}{'' if found.frames == 1 else 's'}{f' {rest}' if rest else ''}"
    return f"{count}, {found.cameras}" if found.cameras else count


def _caution(metric: Metric, found: Reading) -> str:
    if found.value is not None and metric.caution and (text := metric.caution(found.value)):
        return text
    if found.value is not None and found.compared is not None and found.compared < LITTLE:
        return f"of {100 * found.compared:.1f} % of the pixels only: says little"
    return ""
