"""The report: one self-contained page that opens without a server. Everything a user typed is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from i4d import config as cfg
from i4d.report.console import duration
from i4d.report.facts import RunFacts
from i4d.report.timeline import timeline
from i4d.report.videos import SHEET_VIEWS, ReportVideo, key_sheet

MOST_BYTES = 28 << 20  # of embedded video: beyond it the page points to the files beside it

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbf9;--ink:#1d1f21;--soft:#5c6166;--line:#d9dadb;--card:#fff;--note:#fff6dc;--accent:#2f5d8a}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--ink:#e6e7e8;--soft:#a0a5aa;--line:#34383d;--card:#1d2024;--note:#3a3218;--accent:#8ab4dd}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px}h2{font-size:1.15rem;margin:40px 0 10px}
p.lead{color:var(--soft);margin:0 0 18px}
figure{margin:0 0 22px}figcaption{color:var(--soft);font-size:.9rem;margin-top:4px}
video,svg.timeline{width:100%;height:auto;background:#000;border-radius:6px}
svg.timeline{background:var(--card);border:1px solid var(--line)}
.scroll{overflow-x:auto}.sheet{display:flex;gap:6px;margin-bottom:6px}
.sheet img{height:132px;width:auto;border-radius:4px;flex:none}
table{border-collapse:collapse;width:100%;background:var(--card);font-size:.93rem}
td,th{border-bottom:1px solid var(--line);padding:6px 10px;text-align:left;vertical-align:top}
td.num{font-variant-numeric:tabular-nums;white-space:nowrap;font-weight:600}
.note{background:var(--note);border-left:4px solid #d9a400;padding:8px 14px;margin:8px 0;border-radius:4px}
details{margin-top:8px}summary{cursor:pointer;color:var(--accent)}
code{font-size:.88em;overflow-wrap:anywhere}
.tick{stroke:var(--line);stroke-width:1}.axis{font:10px system-ui,sans-serif;fill:var(--soft)}.who{font:12px system-ui,sans-serif;fill:var(--ink)}
@media(max-width:600px){main{padding:16px 10px 40px}.sheet img{height:92px}}
"""


def page(run: RunFacts, metrics: dict, videos: Sequence[ReportVideo]) -> str:
    """Return the whole page."""
    title = f"“{run.request.prompt}”" if run.edited else "Reconstruction"
    camera = run.scene.cameras[run.watched[0]]
    lead = (
        f"Scene {escape(run.scene.name)}: {len(run.scene.cameras)} cameras, {run.scene.num_frames} frames of {camera.width}×{camera.height}. "
        f"Editor: {escape(run.config.editor.weights)}." if run.edited else
        f"Scene {escape(run.scene.name)}: {len(run.scene.cameras)} cameras, {run.scene.num_frames} frames of {camera.width}×{camera.height}."
    )  # fmt: skip
    sections = [
        _notices(run, metrics),
        _section("Videos", _videos(videos)),
        _section("Key frame, all cameras", _sheet(run)),
        _section("Figures", _figures(metrics)),
        _section("Who worked when", f'<div class="scroll">{timeline(run.events)}</div>{_work(metrics)}'),
        _section("Time", _timing(metrics)),
        _section("Settings", _settings(run)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>i4d: {escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="lead">{lead}</p>{"".join(sections)}</main></body></html>\n'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _notices(run: RunFacts, metrics: dict) -> str:
    """Return what a reader must know first: demonstration editor, warnings of the run, figures that cannot be had."""
    told = [e["text"] for e in run.events if e["event"] == "Warned"]
    texts = dict.fromkeys([*run.request.notices, *told, *metrics.get("notes", [])])
    return "".join(f'<p class="note">{escape(text)}</p>' for text in texts)


def _videos(videos: Sequence[ReportVideo]) -> str:
    out, room = [], MOST_BYTES
    for video in videos:
        data = video.path.read_bytes()
        if len(data) <= room:
            room -= len(data)
            source = "data:video/mp4;base64," + base64.b64encode(data).decode()
        else:
            source = f"../videos/{video.path.name}"
        panels = " | ".join(video.panels)
        out.append(
            f'<figure><video controls loop muted autoplay playsinline width="{video.width}" height="{video.height}" '
            f'aria-label="{escape(video.title)}: {escape(panels)}" src="{source}"></video>'
            f"<figcaption>{escape(video.title)}: {escape(panels)} (videos/{escape(video.path.name)})</figcaption></figure>"
        )
    return "".join(out)


def _sheet(run: RunFacts) -> str:
    rows = []
    for what, pictures in key_sheet(run):
        images = "".join(
            f'<img alt="{escape(p.alt)}" width="{p.width}" height="{p.height}" src="data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}">'
            for p in pictures
        )
        rows.append(f'<div>{escape(what)}</div><div class="sheet">{images}</div>')
    more = len(run.plan["views"]) - SHEET_VIEWS
    note = f"<p>{more} more cameras are not shown.</p>" if more > 0 else ""
    return f'<div class="scroll">{"".join(rows)}</div>{note}'


def _row(name: str, value: Any, meaning: str) -> str:
    shown = "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return f'<tr><td>{escape(name)}</td><td class="num">{escape(shown)}</td><td>{escape(meaning)}</td></tr>'


FIGURES = (
    ("reconstruction", "psnr_db", "Reconstruction, PSNR (dB)", "unedited field against the videos of cameras it never saw; higher is better"),
    ("reconstruction", "ssim", "Reconstruction, SSIM", "likewise, structural similarity; 1 is equal"),
    ("edit", "known_answer_psnr_db", "Edit, to the known answer (dB)", "the edited field's render against the exact edited video"),
    ("edit", "unedited_to_answer_psnr_db", "Unedited video, to the known answer (dB)", "how far the edit had to go: the line above should be higher"),
    ("edit", "inside_answer_psnr_db", "Inside the object, to the answer (dB)", "only where the edited object is seen"),
    ("edit", "inside_unedited_psnr_db", "Inside the object, unedited (dB)", "the same of the unedited video"),
    ("edit", "outside_psnr_db", "Outside the object (dB)", "the edited render against the answer everywhere else: what should have stayed"),
    ("edit", "outside_unedited_field_psnr_db", "Outside the object, unedited field (dB)", "what the field reaches there without any edit"),
    ("edit", "temporal_warp_error", "Flicker of the edited render", "what is left between neighbouring frames after motion, over the mean gradient"),
    ("edit", "temporal_warp_error_unedited", "Flicker of the unedited render", "likewise"),
    ("edit", "temporal_ratio", "Flicker, edited over unedited", "1: as steady as before; the unedited error counts as at least one grey level"),
    ("edit", "cross_view_error", "Disagreement of edited key frames", "between cameras that see the same point, before the refit, over the mean gradient"),
    ("edit", "cross_view_error_unedited", "Disagreement of unedited renders", "likewise"),
    ("edit", "cross_view_ratio", "Disagreement, edited over unedited", "1: the cameras agree as well as before"),
    ("each_frame", "temporal_warp_error", "Flicker when each frame is edited by itself", "what editing without the method gives, same frames"),
    ("each_frame", "temporal_warp_error_method", "Flicker of the method on the same frames", "the field's render"),
    ("each_frame", "cross_view_error", "Disagreement when each view is edited by itself", "key frame, likewise without the method"),
)  # fmt: skip


def _figures(metrics: dict) -> str:
    rows = [_row(name, metrics[part][key], text) for part, key, name, text in FIGURES if metrics.get(part, {}).get(key) is not None]
    work = metrics["work"]
    rows.append(_row("UNet forwards", work["unet_forwards"], "images times guidance branches that went through the editor's network"))
    rows.append(_row("Flow passes", work["flow_passes"], "optical flow fields of the original videos, computed once"))
    return f'<div class="scroll"><table><thead><tr><th>what</th><th>value</th><th>meaning</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _work(metrics: dict) -> str:
    work = metrics["work"]
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="num">{duration(seconds)}</td><td class="num">{work["peak_mib"].get(name, 0)} MiB</td></tr>'
        for name, seconds in work["busy_s"].items()
    )
    return f"<table><thead><tr><th>worker</th><th>busy</th><th>peak memory</th></tr></thead><tbody>{rows}</tbody></table>"


def _timing(metrics: dict) -> str:
    rows = "".join(
        f'<tr><td>{escape(name.removesuffix("_s").replace("_", " "))}</td><td class="num">{duration(seconds)}</td></tr>'
        for name, seconds in metrics["timing"].items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _settings(run: RunFacts) -> str:
    tree = cfg.to_dict(run.config)
    rows = []
    for key, option in cfg.known_keys().items():
        value: Any = tree
        for part in key.split("."):
            value = value[part]
        rows.append(f"<tr><td><code>{escape(key)}</code></td><td><code>{escape(str(value))}</code></td><td>{escape(option.metadata['help'])}</td></tr>")
    return f'<details><summary>All {len(rows)} settings</summary><div class="scroll"><table><tbody>{"".join(rows)}</tbody></table></div></details>'
