"""The figures of a run as a table for the terminal: value, interval, what it is compared with, which
direction is better.
"""

from __future__ import annotations

import textwrap

from i4d.report.figures import groups

_NAME, _VALUE, _SURE, _BASE = 40, 9, 17, 9  # characters of the columns; a line has 80


def table(metrics: dict, width: int = 80) -> list[str]:
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
        looks = group.baseline == "95 % interval"
        base = "" if looks else group.baseline.lower()
        if out:
            out.append("")
        sure = "95 %" if looks or any(row.interval for row in known) else ""
        out.append(
            f"{group.title:{_NAME}}{'':>{_VALUE}}{sure:>{_SURE}}"
            f"{base.removesuffix(' field'):>{_BASE}}".rstrip()
        )
        for row in known:
            sure, base = (row.baseline, "") if looks else (row.interval, row.baseline)
            name = row.name if len(row.name) <= _NAME - 2 else f"{row.name[: _NAME - 3]}…"
            out.append(
                f"  {name:{_NAME - 2}}{row.value:>{_VALUE}}{sure:>{_SURE}}"
                f"{base:>{_BASE}}{_arrow(row.better):>5}"
            )
    for reason, names in reasons.items():
        told = f"not measured, {'; '.join(names)}: {reason}"
        out += [
            "",
            *textwrap.wrap(
                told, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            ),
        ]
    return out


def _arrow(better: str) -> str:
    return {"higher": "up", "lower": "down"}.get(better, better.removeprefix("near "))
