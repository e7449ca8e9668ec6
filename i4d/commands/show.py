"""The commands that look at what is there: render, eval, report, scenes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import typer

from i4d import compose
from i4d import config as cfg
from i4d.commands.lines import wrapped
from i4d.commands.runs import changed
from i4d.driver.renders import RenderJob, Shot
from i4d.errors import ConfigError
from i4d.metrics.kinds.agreement import BY_ITSELF
from i4d.report import foreign
from i4d.report.console import Console
from i4d.report.each_frame import each_frame
from i4d.report.in_words import as_csv, table
from i4d.report.make import measure
from i4d.report.make import report as write_report
from i4d.report.shots import novel_path
from i4d.report.tensorboard import write_tensorboard
from i4d.report.videos import SHORT_SIDE, Clip, write_clip
from i4d.scenes import fetch as fetching
from i4d.scenes.load import data_root
from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder
from i4d.types import Camera, FrameAddress, Scene

PATHS = ("spiral", "held-out", "side-by-side")


def report(run: Path, tensorboard: Path | None = None, camera: str = "", storage_path: str = "") -> None:
    """Write a run's videos and page again, which looks into `camera`, and its course as TensorBoard files
    where a folder is given.
    """
    folder = RunFolder.open(run, storage_path)
    if tensorboard is not None:
        count = write_tensorboard(folder, tensorboard)
        print(f"tensorboard: {tensorboard} ({count} scalars)")
    for what, place in write_report(folder, Console(), camera).items():
        print(f"{what}: {place}")


def evaluate(run: Path, each: int, storage_path: str = "", table_file: Path | None = None) -> None:
    """Measure a run again; `each` frames are also edited each by itself. What was found that way before is
    kept. Every figure is also written as CSV where a file is given.
    """
    folder, console = RunFolder.open(run, storage_path), Console()
    before = (folder.read_json("metrics.json") or {}).get("edit") or {}
    by_itself = {
        part: before[part][BY_ITSELF]
        for part in ("temporal", "cross_view")
        if BY_ITSELF in (before.get(part) or {})
    }
    if each:
        console.begin("edit each frame by itself", each)
        by_itself = each_frame(folder, each, console.progress)
        console.close()
    metrics = measure(folder, console)
    for part, found in by_itself.items():
        metrics["edit"].setdefault(part, {})[BY_ITSELF] = found
        method, alone = found["method"]["relative"], found["edited"]["relative"]
        console.line(
            f"  {part}: {method:.3f} with the method, {alone:.3f} with each of {found['frames']} "
            "frames edited by itself"
        )
    folder.write_json("metrics.json", metrics)
    print(
        "\n".join([*table(metrics), "", "last column: which way is better; what each means: docs/metrics.md"])
    )
    print(f"metrics: {folder.path / 'metrics.json'}")
    if table_file is not None:
        write_atomically(table_file, as_csv(metrics).encode())
        print(f"table: {table_file}")


def evaluate_videos(
    folder: Path,
    originals: Path | None,
    like: Path | None,
    prompt: str,
    captions: Sequence[str],
    masks: Path | None = None,
    storage_path: str = "",
) -> None:
    """Measure a folder of edited videos against originals (a folder) or a run, and write
    FOLDER/metrics.json.
    """
    if originals and like:
        raise ConfigError("--originals and --like exclude each other", "a run has its originals in it")
    if captions and len(captions) != 2:
        raise ConfigError(
            f"--caption was given {len(captions)} times",
            "give it twice: the scene before, and after the edit",
        )
    footage = foreign.Footage(RunFolder.open(like, storage_path)) if like else None
    prompt = prompt or (footage.prompt if footage else "")
    if not prompt:
        raise ConfigError("--prompt is missing", "say what the videos were edited by")
    if masks is not None and not masks.is_dir():
        raise ConfigError(
            f"--masks {masks}: no such folder",
            "masks named as the videos are: cam00.mp4, cam00/ or cam00.png",
        )
    if footage:
        pairs = foreign.pairs_with_run(folder, footage)
    elif originals:
        pairs = foreign.pairs_with_folder(folder, originals)
    else:
        raise ConfigError("--originals is missing", "a folder of the unedited videos, or --like with a run")
    console = Console()
    console.begin("measure", len(pairs))
    found = foreign.measure(
        pairs, prompt, footage, (captions[0], captions[1]) if captions else None, console.progress, masks
    )
    console.close()
    write_atomically(folder / "metrics.json", json.dumps(found, indent=1).encode())
    for name, figures in [
        *found["cameras"].items(),
        ("between cameras", {"cross_view": found["cross_view"]}),
    ]:
        known = {
            key: cell for key, cell in figures.items() if isinstance(cell, dict) and cell["value"] is not None
        }
        shown = ", ".join(f"{key} {cell['value']:g}{_between(cell)}" for key, cell in known.items())
        print(f"{name}: {shown or 'nothing could be measured'}")
    lacking = {
        cell["reason"]
        for f in found["cameras"].values()
        for cell in f.values()
        if isinstance(cell, dict) and cell["value"] is None
    }
    for reason in sorted(lacking):
        print(f"not measured: {reason}")
    print(f"metrics: {folder / 'metrics.json'}")


def _between(cell: Mapping[str, Any]) -> str:
    return " ({:g} to {:g})".format(*cell["interval"]) if cell.get("interval") else ""


# ------------------------------------------------------------------------------------------------ renders
def render(
    run: Path,
    path: str,
    frames: int,
    turns: float,
    before: bool,
    scale: float,
    options: Mapping[str, Any],
    storage_path: str = "",
) -> None:
    """Render a run's field and write H.264 under its `videos/`; ConfigError for a path that is not known."""
    if path not in PATHS:
        raise ConfigError(f"--path {path}", f"one of {', '.join(PATHS)}")
    if frames < 0 or not 0.1 <= scale <= 8:
        raise ConfigError(
            f"--frames {frames} --scale {scale:g} is out of range", "frames from 0 on, scale 0.1 to 8"
        )
    folder = RunFolder.open(run, storage_path)
    when = 0 if before else -1
    jobs = (
        _spiral(frames, turns, scale, when)
        if path == "spiral"
        else _watched(path == "side-by-side", scale, when)
    )
    console = Console()
    made = compose.render_run(run, jobs, console, changed(options), storage_path)
    console.close()
    prepared = compose.prepared_scene(folder)
    assert prepared is not None, "render_run has read it"
    panels = {job: _addresses(parts) for job, parts in made.items()}
    if path == "side-by-side":
        views = prepared.scene.held_out_views or prepared.scene.train_views[:1]
        panels = {
            "original": [
                prepared.originals.lookup(v, f) for v in views for f in range(prepared.scene.num_frames)
            ],
            **panels,
        }
    reads = tuple(partial(_frame, folder, places) for places in panels.values())
    names = tuple(panels) if len(panels) > 1 else ()
    clip = Clip(path, "", path, reads, min(map(len, panels.values())), names)
    suffix = "-before" if before else ""
    place = folder.path / "videos" / f"{path}{suffix}.mp4"
    write_clip(place, clip, prepared.scene.fps, SHORT_SIDE if path == "side-by-side" else 1)
    print(f"video: {place}")


def _scaled(camera: Camera, scale: float) -> Camera:
    return camera.resized(round(camera.width * scale), round(camera.height * scale))


def _spiral(frames: int, turns: float, scale: float, when: int) -> Callable[[Scene], Sequence[RenderJob]]:
    def jobs(scene: Scene) -> Sequence[RenderJob]:
        path = novel_path(scene, frames or scene.num_frames, turns)
        shots = tuple(Shot(_scaled(camera, scale), (i % scene.num_frames,)) for i, camera in enumerate(path))
        return [RenderJob("spiral", shots, when)]

    return jobs


def _watched(both: bool, scale: float, when: int) -> Callable[[Scene], Sequence[RenderJob]]:
    def jobs(scene: Scene) -> Sequence[RenderJob]:
        views = scene.held_out_views or scene.train_views[:1]
        every = tuple(range(scene.num_frames))
        shots = tuple(Shot(_scaled(scene.cameras[v], 1.0 if both else scale), every) for v in views)
        if both:
            return [RenderJob("reconstruction", shots, 0), RenderJob("edited", shots, -1)]
        return [RenderJob("held-out", shots, when)]

    return jobs


def _addresses(parts: list[dict]) -> list[FrameAddress]:
    return [FrameAddress(p["blocks"]["rgb"]["digest"], row) for p in parts for row in range(len(p["frames"]))]


def _frame(folder: RunFolder, places: list[FrameAddress], index: int) -> np.ndarray:
    return folder.reader.row(places[index])


# ------------------------------------------------------------------------------------------------ scenes
def scenes() -> None:
    """List the shipped scenes and what each comes from."""
    for path in sorted(cfg.shipped("scenes").glob("*.yaml")):
        first = path.read_text().splitlines()[0].lstrip("# ")
        print(wrapped(f"{path.stem:18} {first}", " " * 19))
    print("presets:           " + ", ".join(sorted(p.stem for p in cfg.shipped("presets").glob("*.yaml"))))
    print(
        wrapped(
            "Fetch one:         i4d scenes fetch NAME, one of " + ", ".join(sorted(fetching.PUBLIC)), " " * 19
        )
    )


def fetch(name: str, data: str, yes: bool) -> None:
    """Get a public scene into the data root, after saying what it is and asking."""
    scene = fetching.public_scene(name)
    root = data_root(data or None)
    print(fetching.describe(scene, root))
    if not yes and not typer.confirm("Fetch it?"):
        print("nothing was fetched")
        return
    free = shutil.disk_usage(root if root.exists() else root.absolute().parent).free
    console = Console()
    place = fetching.fetch(scene, root, free, console.progress, console.line)
    console.close()
    print(f"scene: {place}")
