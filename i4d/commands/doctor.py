"""`i4d doctor`: what is there against what a configuration needs, one line each, with its fix."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from i4d.commands.layers import EXAMPLE_SCENE, layered, settled
from i4d.commands.lines import wrapped
from i4d.commands.peaks import editor_bytes, size_batch, trainer_bytes
from i4d.config import Config
from i4d.editors.registry import editor_kind
from i4d.errors import I4DError
from i4d.exec.hardware import visible_cards
from i4d.flow.find import find_estimator
from i4d.scenes.calibration.check import check_scene
from i4d.scenes.load import load_scene
from i4d.scenes.procedural import mono
from i4d.scenes.procedural.demo import HEIGHT, NUM_CAMERAS, NUM_FRAMES, WIDTH
from i4d.types import Scene

NEEDED = (
    "torch",
    "ray",
    "diffusers",
    "transformers",
    "accelerate",
    "numpy",
    "pyarrow",
    "safetensors",
    "av",
    "opencv-python-headless",
)
HOST_BYTES = 4 << 30  # driver, trainer and an editor of the demonstration together
GIB = 1 << 30


State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line: how it stands, what was looked at, what was found, what to do about it."""

    state: State
    what: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.state:4}  {self.what:9} {self.found}" + (f"  -> {self.fix}" if self.fix else "")


def doctor(
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Mapping[str, Any],
    sets: Sequence[str],
    out: Path = Path("runs"),
) -> int:
    """Print every finding; returns 0 unless one fails, else the exit code of the first failure's kind."""
    config = settled(layered(scene or ("" if files else EXAMPLE_SCENE), presets, files, options, sets))
    failed = 0
    for finding in examine(config, out):
        print(wrapped(str(finding), " " * 16), flush=True)
        failed += finding.state == "fail"
    print(
        "everything this configuration needs is there"
        if not failed
        else f"{failed} of the lines above must be mended first"
    )
    return 1 if failed else 0


def examine(config: Config, out: Path = Path("runs")) -> Iterator[Finding]:
    """Yield the findings about a configuration, cheap ones first; `out` is where its run will lie."""
    yield from versions()
    cards = visible_cards()
    device = "cuda" if cards and config.cluster.device != "cpu" else "cpu"
    yield devices(config, cards)
    size, findings = _scene(config)
    yield from findings
    place, weights = _weights(config, device)
    yield weights
    yield _flow(config)
    if size is not None:
        yield memory(config, device, cards, place, size)
        yield disk(config, size, out)
    yield _ray(config)


def versions() -> Iterator[Finding]:
    """Yield the interpreter and the packages that a run needs."""
    state: State = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Finding(
        state, "python", platform.python_version(), "" if state == "ok" else "use Python 3.11 or later"
    )
    found, missing = [], []
    for name in NEEDED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding(
        "fail" if missing else "ok",
        "packages",
        ", ".join(found),
        f"pip install {' '.join(missing)}" if missing else "",
    )


def devices(config: Config, cards: Sequence[tuple[str, int]]) -> Finding:
    """Return what computes."""
    names = ", ".join(f"{name} ({size / GIB:.0f} GiB)" for name, size in cards)
    cores = len(os.sched_getaffinity(0))
    if config.cluster.device == "cuda" and not cards:
        return Finding(
            "fail", "devices", f"no GPU, {cores} cores", "use --device cpu, or a host with an NVIDIA driver"
        )
    if config.cluster.gpus > len(cards):
        return Finding(
            "fail",
            "devices",
            f"{len(cards)} GPUs, cluster.gpus asks for {config.cluster.gpus}",
            "lower cluster.gpus",
        )
    return Finding("ok", "devices", f"{names or 'no GPU'}, {cores} cores")


def _scene(config: Config) -> tuple[tuple[int, int, int, int] | None, list[Finding]]:
    """Return (cameras, frames, width, height) of the scene, where it can be read, and the findings about
    it.
    """
    root = Path(config.scene.root)
    width, height, frames = (
        config.scene.width or WIDTH,
        config.scene.height or HEIGHT,
        config.scene.num_frames or NUM_FRAMES,
    )
    made = [Finding("ok", "scene", "the demo is made on first use")]
    if config.scene.reader == "demo" and not (root / f"{width}x{height}x{frames}").exists():
        return (NUM_CAMERAS, frames, width, height), made
    if config.scene.reader == "demo_mono" and not root.exists():
        return (2, config.scene.num_frames or mono.NUM_FRAMES, width, height), made
    try:
        scene = load_scene(config.scene)
    except I4DError as err:
        return None, [Finding("fail", "scene", err.message, err.hint)]
    camera = scene.cameras[0]
    shape = (len(scene.cameras), scene.num_frames, camera.width, camera.height)
    found = f"{scene.name}: {shape[0]} cameras, {shape[1]} frames of {camera.width}x{camera.height}"
    findings = [Finding("ok", "scene", found), *(Finding("ok", "input", text) for text in scene.notes)]
    return shape, findings + ([_poses(scene, config)] if config.scene.check else [])


def _poses(scene: Scene, config: Config) -> Finding:
    """Return what the calibration check says of a scene."""
    try:
        check = check_scene(scene, config.scene)
    except I4DError as err:
        return Finding("fail", "poses", err.message, err.hint)
    if check.problems:
        first = check.problems[0]
        more = f"; {len(check.problems) - 1} more, see `i4d check`" if len(check.problems) > 1 else ""
        return Finding("fail" if check.stopping else "warn", "poses", first.text + more, first.mend)
    px = [c.median_px for c in check.cameras if c.median_px is not None]
    if px:
        return Finding("ok", "poses", f"at most {max(px):.2f} px from their epipolar lines, and in step")
    return Finding("ok", "poses", "; ".join(check.notes) or "motion agrees with them")


def _weights(config: Config, device: str) -> tuple[str, Finding]:
    try:
        kind = editor_kind(config.editor)
        place = kind.resolve(config.editor.weights, device)
        state, text, fix = kind.availability(place)
    except I4DError as err:
        return "", Finding("fail", "editor", err.message, err.hint)
    return place, Finding(state, "editor", text, fix)


def _flow(config: Config) -> Finding:
    if config.flow.method == "none":
        return Finding("ok", "flow", "none: edits are not carried along time")
    try:
        _, sentence = find_estimator(config.flow.method, config.flow.checkpoint)
    except I4DError as err:
        return Finding("fail", "flow", err.message, err.hint)
    plain = config.flow.method == "auto" and "DIS" in sentence
    fix = "set flow.checkpoint or I4D_RAFT to raft-things.pth for better motion" if plain else ""
    return Finding("warn" if plain else "ok", "flow", sentence.removeprefix("flow: "), fix)


def memory(
    config: Config, device: str, cards: Sequence[tuple[str, int]], place: str, size: tuple[int, int, int, int]
) -> Finding:
    """Return predicted peaks beside what there is."""
    _, frames, width, height = size
    if device == "cpu":
        host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        state: State = "ok" if host >= HOST_BYTES else "warn"
        fix = "" if state == "ok" else "close other programs, or use --local"
        return Finding(state, "memory", f"{host / GIB:.1f} GiB of host memory", fix)
    smallest = min(card for _, card in cards)
    trainer = trainer_bytes(config, frames)
    smaller = size_batch(config, place, width, height, smallest)
    editor = editor_bytes(config, place, width, height, smallest)
    found = (
        f"predicted peaks: trainer {trainer / GIB:.1f} GiB, editor {editor / GIB:.1f} GiB; {len(cards)} "
        f"x {smallest / GIB:.0f} GiB"
    )
    found += f"; {smaller.partition(':')[0]}" if smaller else ""
    if max(trainer, editor) > smallest:
        return Finding(
            "fail",
            "memory",
            found,
            "more scene.downsample, a smaller field.grid_end or schedule.sequence_length",
        )
    if len(cards) == 1 and trainer + editor > smallest:
        return Finding(
            "warn",
            "memory",
            found,
            "they take turns on the one GPU; a second GPU lets them work side by side",
        )
    return Finding("ok", "memory", found)


def disk(config: Config, size: tuple[int, int, int, int], out: Path) -> Finding:
    """Return whether a run's frames have room where they will be stored: `storage_path`, else the run."""
    cameras, frames, width, height = size
    needed = cameras * frames * width * height * (3 * (2 + config.schedule.rounds) + 8) + (1 << 28)
    if "://" in config.storage_path:
        return Finding("ok", "disk", f"blocks go to {config.storage_path}, whose room is not known here")
    where = Path(config.storage_path or out).absolute()
    while not where.exists():
        where = where.parent
    free = shutil.disk_usage(where).free
    found = f"{free / GIB:.1f} GiB free at {where}, about {needed / GIB:.2f} GiB needed for a run"
    return Finding(
        "ok" if free > needed else "fail",
        "disk",
        found,
        "" if free > needed else "free some space, or set storage_path",
    )


def _ray(config: Config) -> Finding:
    if config.cluster.executor == "local":
        return Finding("ok", "ray", "not used: threads of this process")
    from i4d.exec.on_ray.session import dashboard_installed, probe

    address = config.cluster.address or os.environ.get("RAY_ADDRESS", "")
    if address and address != "auto":
        try:
            probe(address)
        except I4DError as err:
            return Finding("fail", "ray", err.message, err.hint)
        return Finding("ok", "ray", f"a head answers at {address}")
    if not dashboard_installed():
        return Finding(
            "warn",
            "ray",
            "a local Ray is started with each run, without a dashboard",
            'pip install "ray[default]"',
        )
    return Finding("ok", "ray", "a local Ray is started with each run, with a dashboard")
