"""The report's figures: the table of all, tiles of those that matter most, and warnings about them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from i4d.report.figures import Figure, Group, headlines
from i4d.report.layout import again
from i4d.report.timeline import clock_text


def faint(metrics: dict) -> list[str]:
    """Return warnings about the edit's main figures, such as a field that shows little of what the editor
    drew; flicker alone would praise such a blur.
    """
    rows = [row for row in headlines(metrics) if row.metric.key.startswith("edit.") and row.metric.caution]
    return [f"{row.caution[:1].upper()}{row.caution[1:]}." for row in rows if row.caution]


def tiles(metrics: dict) -> list[str]:
    """Return the figures that matter most."""
    out = []
    for row in headlines(metrics):
        metric, amount, unit = row.metric, row.value, ""
        if metric.unit == "s":
            amount = clock_text(metric.value(metrics) or 0.0)
        elif metric.unit:
            amount, unit = row.value.rsplit(" ", 1)
        beside = ", ".join(filter(None, [row.beside, "" if metric.caution else row.caution]))
        about = f"{metric.headline}{row.name.removeprefix(metric.title)}{f' ({beside})' if beside else ''}"
        out.append(
            f'<div class="tile"><b>{escape(amount)}<small>{escape(unit)}</small></b>'
            f"<span>{escape(about)}</span></div>"
        )
    return out


def figures_table(found: Sequence[Group], run: str) -> str:
    """Return the table of figures with their explanations."""
    rows = []
    for group in found:
        rows.append(f'<tr class="group"><th colspan="5">{escape(group.title)}</th></tr>')
        heads = (
            ("Figure", ""),
            ("Value", " class='num'"),
            (group.baseline, " class='num'"),
            ("Better", ""),
            ("Mean of", ""),
        )
        rows.append(
            f"<tr class='head'>{''.join(f'<th{css}>{escape(text)}</th>' for text, css in heads)}</tr>"
        )
        rows += [_row(figure, group.baseline) for figure in group.rows]
    hint = (
        "<p class='hint'>Small under a value: its 95 % interval, by resampling frames or pairs of "
        "cameras.</p>"
    )
    return (
        f"<h2>Figures</h2>{hint}<div class='card'><table "
        f"class='figures'>{''.join(rows)}</table></div>{again(run, 'eval')}"
    )


def _row(figure: Figure, head: str) -> str:
    reason = f"<small>Not available: {escape(figure.reason)}.</small>" if figure.reason else ""
    reason += f"<small>{escape(figure.caution)}</small>" if figure.caution else ""
    cells = [f"<td>{escape(figure.name)}<small>{escape(figure.meaning)}</small>{reason}</td>"]
    sure = f"<small>{escape(figure.interval)}</small>" if figure.interval else ""
    cells.append(f"<td class='num' data-label='Value'><b>{escape(figure.value)}</b>{sure}</td>")
    for label, text, css in (
        (head, figure.baseline, " class='num'"),
        ("Better", figure.better, ""),
        ("Mean of", figure.over, ""),
    ):
        cells.append(
            f'<td{css} data-label="{escape(label)}">{escape(text)}</td>' if text else f"<td{css}></td>"
        )
    return f"<tr>{''.join(cells)}</tr>"
