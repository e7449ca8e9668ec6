"""Runs side by side: one table as Markdown, LaTeX and CSV, and one video with a column per method and a row
per prompt.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i4d.metrics.interval import Samples, bootstrap_interval, levels
from i4d.metrics.protocol import AGREEMENT, ANSWER, COST, FIELD, LOOK, Metric
from i4d.metrics.registry import all_metrics
from i4d.report.footage import Footage
from i4d.report.shots import after
from i4d.report.videos import NO_VIDEOS, Clip, enlarged, write_clip
from i4d.scenes.video import available
from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder

_SHORT_SIDE = 160


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run of a comparison."""

    prompt: str
    method: str
    run: RunFolder
    seed: int = 0


_TABLES = (AGREEMENT, ANSWER, LOOK, FIELD, COST)  # in the order of a comparison's columns


def columns(only_compared: bool = True) -> list[Metric]:
    """Return the metrics of a comparison, in the order of its columns; not only those of its tables, the
    others of its CSV come last.
    """
    found = sorted(all_metrics()[0], key=lambda metric: _TABLES.index(metric.group))
    others = [] if only_compared else [metric for metric in found if not metric.compared]
    return [metric for metric in found if metric.compared] + others


def digits(metric: Metric) -> int:
    """Return the decimals of a metric in a comparison: methods lie closer to each other than a reader of one
    run needs to see.
    """
    return metric.digits if metric.unit == "dB" or not metric.digits else 3


def sign(metric: Metric) -> int:
    """Return which direction is better: 1 higher, -1 lower, 0 neither. What a method spends is set before,
    so less of it is no merit.
    """
    return 0 if metric.group == COST else {"higher": 1, "lower": -1}.get(metric.better, 0)


def write_comparison(
    out: Path, name: str, title: str, cells: Sequence[Cell], pictures: bool = True
) -> dict[str, Path]:
    """Write NAME.md, NAME.tex and NAME.csv under `out`, and NAME.mp4 where asked for; returns them by what
    they are.
    """
    rows = rows_of([(cell, cell.run.needed_json("metrics.json")) for cell in cells])
    texts = {"md": markdown(title, rows), "tex": latex(rows), "csv": as_csv(rows)}
    places = {}
    for suffix, text in texts.items():
        places[suffix] = out / f"{name}.{suffix}"
        write_atomically(places[suffix], text.encode())
    if pictures and available():
        places["video"] = write_clip(
            out / f"{name}.mp4", grid(cells), Footage(cells[0].run).scene.fps, _SHORT_SIDE
        )
    elif pictures:
        print(NO_VIDEOS)
    return places


@dataclass(frozen=True)
class Row:
    """A method's runs of one prompt, one per seed."""

    prompt: str
    method: str
    runs: tuple[tuple[int, dict], ...]  # seed, metrics

    def read(self, metric: Metric) -> float | None:
        """Return a figure's mean over the seeds that have it."""
        found = [v for _, m in self.runs if (v := metric.value(m)) is not None]
        return float(np.mean(found)) if found else None

    def samples(self, metric: Metric) -> Samples | None:
        """Return what the figure is a mean of, over all seeds; None where any of them does not tell."""
        found_of = ((seed, metric.read(metrics)) for seed, metrics in self.runs)
        parts = [(seed, dict(found.each or {}) if found else {}) for seed, found in found_of]
        if not all(part.get("values") for _, part in parts):
            return None
        found = [Samples.from_json(part, seed) for seed, part in parts]
        return sum(found[1:], found[0])

    def interval(self, metric: Metric) -> Sequence[float] | None:
        """Return a figure's 95 % interval: of a single run its own, of several seeds over all of them."""
        if len(self.runs) == 1:
            alone = metric.read(self.runs[0][1])
            return alone.interval if alone else None
        found = self.samples(metric)
        return None if found is None else bootstrap_interval(found.values, origins=found.origins)


Rows = Sequence[Row]


def rows_of(cells: Sequence[tuple[Cell, dict]]) -> list[Row]:
    """Return the rows of a table: the runs of each prompt and method together, whatever their seeds."""
    found: dict[tuple[str, str], list[tuple[int, dict]]] = {}
    for cell, metrics in cells:
        found.setdefault((cell.prompt, cell.method), []).append((cell.seed, metrics))
    return [Row(*names, tuple(runs)) for names, runs in found.items()]


def _shown(rows: Rows) -> list[Metric]:
    """Return the metrics that at least one row has; the others are named under the table."""
    return [metric for metric in columns() if any(row.read(metric) is not None for row in rows)]


def _text(metric: Metric, row: Row) -> str:
    value, interval = row.read(metric), row.interval(metric)
    if value is None:
        return "-"
    text = f"{value:.{digits(metric)}f}"
    if not interval:
        return text
    return f"{text} [{interval[0]:.{digits(metric)}f}, {interval[1]:.{digits(metric)}f}]"


def _leaders(metrics: Sequence[Metric], rows: Rows) -> set[tuple[str, str, str]]:
    """Return (prompt, method, metric's key) where a method is better than each other one of its prompt beyond
    the 95 % interval of the difference.
    """
    out = set()
    for metric in filter(sign, metrics):
        for prompt in _prompts(rows):
            values = [(v, r) for r in rows if r.prompt == prompt and (v := r.read(metric)) is not None]
            if len(values) < 2:
                continue
            _, best = max(values, key=lambda found: sign(metric) * found[0])
            if all(_is_better(metric, _paired(metric, best, row)) for _, row in values if row is not best):
                out.add((prompt, best.method, metric.key))
    return out


def _is_better(metric: Metric, difference: tuple[float, float, float] | None) -> bool:
    """Return whether a difference (mean, low, high) is on the better side with its whole interval."""
    return difference is not None and sign(metric) * difference[1 if sign(metric) > 0 else 2] > 0


def _paired(metric: Metric, ours: Row, theirs: Row) -> tuple[float, float, float] | None:
    """Return the mean difference of what both rows measured and its 95 % interval; None where they measured
    different things, or too few cameras to tell.
    """
    one, other = ours.samples(metric), theirs.samples(metric)
    each = one.minus(other) if one and other else None
    if each is None or not levels(each.origins):
        return None
    return float(np.mean(each.values)), *bootstrap_interval(each.values, origins=each.origins)


def _prompts(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row.prompt for row in rows))


def markdown(title: str, rows: Rows) -> str:
    """Return the table in Markdown; bold where a method is better than each other one of its prompt beyond
    the interval of the difference.
    """
    metrics = _shown(rows)
    leaders = _leaders(metrics, rows)
    arrow = {-1: " ↓", 0: "", 1: " ↑"}
    heads = " | ".join(m.heading + arrow[sign(m)] for m in metrics)
    lines = [f"**{title}**", "", f"| prompt | method | {heads} |", "|---|---|" + "---:|" * len(metrics)]
    for row in rows:
        texts = [
            f"**{_text(m, row)}**" if (row.prompt, row.method, m.key) in leaders else _text(m, row)
            for m in metrics
        ]
        lines.append(f"| {row.prompt} | {row.method} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", _notes(rows), "", *differences(rows)])


def differences(rows: Rows) -> list[str]:
    """Return lines of a second table: the first method of a prompt minus each other, with the interval of the
    mean.

    Frames (or pairs of cameras) are the same for all methods, so their differences are surer than the figures
    themselves. A difference is bold where its 95 % interval leaves zero out and the first method is the
    better one. Empty for a single method.
    """
    metrics = [metric for metric in columns() if any(row.samples(metric) for row in rows)]
    lines = []
    for prompt in _prompts(rows):
        first, *others = [row for row in rows if row.prompt == prompt]
        for other in others:
            texts = [_difference(metric, first, other) for metric in metrics]
            lines.append(f"| {prompt} | {first.method} - {other.method} | " + " | ".join(texts) + " |")
    if not lines or not metrics:
        return []
    heads = "| prompt | difference | " + " | ".join(m.heading for m in metrics) + " |"
    note = (
        "Differences of the same frames (pairs of cameras) with their 95 % intervals; bold: the first method "
        "is better beyond it."
    )
    return [heads, "|---|---|" + "---:|" * len(metrics), *lines, "", note, ""]


def _difference(metric: Metric, ours: Row, theirs: Row) -> str:
    found = _paired(metric, ours, theirs)
    if found is None:
        return "-"
    mean, low, high = (f"{value:+.{digits(metric)}f}" for value in found)
    text = f"{mean} [{low}, {high}]"
    return f"**{text}**" if _is_better(metric, found) else text


def _notes(rows: Rows) -> str:
    _, first = rows[0].runs[0]
    cameras, kind = ", ".join(first["cameras"]), "held-out" if first["held_out"] else "trained"
    seeds = max(len(row.runs) for row in rows)
    text = (
        f"Renders: of {kind} camera {cameras}. Frames: as the editor left them, before any field; "
        "temporal error of the middle edited "
    )
    text += (
        "camera, cross-view error at the key instant (averaged through depth) and at first and last, "
        "known answer of all cameras. "
    )
    text += (
        f"In brackets: 95 % interval, drawing {'seeds, ' if seeds > 1 else ''}cameras and stretches of time "
        "anew. Bold: better than each other method of the prompt beyond the interval of the difference. "
        f"{seeds} seed{'s' if seeds > 1 else ''} of the editor. "
    )
    text += "Seconds: without decoding and reconstruction."
    passes = [metrics["unet_forwards"] for row in rows for _, metrics in row.runs]
    if max(passes) > 1.1 * min(passes):
        text += f" Network passes differ: {min(passes)} to {max(passes)} (column forwards)."
    shown = _shown(rows)
    absent = [metric.heading for metric in columns() if metric not in shown]
    return text + (
        f" Not measured here (reasons in the cells' metrics.json): {', '.join(absent)}." if absent else ""
    )


def latex(rows: Rows) -> str:
    """Return the table in LaTeX (booktabs), bold as in Markdown."""
    metrics = _shown(rows)
    leaders = _leaders(metrics, rows)
    arrow = {-1: r" $\downarrow$", 0: "", 1: r" $\uparrow$"}
    lines = [r"\begin{tabular}{ll" + "r" * len(metrics) + "}", r"\toprule"]
    lines += [
        " & ".join(["prompt", "method", *(_escaped(m.heading) + arrow[sign(m)] for m in metrics)]) + r" \\",
        r"\midrule",
    ]
    for prompt in _prompts(rows):
        for row in (row for row in rows if row.prompt == prompt):
            texts = []
            for metric in metrics:
                text = _text(metric, row)
                bold = (prompt, row.method, metric.key) in leaders
                texts.append(rf"\textbf{{{text}}}" if bold else text)
            lines.append(" & ".join([_escaped(prompt), _escaped(row.method), *texts]) + r" \\")
        lines.append(r"\midrule" if prompt != _prompts(rows)[-1] else r"\bottomrule")
    return "\n".join([*lines, r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)


def as_csv(rows: Rows) -> str:
    """Return the table with a column per metric and two for its interval; empty where there is none."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    metrics = columns(only_compared=False)
    names = [name for m in metrics for name in (m.column, f"{m.column}_low", f"{m.column}_high")]
    table.writerow(["prompt", "method", "seeds", *names])
    for row in rows:
        values = [v for m in metrics for v in (row.read(m), *(row.interval(m) or (None, None)))]
        table.writerow([row.prompt, row.method, len(row.runs), *("" if v is None else v for v in values)])
    return out.getvalue()


def grid(cells: Sequence[Cell]) -> Clip:
    """Return the first watched camera of all cells: the original and the methods from left to right, prompts
    from top to bottom.
    """
    prompts = list(dict.fromkeys(cell.prompt for cell in cells))
    methods = list(dict.fromkeys(cell.method for cell in cells))
    by_place = {(cell.prompt, cell.method): Footage(cell.run) for cell in reversed(cells)}  # the first seed
    first = Footage(cells[0].run)
    view = first.watched[0]
    name = after(first.camera(view).name)

    def column(read: Callable[[str, int], np.ndarray | None]) -> Callable[[int], np.ndarray]:
        def stacked(index: int) -> np.ndarray:
            blank = np.full_like(first.original(view, index), 255)
            frames = [read(prompt, index) for prompt in prompts]
            return np.concatenate(
                [enlarged(blank if frame is None else frame, _SHORT_SIDE) for frame in frames]
            )

        return stacked

    def method_column(method: str) -> Callable[[int], np.ndarray]:
        def read(prompt: str, index: int) -> np.ndarray | None:
            footage = by_place.get((prompt, method))
            return footage.rendered(name, index) if footage is not None else None

        return column(read)

    panels = [column(lambda prompt, index: first.original(view, index)), *map(method_column, methods)]
    count = min(footage.num_rendered(name) for footage in by_place.values())
    return Clip("comparison", "", "comparison", tuple(panels), count, ("original", *methods))
