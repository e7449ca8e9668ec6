"""How a run got on round by round: figures of every round, and their curves in the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np

from i4d.metrics.image import image_psnr
from i4d.metrics.kinds.edited_frames import disagreement_elsewhere
from i4d.report.answers import answers_of, named_edit, source_frames, why_no_answer_of
from i4d.report.evaluation import RunEvaluation
from i4d.report.footage import Footage
from i4d.report.judging import probe_frames
from i4d.types import FrameAddress

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 320.0, 170.0, 52.0, 14.0, 14.0, 28.0
_PARTS = {
    "temporal": "change in time (renders)",
    "cross_view": "disagreement of cameras (key frames)",
    "from_full_edit": "distance of renders from the first round's edits",
}


def by_round(footage: Footage) -> list[dict[str, Any]]:
    """Return what rounds.json says of every round and, where the edit has a known answer, how near its probe
    renders come (dB).

    Probes are the few neighbouring frames of the first watched camera that the judge of the rounds looks at.
    Empty for runs of one round. `known_answer_psnr_db` is None where there is no answer.
    `cross_view_elsewhere` is how far the edited frames of different cameras disagree at the first and last
    instant (pixels), where depth was rendered there.
    """
    told = footage.run.read_json("rounds.json") or {"rounds": []}
    answers, probes = _answers(footage) if told["rounds"] else None, _probes(footage)
    out, run = [], RunEvaluation(footage)
    for found in told["rounds"]:
        rows = probes.get(found["round"], [])[: len(answers or [])]  # the others show edited cameras
        near = None
        if answers is not None and len(rows) == len(answers):
            near = round(
                float(
                    np.mean(
                        [
                            image_psnr(footage.pixels(at), answer)
                            for at, answer in zip(rows, answers, strict=True)
                        ]
                    )
                ),
                3,
            )
        others = disagreement_elsewhere(run, partial(footage.edited_frame, round_index=found["round"]))
        away = {} if others is None else {"cross_view_elsewhere": round(others.relative, 4)}
        out.append({**found, **away, "known_answer_psnr_db": near, "kept": found["round"] == told["kept"]})
    return out


def _answers(footage: Footage) -> list[np.ndarray] | None:
    """Return what the probes should show, or None where the edit has no known answer."""
    name = named_edit(footage)
    if name is None or why_no_answer_of(footage, name):
        return None
    view, frames = footage.watched[0], probe_frames(footage.scene.num_frames, footage.key_frame)
    originals = [footage.original(view, frame) for frame in frames]
    source = source_frames(footage, frames)
    return answers_of(footage.scene.exact, footage.camera(view), name, originals, source)


def _probes(footage: Footage) -> dict[int, list[FrameAddress]]:
    """Return where the probe renders of every round lie, in the order of their frames."""
    calls: dict[str, list[FrameAddress]] = {}
    for entry in footage.run.records():
        if entry["kind"] == "render" and "/probe" in entry["id"]:
            block = entry["receipt"]["blocks"]["rgb"]
            calls[entry["id"]] = [FrameAddress(block["digest"], row) for row in range(block["num_rows"])]
    out: dict[int, list[FrameAddress]] = {}
    for id in sorted(calls):
        out.setdefault(int(id.split("/")[0].removeprefix("r")), []).extend(calls[id])
    return out


# ------------------------------------------------------------------------------------------------ curves
def curves(rounds: Sequence[dict[str, Any]], threshold: float) -> str:
    """Return a section with one small chart per figure over the rounds; empty for fewer than two rounds.

    `threshold` is the change under which rounds end, a share of full scale.
    """
    if len(rounds) < 2:
        return ""
    charts = [
        _chart(
            rounds,
            "from the known answer, dB (higher is nearer)",
            {"": lambda r: r.get("known_answer_psnr_db")},
        )
    ]
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
    elsewhere = {"": lambda r: r.get("cross_view_elsewhere")}
    charts.append(
        _chart(rounds, "disagreement of cameras (first and last frames), lower is better", elsewhere)
    )
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


def _part_of(name: str, found: dict[str, Any]) -> float | None:
    return found["parts"].get(name)


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
    values = [value for found in points.values() for _, value in found] + (
        [threshold] if threshold is not None else []
    )
    if not any(points.values()):
        return ""
    low, high = min(values), max(values)
    spare = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - spare, high + spare
    first, last = rounds[0]["round"], rounds[-1]["round"]
    x = lambda index: _LEFT + (index - first) / max(last - first, 1) * (_WIDTH - _LEFT - _RIGHT)
    y = lambda value: _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
    parts = []
    for value in (low + spare, high - spare):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" y1="{y(value):.1f}" x2="{_WIDTH - _RIGHT}" '
            f'y2="{y(value):.1f}"/>'
        )
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{_tick(value)}</text>')
    if threshold is not None:
        parts.append(
            f'<line class="cut" x1="{_LEFT}" y1="{y(threshold):.1f}" x2="{_WIDTH - _RIGHT}" '
            f'y2="{y(threshold):.1f}"/>'
        )
    parts += [
        f'<text class="tick" x="{x(r["round"]):.1f}" y="{_HEIGHT - 8:.1f}">{r["round"]}</text>'
        for r in rounds
    ]
    kept = {r["round"] for r in rounds if r["kept"]}
    for number, (name, found) in enumerate(points.items()):
        kind = "fit" if number else "refit"
        path = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in found)
        parts.append(
            f'<polyline class="line l-{kind}" '
            f'points="{path}"><title>{escape(name or title)}</title></polyline>'
        )
        for index, value in found:
            ring = (
                ' fill="none" stroke="currentColor" stroke-width="2"'
                if index in kept
                else ' fill="currentColor"'
            )
            parts.append(
                f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="{6 if index in kept else 2.5}"{ring}/>'
            )
        if name and found:
            parts.append(
                f'<text class="tick end" x="{x(found[0][0]) - 6:.1f}" '
                f'y="{y(found[0][1]) + 4:.1f}">{escape(name)}</text>'
            )
    told = "; ".join(
        f"{name + ' ' if name else ''}" + ", ".join(f"round {i}: {v:.4g}" for i, v in found)
        for name, found in points.items()
    )
    label = f'role="img" aria-label="{escape(f"{title}: {told}", quote=True)}"'
    box = f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}"'
    return (
        f"<svg {box} "
        f"{label}><title>{escape(title)}</title>{''.join(parts)}</svg><figcaption>{escape(title)}</figcaption>"
    )


def _tick(value: float) -> str:
    """Return a value as it fits left of a chart."""
    return f"{value:.4g}" if abs(value) >= 0.1 else f"{value:.4f}"
