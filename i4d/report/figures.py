"""The figures of metrics.json in words: what each means, its unit, and which direction is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i4d.report.look_words import LOOK

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Figure:
    """One row of the table. `value` and `baseline` are texts ready to show; `reason` says why there is no
    value, `interval` where 95 % of resampled means lie."""

    name: str
    value: str
    baseline: str
    better: str
    over: str
    meaning: str
    reason: str = ""
    interval: str = ""


@dataclass(frozen=True)
class Group:
    """Rows that belong together; `baseline` heads their second column."""

    title: str
    baseline: str
    rows: tuple[Figure, ...]


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """Return a figure with its unit, "n/a" for None."""
    return "n/a" if value is None else f"{value:.{digits}f}{f' {unit}' if unit else ''}"


def span(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """Return a 95 % interval in words; empty where there is none."""
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}" if bounds else ""


def size_text(size_bytes: float | None) -> str:
    """Return a size in GiB or MiB, "n/a" for None or 0."""
    if not size_bytes:
        return "n/a"
    return f"{size_bytes / 2**30:.2f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"


def groups(metrics: dict) -> list[Group]:
    """Return the table of a run's figures."""
    out = [Group("The field before the edit", "", _reconstruction(metrics))]
    edit = metrics.get("edit")
    if edit:
        out.append(Group("Nearness to the known answer", "Unedited", _answer(edit, metrics)))
        out.append(Group("Agreement in time and between cameras", "Unedited field", _agreement(edit)))
        if "look" in edit:
            out.append(Group("How it looks", "95 % interval", look_rows(edit["look"])))
    out.append(Group("Cost", "", _cost(metrics)))
    return out


def _frames(part: dict, key: str = "frames") -> str:
    count = part.get(key) or 0
    return f"{count} frame{'' if count == 1 else 's'}" if count else ""


def _reconstruction(metrics: dict) -> tuple[Figure, ...]:
    part = metrics["reconstruction"]
    shown, reason, where = part, part.get("reason", ""), "a camera that it was never trained on"
    if "of_trained_camera" in part:
        shown, where, reason = (
            part["of_trained_camera"],
            "a camera that it WAS trained on, so this says little of new views",
            "",
        )
    kind = "" if shown is part else " (training camera)"
    meaning = (
        "Peak signal-to-noise ratio of the unedited field's render against the original video of "
        f"{where}. 30 dB is close, 20 dB is rough."
    )
    likeness = "Structural similarity of the same images, 1 for identical ones."
    learned = (
        "Learned perceptual distance (AlexNet) of the same images: 0 for identical ones, 0.1 is hard "
        "to see, 0.7 is another picture."
    )
    distance = shown.get("lpips") or {"value": None, "reason": "not measured"}
    over = _frames(shown) + (f", {', '.join(shown['cameras'])}" if shown.get("cameras") else "")
    return (
        Figure(
            f"Reconstruction, PSNR{kind}",
            number(shown["psnr_db"], "dB"),
            "",
            HIGHER,
            over,
            meaning,
            reason,
            span(shown.get("psnr_interval_db")),
        ),
        Figure(
            f"Reconstruction, SSIM{kind}",
            number(shown["ssim"], "", 4),
            "",
            HIGHER,
            _frames(shown, "ssim_frames"),
            likeness,
            reason,
            span(shown.get("ssim_interval"), 4),
        ),
        Figure(
            f"Reconstruction, LPIPS{kind}",
            number(distance["value"], "", 4),
            "",
            LOWER,
            _frames(distance),
            learned,
            reason or distance.get("reason", ""),
            span(distance.get("interval"), 4),
        ),
    )


def _answer(edit: dict, metrics: dict) -> tuple[Figure, ...]:
    where = "held-out camera" if metrics["held_out"] else "camera (trained on: none is held out)"
    answer = f": {edit['known_answer_is']}" if edit.get("known_answer_is") else ""
    rows = [
        Figure(
            "Edited render to the known answer",
            number(edit["known_answer_psnr_db"], "dB"),
            number(edit["unedited_to_answer_psnr_db"], "dB"),
            HIGHER,
            _frames(edit, "known_answer_frames"),
            f"PSNR of the edited field's render on the {where} against the known answer{answer}; beside it "
            "the unedited video against the same answer. The difference is what the edit achieved.",
            edit.get("known_answer_reason", ""),
            span(edit.get("known_answer_interval_db")),
        )
    ]
    before = edit.get("edited_frames")
    if before and before["known_answer_psnr_db"] is not None:
        rows.append(
            Figure(
                "Edited frames to the known answer",
                number(before["known_answer_psnr_db"], "dB"),
                "",
                HIGHER,
                _frames(before, "known_answer_frames"),
                "The same for the frames as the editor left them, before any field.",
                interval=span(before["known_answer_interval_db"]),
            )
        )
    part = edit.get("object")
    if part:
        rows += [
            Figure(
                "Inside the object",
                number(part["inside_db"], "dB"),
                number(part["unedited_inside_db"], "dB"),
                HIGHER,
                _frames(part),
                "The same, only where the object is: did it become what was asked for?",
                interval=span(part.get("inside_interval_db")),
            ),
            Figure(
                "Outside the object",
                number(part["outside_db"], "dB"),
                number(part["unedited_field_outside_db"], "dB"),
                HIGHER,
                _frames(part),
                "Render against the original video everywhere but within 2 pixels of the object: was "
                "the rest left alone? "
                "Beside it the unedited field's own render.",
                interval=span(part.get("outside_interval_db")),
            ),
        ]
    return tuple(rows)


def _agreement(edit: dict) -> tuple[Figure, ...]:
    temporal, views = edit["temporal"], edit["cross_view"]
    relative = "divided by the images' mean gradient: roughly, by how many pixels things seem to jump."
    one = "1 means as good as before the edit (differences below one grey level of 255 do not count)."
    moved = (
        f"Change between a frame and its predecessor, moved along by the original video's flow, {relative}"
    )
    seen = (
        "Difference of colour where two cameras see the same surface point at the key frame, as edited "
        "and before the refit, "
    )
    return (
        *_pair("Flicker in time", temporal, moved),
        _ratio("Flicker, edited over unedited", temporal, _frames(temporal), one),
        *_of_frames(edit.get("edited_frames"), relative),
        *_pair("Disagreement between cameras", views, seen + relative),
        _ratio("Disagreement, edited over unedited", views, _views(views), one),
    )


def _of_frames(part: dict | None, relative: str) -> list[Figure]:
    """Return the flicker of the frames that the field was fitted to; the second column is of a field, so it
    stays empty.
    """
    if not part or not part["temporal"]:
        return []
    edited, originals = part["temporal"]["edited"], part["temporal"]["originals"]
    meaning = (
        f"The same change in the edited frames of camera {part['camera']}, before any field averages "
        f"them, {relative}"
    )
    meaning += f" Its originals: {number(originals['relative'], 'px')}."
    row = "Flicker of the edited frames", number(edited["relative"], "px"), "", LOWER, _frames(part), meaning
    return [Figure(*row, interval=span(edited["interval"]))]


def _ratio(name: str, part: dict, over: str, meaning: str) -> Figure:
    return Figure(name, number(part["ratio"]), number(1.0), LOWER, over, meaning, part.get("reason", ""))


def _views(part: dict) -> str:
    count = part.get("frames") or 0
    return f"{count} views of one frame" if count else ""


def _pair(name: str, part: dict, meaning: str) -> list[Figure]:
    over = _views(part) if name.startswith("Dis") else _frames(part)
    if part["edited"] is None:
        return [Figure(name, "n/a", "n/a", LOWER, over, meaning, part.get("reason", ""))]
    out = [
        Figure(
            name,
            number(part["edited"]["relative"], "px"),
            number(part["unedited_field"]["relative"], "px"),
            LOWER,
            over,
            meaning,
            interval=span(part["edited"].get("interval")),
        )
    ]
    each = part.get("each_frame_by_itself")
    if each:
        kind = "view" if name.startswith("Dis") else "frame"
        count = f"{each['frames']} {kind}s"
        meaning = (
            f"The same for {count} that the editor edited each by itself, without anchor, flow or "
            "field: what the method improves on."
        )
        meaning += f" The method on the same {count}: {number(each['method']['relative'], 'px')}."
        out.append(
            Figure(
                f"{name}, every {kind} edited by itself",
                number(each["edited"]["relative"], "px"),
                "",
                LOWER,
                count,
                meaning,
            )
        )
    return out


def _cost(metrics: dict) -> tuple[Figure, ...]:
    timing: dict[str, Any] = metrics["timing"]
    parts = {
        name: seconds
        for name, seconds in timing.items()
        if name not in ("total_s", "trainer_busy_s", "editors_busy_s", "evaluate_s")
    }
    stages = "; ".join(f"{name[:-2].replace('_', ' ')} {seconds:.0f} s" for name, seconds in parts.items())
    busy = f"trainer {timing['trainer_busy_s']:.0f} s, editors {timing['editors_busy_s']:.0f} s"
    return (
        Figure(
            "Time of all stages",
            number(timing["total_s"], "s", 0),
            "",
            LOWER,
            "",
            f"{stages}. Time at work: {busy}.",
        ),
        Figure(
            "UNet forwards",
            f"{metrics['unet_forwards']:,}",
            "",
            LOWER,
            "",
            "Images times guidance branches through the editor's network.",
        ),
        Figure(
            "Peak memory of one service",
            size_text(metrics["peak_memory_bytes"]),
            "",
            LOWER,
            "",
            "Of the card on a GPU, resident memory of the process on a CPU.",
        ),
    )


def look_rows(cells: dict[str, dict]) -> tuple[Figure, ...]:
    """Return a row for every figure about the look of an edit, missing ones with their reason."""
    rows = []
    for key, (name, unit, digits, better, meaning) in LOOK.items():
        found = cells.get(key) or {"value": None, "reason": "not measured"}
        interval = span(found.get("interval"), digits)
        rows.append(
            Figure(
                name,
                number(found["value"], unit, digits),
                interval,
                better,
                _frames(found),
                meaning,
                found.get("reason", ""),
            )
        )
    return tuple(rows)
