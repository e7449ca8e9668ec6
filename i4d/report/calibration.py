"""The calibration check in words: a table for the terminal, and what a run keeps of it for its report."""

from __future__ import annotations

import textwrap
from typing import Any

from i4d.scenes.calibration.check import CameraFigure, Check, PairFigure

WIDTH = 80
PAIRS_SHOWN = 6


def lines_of(check: Check) -> list[str]:
    """Return a check as lines of at most 80 characters: cameras, worst pairs, coverage, problems, verdict."""
    out = [
        f"{check.scene}: {check.frames} frames of {len(check.cameras) or 1} cameras at {check.width} px, "
        f"{check.seconds:.1f} s"
    ]
    if check.cameras:
        out += ["", *_table(_CAMERA_HEAD, [_camera_row(c) for c in check.cameras])]
    known = [p for p in check.pairs if p.median_px is not None]
    shown = sorted(known, key=lambda p: -(p.median_px or 0)) or sorted(
        (p for p in check.pairs if p.alike is not None), key=lambda p: p.alike or 0
    )
    if shown:
        more = f" (worst {PAIRS_SHOWN} of {len(check.pairs)})" if len(shown) > PAIRS_SHOWN else ""
        out += ["", f"pairs{more}", *_table(_PAIR_HEAD, [_pair_row(p) for p in shown[:PAIRS_SHOWN]])]
    out += ["", *coverage_lines(check)]
    for problem in check.problems:
        out += _wrapped(f"{problem.level}: {problem.text}")
        out += [f"  {line}" for line in _wrapped(f"-> {problem.mend}", WIDTH - 2)]
    for note in check.notes:
        out += _wrapped(f"note: {note}")
    return [line for i, line in enumerate(out) if line or i] + _wrapped(verdict(check))


def verdict(check: Check) -> str:
    """Return in one line whether a run on this scene would begin."""
    if check.stopping:
        return "a run would stop here; --no-check goes on anyway"
    if check.problems:
        return "a run goes on; what is said above lowers its figures"
    return "good: poses and pictures fit together"


def coverage_lines(check: Check) -> list[str]:
    """Return what is known of the cameras' places."""
    c = check.coverage
    if c is None:
        return []
    return _wrapped(
        f"coverage: a point is seen by {c.seen_by:.0f} of {c.cameras} edited cameras, {100 * c.by_two:.0f} % "
        f"of the points by two or more; neighbours {c.apart_deg:.0f} degrees apart"
    )


_CAMERA_HEAD = ("camera", "px off lines", "judged by", "lag (frames)", "exposure", "red/blue")
_PAIR_HEAD = ("pair", "px off lines", "source px", "< 2 px", "matches", "motion")


def _camera_row(c: CameraFigure) -> tuple[str, ...]:
    lag = "-" if c.lag is None else f"{c.lag + 0.0:+.2f} ± {c.spread:.2f}{'' if c.certain else ' ?'}"
    return (
        c.name,
        _number(c.median_px),
        c.judged_by,
        lag,
        "-" if c.stops is None else f"{c.stops + 0.0:+.2f} EV",
        "-" if c.red is None else f"{c.red + 0.0:+.2f} EV",
    )


def _pair_row(p: PairFigure) -> tuple[str, ...]:
    return (
        f"{p.a} {p.b}",
        _number(p.median_px),
        _number(p.source_px),
        "-" if p.within is None else f"{100 * p.within:.0f} %",
        f"{p.matches} of {p.found}",
        _number(p.alike),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table within WIDTH columns, numbers to the right."""
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=WIDTH, color_system=None, markup=False, highlight=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _wrapped(text: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def told(check: dict[str, Any]) -> list[str]:
    """Return what a run keeps of its check (`capture.json`) in lines for the report."""
    cameras, out = check["cameras"], []
    px = [c["median_px"] for c in cameras if c["median_px"] is not None]
    if px:
        worst = max((c for c in cameras if c["median_px"] is not None), key=lambda c: c["median_px"])
        out.append(
            f"matched points lie {sorted(px)[len(px) // 2]:.2f} px from their epipolar lines (median over "
            f"cameras, at {check['width']} px; worst {worst['name']}, {worst['median_px']:.2f} px)"
        )
    lags = [c for c in cameras if c["lag"] is not None and c["certain"]]
    if lags:
        most = max(lags, key=lambda c: abs(c["lag"]))
        out.append(
            f"cameras are in step to {abs(most['lag']):.2f} frames ({most['name']}, give or take "
            f"{most['spread']:.2f})"
        )
    lit = [c for c in cameras if c["stops"] is not None]
    if lit:
        most = max(lit, key=lambda c: abs(c["stops"]))
        out.append(f"exposures differ by at most {abs(most['stops']):.2f} stops ({most['name']})")
    cover = check["coverage"]
    if cover:
        out.append(
            f"a point is seen by {cover['seen_by']:.0f} of {cover['cameras']} edited cameras; neighbours "
            f"stand {cover['apart_deg']:.0f} degrees apart"
        )
    out += [f"{p['text']} ({p['mend']})" for p in check["problems"]]
    return out + list(check["notes"])
