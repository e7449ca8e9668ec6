"""The commands that compute: prepare, train, edit, resume. Each returns its exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from i4d import compose
from i4d import config as cfg
from i4d.commands.checking import check_first
from i4d.commands.layers import layered, settled
from i4d.commands.run_request import Request, checked_prompt
from i4d.commands.start_from import checkpoint_from
from i4d.config import Config
from i4d.driver.events import Emitter
from i4d.driver.rounds import RunResult
from i4d.errors import ConfigError
from i4d.report.console import Console, duration
from i4d.report.make import finish
from i4d.scenes.load import load_scene
from i4d.scenes.space_trial import settle_space
from i4d.store.run_folder import RunFolder

STOPPED = 130
Options = Mapping[str, Any]


def edit(
    prompt: str,
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Options,
    sets: Sequence[str],
    ckpt: Path | None = None,
) -> int:
    """Carry out an edit into a new run folder; returns the exit code."""
    request = Request("edit", checked_prompt(prompt))
    compose.check_out(out)
    config = settled(layered(scene, presets, files, options, sets))
    start = checkpoint_from(ckpt) if ckpt else None
    if start:
        start.settle(config)
    return _carried_out(
        out, lambda console: compose.start_run(request, config, out, console, start_from=start), options
    )


def edit_all(
    prompts: Path,
    prompt: str,
    ckpt: Path | None,
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Options,
    sets: Sequence[str],
) -> int:
    """Carry out the edits of a file of prompts, which share scene, field and editors; returns the exit
    code.
    """
    from i4d.commands.prompts import SharedEdits, read_prompts

    console = Console()
    edits = SharedEdits(
        read_prompts(prompts, prompt, ckpt),
        settled(layered(scene, presets, files, options, sets)),
        out,
        console,
    )
    try:
        result = edits.carry_out(
            lambda place: print(f"report: {finish(RunFolder.open(place), console)['report']}", flush=True)
        )
    except KeyboardInterrupt:
        return STOPPED
    finally:
        console.close()
    if result.stopped:
        console.line(
            "stopped; everything stored is kept. `i4d resume` goes on with each run that is not finished"
        )
    return STOPPED if result.stopped else 0


def train(
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Options,
    sets: Sequence[str],
) -> int:
    """Fit a field into a new run folder; returns the exit code."""
    compose.check_out(out)
    config = settled(layered(scene, presets, files, options, sets))
    return _carried_out(
        out, lambda console: compose.start_run(Request("train"), config, out, console), options
    )


def prepare(
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Options,
    sets: Sequence[str],
) -> None:
    """Decode a scene into the store that a run in `out` will use."""
    compose.check_out(out)
    config = settled(layered(scene, presets, files, options, sets))
    console = Console()
    loaded = settle_space(load_scene(config.scene, None, console.making), config, console.trying)
    checked = check_first(loaded, config, console)
    path = out.absolute()
    folder = RunFolder(path, config.storage_path)
    prepared = compose.prepare_scene(loaded, config, folder, Emitter([console]), console.progress, checked)
    size = loaded.cameras[0]
    print(
        f"{len(loaded.cameras)} cameras, {loaded.num_frames} frames of {size.width}x{size.height}: "
        f"{prepared.originals.digest()}"
    )


def resume(
    run: Path,
    options: Options,
    sets: Sequence[str] = (),
    storage_path: str = "",
    allow_change: bool = False,
) -> int:
    """Go on with a run, perhaps with other workers; returns the exit code."""
    change = changed({**options, **cluster_settings(sets)})
    return _carried_out(
        run,
        lambda console: compose.resume_run(
            run, console, change, storage_path=storage_path, allow_change=allow_change
        ),
        options,
    )


def as_flags(options: Options) -> list[str]:
    """Return the flags that say again where to compute: a run folder does not."""
    flags = ["--local"] if options.get("cluster.executor") == "local" else []
    known = {"cluster.address": "--address", "cluster.editors": "--editors", "cluster.device": "--device"}
    for key, flag in known.items():
        if options.get(key) not in (None, ""):
            flags += [flag, str(options[key])]
    return flags


def cluster_settings(sets: Sequence[str]) -> dict[str, Any]:
    """Return the settings of --set of a run that goes on; ConfigError for one that says what is computed."""
    out = dict(cfg.parse_assignment(text) for text in sets)
    for key in out:
        if not key.startswith("cluster."):
            raise ConfigError(
                f"--set {key}: a run goes on with the settings that it was begun with",
                "only cluster... can be set; change config.yaml and give --allow-change to begin anew",
            )
    return out


def changed(options: Options) -> Callable[[Config], None]:
    """Return a function that puts the options that were given into a configuration."""

    def change(config: Config) -> None:
        for key, value in options.items():
            if value is not None:
                cfg.set_key(config, key, value, "option")

    return change


def _carried_out(out: Path, work: Callable[[Console], RunResult], options: Options) -> int:
    console, began = Console(), time.monotonic()
    again = " ".join(["i4d resume", str(out), *as_flags(options)])
    try:
        result = work(console)
        if result.stopped:
            console.line(f"stopped; everything stored is kept. Go on with: {again}")
            return STOPPED
        places = finish(RunFolder.open(out), console)
    except KeyboardInterrupt:
        console.close()
        console.line(f"stopped; everything stored is kept. Go on with: {again}")
        return STOPPED
    finally:
        console.close()
    console.line(f"finished in {duration(time.monotonic() - began)}")
    for what, place in places.items():
        print(f"{what}: {place}")
    return 0
