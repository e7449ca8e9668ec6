"""A contact sheet of trials: one labelled PNG, and one HTML page with figures and the command that runs each
cell.
"""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i4d.report.embed import picture_uri
from i4d.report.tryout import Trial, best

WIDE, TALL = 240, 192  # pixels of a key frame's width on the sheet; the window's frames stand small below it
_GAP, _LINE = 8, 16
SCORES = {
    "known_answer_db": "from the known answer, dB (higher is better)",
    "clip_direction": "CLIP direction (higher is better)",
    "flicker": "flicker against the original's (lower is better)",
    "changed": "mean change (0 to 1)",
}


def command_of(trial: Trial, scene: str, extra: Sequence[str] = ()) -> str:
    """Return the command line that runs a trial's settings on the whole scene."""
    parts = [
        "i4d",
        "edit",
        "--scene",
        scene,
        "--prompt",
        trial.prompt,
        "--guidance-scale",
        f"{trial.text_guidance:g}",
    ]
    parts += ["--image-guidance-scale", f"{trial.image_guidance:g}", *extra, "--out", "runs/chosen"]
    return shlex.join(parts)


def cell_width(frame: np.ndarray) -> int:
    """Return the width of a cell of the sheet in pixels, for frames (height, width, 3) of a camera held flat
    or upright.
    """
    return TALL if frame.shape[0] > frame.shape[1] else WIDE


def sheet_png(path: Path, originals: np.ndarray, trials: Sequence[Trial]) -> None:
    """Write the sheet: a row per prompt, a column per pair of guidance weights, the originals in the first
    column.
    """
    prompts = list(dict.fromkeys(t.prompt for t in trials))
    columns = max(sum(t.prompt == p for t in trials) for p in prompts) + 1
    width = cell_width(originals[0])
    picture, strip = _fitted(originals[0], width), _strip(originals)
    height = picture.height + (strip.height + 2 if strip else 0) + 2 * _LINE
    row_height = height + _LINE + _GAP
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, len(prompts) * row_height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    chosen = best(trials)
    for row, prompt in enumerate(prompts):
        top = _GAP + row * row_height
        draw.text((_GAP, top), f"“{prompt}”", "black", font)
        _cell(sheet, draw, font, _GAP, top + _LINE, originals, ["original", ""])
        for column, trial in enumerate((t for t in trials if t.prompt == prompt), 1):
            mark = "  << best" if trial is chosen[prompt] else ""
            labels = [f"text {trial.text_guidance:g}, image {trial.image_guidance:g}{mark}", _figures(trial)]
            _cell(sheet, draw, font, _GAP + column * (width + _GAP), top + _LINE, trial.frames, labels)
    sheet.save(path)


def _cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    x: int,
    y: int,
    frames: np.ndarray,
    labels: list,
) -> None:
    picture, strip = _fitted(frames[0], cell_width(frames[0])), _strip(frames)
    sheet.paste(picture, (x, y))
    y += picture.height
    if strip:
        sheet.paste(strip, (x, y + 2))
        y += strip.height + 2
    for line, label in enumerate(labels):
        draw.text((x, y + line * _LINE), label, "black", font)


def _fitted(frame: np.ndarray, width: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame)).resize(
        (width, max(1, round(frame.shape[0] * width / frame.shape[1]))), Image.Resampling.LANCZOS
    )


def _strip(frames: np.ndarray) -> Image.Image | None:
    """Return the window's frames side by side in the width of a cell."""
    if len(frames) < 2:
        return None
    whole = cell_width(frames[0])
    width = whole // (len(frames) - 1)
    small = [_fitted(frame, width) for frame in frames[1:]]
    strip = Image.new("RGB", (whole, small[0].height), "white")
    for i, picture in enumerate(small):
        strip.paste(picture, (i * width, 0))
    return strip


def _figures(trial: Trial) -> str:
    names = {
        "known_answer_db": "{} dB",
        "clip_direction": "CLIP {}",
        "flicker": "flicker x{}",
        "changed": "changed {}",
    }
    found = [
        text.format(trial.figures[key]["value"])
        for key, text in names.items()
        if (trial.figures.get(key) or {}).get("value") is not None
    ]
    return "  ".join(found)


def sheet_html(
    path: Path,
    originals: np.ndarray,
    trials: Sequence[Trial],
    scene: str,
    extra: Sequence[str] = (),
    name: str = "",
) -> None:
    """Write the page; it needs no server and no network. `scene` stands in the commands, `name` (else the
    same) in the title.
    """
    chosen, sections, name = best(trials), [], name or scene
    shape = "grid tall" if cell_width(originals[0]) == TALL else "grid"
    for prompt in dict.fromkeys(t.prompt for t in trials):
        cells = [_html_cell(originals, "original", "", False)]
        for trial in (t for t in trials if t.prompt == prompt):
            label = f"text {trial.text_guidance:g}, image {trial.image_guidance:g}: {_figures(trial)}"
            cells.append(
                _html_cell(
                    trial.frames, label, command_of(trial, scene, extra), trial is chosen[trial.prompt]
                )
            )
        best_by = f"<p>Marked: the best {SCORES[chosen[prompt].score]}.</p>"
        sections.append(
            f"<h2>“{html.escape(prompt)}”</h2>{best_by}<div class='{shape}'>{''.join(cells)}</div>"
        )
    lacking = sorted({c["reason"] for t in trials for c in t.figures.values() if c["value"] is None})
    notes = "".join(f"<p class=note>not measured: {html.escape(reason)}</p>" for reason in lacking)
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Tried on {html.escape(name)}</title><style>{_STYLE}</style><h1>Tried on "
        f"{html.escape(name)}</h1>"
        f"<p>Key frame large, the next frames below it. Look before you trust a figure.</p>"
        f"{''.join(sections)}{notes}</html>"
    )


def _html_cell(frames: np.ndarray, label: str, command: str, marked: bool) -> str:
    first, *rest = (
        f"<img alt='{html.escape(label, quote=True)}, frame {i}' src='{picture_uri(f)}'>"
        for i, f in enumerate(frames)
    )
    run = f"<code>{html.escape(command)}</code>" if command else ""
    caption = f"<figcaption>{html.escape(label)}</figcaption>"
    return (
        f"<figure{' class=best' if marked else ''}>{first}<div "
        f"class=strip>{''.join(rest)}</div>{caption}{run}</figure>"
    )


_STYLE = """
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}
body{max-width:1500px;margin:2rem auto;padding:0 1rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:12px}
figure{margin:0;padding:8px;border:1px solid #8884;border-radius:8px}
h1{font-size:clamp(22px,5vw,32px)}.grid.tall{grid-template-columns:repeat(auto-fill,minmax(max(140px,15%),1fr))}
figure.best{outline:3px solid #2a7}
img{width:100%;image-rendering:auto;display:block}
.strip{display:flex;gap:2px;margin-top:2px}.strip img{flex:1;min-width:0}
code{display:block;font-size:12px;overflow-wrap:anywhere;background:#8882;padding:4px;border-radius:4px}.note{color:#a60}
"""
