"""The report: one HTML file that opens without a server, asks nothing of the network and works on a phone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from i4d import __version__
from i4d import config as cfg
from i4d.report.capture import capture_section
from i4d.report.embed import picture_uri
from i4d.report.evaluate import evaluate
from i4d.report.evolution import evolution, flow_overlays, shown_view
from i4d.report.figures import groups
from i4d.report.footage import Footage
from i4d.report.layout import again, sheet, which
from i4d.report.page_figures import faint, figures_table, tiles
from i4d.report.page_videos import videos
from i4d.report.round_curves import curves
from i4d.report.timeline import clock_text, fit_svg, timeline_svg
from i4d.report.workload import KINDS, Workload, workload_of
from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder

ASSETS = Path(__file__).resolve().parents[1] / "assets" / "report"
_CSP = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'"
)


def write_report(run: RunFolder, camera: str = "") -> Path:
    """Write RUN/report/index.html and return its path; measures and makes videos first where that was not
    done.

    `camera`: whose key frame and warps are shown; empty: the middle one of the edited cameras. I4DError where
    nothing is committed yet.
    """
    footage, load = Footage(run), workload_of(run)
    metrics = run.read_json("metrics.json") or evaluate(run)
    path = run.path / "report" / "index.html"
    write_atomically(path, page(footage, load, metrics, camera).encode())
    return path


def page(footage: Footage, load: Workload, metrics: dict, camera: str = "") -> str:
    """Return the whole page; `camera` as in `write_report`."""
    view = shown_view(footage, camera)
    title = footage.prompt or f"{footage.scene.name}: reconstruction"
    style, script = ((ASSETS / name).read_text() for name in ("page.css", "page.js"))
    body = "\n".join(
        [
            header(footage, load, metrics),
            videos(footage),
            key_frames(footage),
            evolution(footage, view),
            flow_overlays(footage, view),
            curves(metrics.get("rounds", ()), footage.plan.get("stop_change", 0.0)),
            figures_table(groups(metrics), footage.run.path.name),
            timeline(load, notices(footage)),
            capture_section(footage.run),
            settings(footage),
            reproduce(footage),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)} · i4d</title><link rel="icon" href="data:,"><style>{style}</style></head>\n'
        f"<body><main>\n{body}\n<footer>Made by i4d {escape(__version__)} on "
        f"{escape(metrics['made'])}.</footer></main>\n"
        f"<script>{script}</script></body></html>\n"
    )


# ------------------------------------------------------------------------------------------------ top
def header(footage: Footage, load: Workload, metrics: dict) -> str:
    """Return title, summary, notices and the main figures."""
    title = (
        f"“{escape(footage.prompt)}”" if footage.prompt else f"{escape(footage.scene.name)}, reconstructed"
    )
    notes = "".join(
        f'<p class="note">{escape(text)}</p>'
        for text in [*notices(footage), *faint(metrics), *metrics.get("warnings", ())]
    )
    kind = "Edit" if footage.edited else "Reconstruction"
    return (
        f'<p class="eyebrow">i4d · {kind} of {escape(footage.scene.name)}</p><h1>{title}</h1>'
        f'<p class="lead">{escape(summary(footage, load, metrics))}</p>{notes}<div '
        f'class="tiles">{"".join(tiles(metrics))}</div>'
    )


def summary(footage: Footage, load: Workload, metrics: dict) -> str:
    """Return one or two sentences about the run."""
    scene, camera = footage.scene, footage.scene.cameras[0]
    trained = len(scene.train_views)
    what = (
        f"{trained} camera{'s' if trained != 1 else ''}, {scene.num_frames} frames of "
        f"{camera.width}×{camera.height}"
    )
    seconds = clock_text(metrics["timing"]["total_s"])
    if not footage.edited:
        return f"A moving scene ({what}) was fitted in {seconds}."
    rounds = max(footage.manifests)
    editor = footage.run.config().get("editor", {}).get("weights", "")
    text = f"A moving scene ({what}) was edited by this sentence in {rounds} round{'s' if rounds > 1 else ''}"
    text += f" with {editor}" if editor else ""
    text += f", {metrics['unet_forwards']:,} UNet forwards and {seconds} in all."
    text += limits(footage)
    if ended := footage.run.read_json("rounds.json"):
        text += (
            f" The rounds ended because {ended['reason']}; round {ended['kept']} is shown, the one that "
            "disagrees least with itself."
        )
    near, far = (
        metrics.get("edit", {}).get(key) for key in ("known_answer_psnr_db", "unedited_to_answer_psnr_db")
    )
    if near is not None:
        seen = "a camera that was never trained on" if metrics["held_out"] else "a camera"
        text += (
            f" Seen from {seen}, the result lies {near:.1f} dB from the known answer{known_answer(metrics)}; "
            f"the unedited video lies {far:.1f} dB from it."
        )
    return text


def known_answer(metrics: dict) -> str:
    """Return in brackets what the known answer of a run is; empty where the metrics do not say."""
    said = metrics.get("edit", {}).get("known_answer_is")
    return f" ({said})" if said else ""


def limits(footage: Footage) -> str:
    """Return what was said besides the sentence: where the edit may act, which key frame was given; empty
    where nothing was.
    """
    said = footage.run.config().get("local", {})
    if said.get("reference"):
        camera = footage.camera(footage.plan["reference_view"]).name
        text = f" The key frame of {camera} was given as a picture; everything else follows it."
    else:
        text = ""
    if footage.region is None:
        return text
    where = (
        "a box"
        if footage.region.box
        else f"masks of {len({run.view for run in footage.region.masks})} camera(s)"
    )
    return (
        f"{text} It acts inside {where} only; elsewhere frames are the originals and renders the "
        "unedited field's."
    )


def notices(footage: Footage) -> list[str]:
    """Return what a reader must know first, each once: the demonstration editor, a prompt outside its
    repertoire.
    """
    out = list(footage.request.notices)
    if footage.request.demonstration and not any("demonstration editor" in text for text in out):
        out.insert(0, "Made with a demonstration editor: small, trained for a short list of edits.")
    return list(dict.fromkeys(out))


# ------------------------------------------------------------------------------------------------ pictures
def key_frames(footage: Footage) -> str:
    """Return the sheet of the key instant: a row of originals and a row as edited, a column per camera."""
    if not footage.edited:
        return ""
    views, key = footage.scene.train_views, footage.key_frame
    cells = ["<span></span>", *(f"<span>{escape(footage.camera(v).name)}</span>" for v in views)]
    for row, read in (("Original", footage.original), ("Edited", footage.edited_frame)):
        cells.append(f'<span class="row">{row}</span>')
        for view in views:
            label = escape(f"{row} key frame of {footage.camera(view).name}")
            cells.append(f'<img alt="{label}" src="{picture_uri(read(view, key))}">')
    when = which(key, footage.scene.num_frames).capitalize()
    many = "all training cameras are edited together at this instant, then each along time."
    hint = (
        f"{when}: "
        f"{many if len(views) > 1 else 'this instant is edited first, the others follow it along time.'}"
    )
    columns = sheet(len(views), footage.camera(views[0]))
    shown = f"<div class='card scroll'><div class='sheet' style='{columns}'>{''.join(cells)}</div></div>"
    return f"<h2>Key frame</h2><p class='hint'>{hint}</p>{shown}{again(footage.run.path.name, 'report')}"


# ------------------------------------------------------------------------------------------------ tables
def timeline(load: Workload, told: Sequence[str] = ()) -> str:
    """Return who worked when, with warnings that were not `told` yet, the idle share of every worker, and the
    course of the fit.
    """
    if not load.spans:
        return ""
    kinds = [kind for kind in KINDS if any(span.kind == kind for span in load.spans)]
    legend = "".join(f'<li><i class="k-{kind.replace(" ", "-")}"></i>{kind}</li>' for kind in kinds)
    rows = []
    for worker in load.workers.values():
        whole, own = load.idle_share(worker.name, load.driven), load.idle_share(worker.name, load.editing)
        shares = "".join(
            f"<td class='num'>{'n/a' if share is None else f'{100 * share:.0f} %'}</td>"
            for share in (whole, own)
        )
        notes = f"<small>{escape('; '.join(worker.notes))}</small>" if worker.notes else ""
        rows.append(
            f"<tr><td>{escape(worker.name)}{notes}</td><td>{escape(worker.label)}</td><td>{escape(worker.node)}</td>"
            f"<td class='num'>{load.busy(worker.name):.1f} s</td>{shares}</tr>"
        )
    where = f"<p class='hint'>{escape(load.placement)}</p>" if load.placement else ""
    trouble = "".join(f"<p class='note'>{escape(text)}</p>" for text in load.warnings if text not in told)
    if load.retries or load.restarts:
        trouble += (
            f"<p class='hint'>Pieces of work sent again: {load.retries}; services restarted: "
            f"{load.restarts}.</p>"
        )
    fit = fit_svg(load)
    agreed = (
        f"<p class='hint'>Depth agrees within 5 % between neighbouring cameras for "
        f"{100 * load.depth_agreement:.0f} % of the pixels.</p>"
        if load.depth_agreement is not None
        else ""
    )
    curve = (
        f"<h3>Fit: PSNR of the training batches</h3><div class='card scroll timeline'>{fit}</div>{agreed}"
        if fit
        else ""
    )
    head = "".join(f"<th>{text}</th>" for text in ("Worker", "Device", "Host"))
    head += "".join(
        f"<th class='num'>{text}</th>" for text in ("At work", "Idle, all stages", "Idle while editing")
    )
    return (
        f"<h2>Who worked when</h2>{where}{trouble}<div class='card'><div class='scroll "
        f"timeline'>{timeline_svg(load)}</div>"
        f"<ul class='legend'>{legend}</ul></div>"
        "<div class='card scroll' style='margin-top:12px'><table "
        f"class='workers'><tr>{head}</tr>{''.join(rows)}</table></div>{curve}"
    )


# ------------------------------------------------------------------------------------------------ settings
def flattened(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out |= flattened(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def settings(footage: Footage) -> str:
    """Return every setting of the run, what it means, and where it differs from the default."""
    known, defaults = cfg.known_keys(), flattened(cfg.to_dict(cfg.Config()))
    rows = []
    for key, value in flattened(footage.run.config()).items():
        changed = " class='changed'" if key in defaults and defaults[key] != value else ""
        about = known[key].metadata["help"] if key in known else ""
        rows.append(
            f"<tr><td><code>{escape(key)}</code><small>{escape(about)}</small></td><td{changed}>{escape(_shown(value))}</td></tr>"
        )
    return (
        f"<h2>Settings</h2><p class='hint'>All {len(rows)} of them; coloured where they differ from "
        "the program's defaults.</p>"
        "<details class='card'><summary>Show every setting</summary><div "
        "class='scroll'><table><tr><th>Setting</th><th>Value</th></tr>"
        f"{''.join(rows)}</table></div></details>"
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(v) for v in value) + "]"
    return "(empty)" if value == "" else str(value)


def reproduce(footage: Footage) -> str:
    """Return the command that makes this run again, and those that look at it, measure it and make its page
    again.
    """
    run = footage.run.path.name
    begin = ["edit", "--prompt", footage.prompt] if footage.edited else ["train"]
    command = ["i4d", *begin, "--config", f"{run}/config.yaml", "--out", f"{run}-again"]
    lines = [shlex.join(command), *(shlex.join(["i4d", what, run]) for what in ("view", "eval", "report"))]
    where = f"Here and above, commands are for the folder that holds {escape(run)}."
    kept = f"<p class='hint'>{where} It keeps config.yaml, metrics.json, events.jsonl and videos/.</p>"
    return f"<h2>Do it again</h2><pre>{escape(chr(10).join(lines))}</pre>{kept}"
