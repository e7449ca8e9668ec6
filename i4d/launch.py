"""The parts of a run around its rounds: services, checks of where it will lie, being asked to stop."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from i4d.commands.workplace import Workplace
from i4d.config import Config
from i4d.driver import events
from i4d.driver.events import Emitter
from i4d.driver.pool import Limits
from i4d.errors import ClusterError, ConfigError
from i4d.exec.placement import Placement, service_specs
from i4d.exec.protocol import Handle
from i4d.exec.together import Together
from i4d.identity import Chosen
from i4d.schedules.values import Plan
from i4d.services.trainer import ONLY_FIRST, TrainerScene
from i4d.store.objects import write_error
from i4d.store.run_folder import RunFolder, check_run_id
from i4d.types import EditSettings, Scene

TRAINER = "i4d.services.trainer:TrainerService"
EDITOR = "i4d.services.editor:EditorService"


@contextmanager
def stage(emit: Emitter, name: str, total: int) -> Iterator[None]:
    """Emit the beginning and end of a stage outside the driver's rounds."""
    began = time.monotonic()
    emit(events.StageStarted(0, name, total))
    yield
    emit(events.StageFinished(0, name, time.monotonic() - began))


def start_services(
    config: Config,
    folder: RunFolder,
    scene: Scene,
    plan: Plan,
    placement: Placement,
    chosen: Chosen,
    work: Workplace,
    emit: Emitter,
) -> list[Any]:
    """Return the trainer, the editors, and the editors that join when there is room; without rounds only the
    trainer.
    """
    specs = specs_of(
        config, folder, scene, placement, chosen.place, plan.batch, plan.settings, work.in_process
    )
    now = 1 + len(placement.editors) if plan.rounds else 1
    with stage(emit, "start services", now):
        if placement.trainers > 1:
            ranks = work.executor.start_group(specs[0], placement.trainers, config.cluster.start_timeout_s)
            work.executor = Together(work.executor, Handle(specs[0].name), ranks, ONLY_FIRST)
            handles = [
                Handle(specs[0].name),
                *work.executor.start_all(specs[1:now], config.cluster.start_timeout_s),
            ]
        else:
            handles = work.executor.start_all(specs[:now], config.cluster.start_timeout_s)
    return handles + [work.executor.start_later(spec) for spec in (specs[now:] if plan.rounds else [])]


def specs_of(
    config: Config,
    folder: RunFolder,
    scene: Scene,
    placement: Placement,
    editor: str,
    batch: int,
    settings: EditSettings | None,
    in_process: bool,
) -> list:
    """Return the specs of all services of a run."""
    known = TrainerScene(scene.cameras, scene.bounds, scene.num_frames, scene.train_views, scene.missing)
    common: dict[str, Any] = {"store": folder.store.uri, "memory_cap_gb": config.editor.memory_cap_gb}
    camera = scene.cameras[scene.train_views[0]]
    trainer = {**common, "scene": known, "field": config.field, "seed": config.seed}
    editor_kwargs = {
        **common,
        "editor": replace(config.editor, weights=editor),
        "flow": config.flow,
        "warm_up_size": (camera.height, camera.width),
        "warm_up_batch": batch,
        "settings": settings,
    }
    return service_specs(placement, (TRAINER, trainer), (EDITOR, editor_kwargs), in_process)


def limits_of(config: Config) -> Limits:
    """Return how long a configuration lets things take."""
    return Limits(config.cluster.timeout_s, config.cluster.start_timeout_s)


def require_shared(work: Workplace, folder: RunFolder) -> None:
    """Raise ClusterError naming a node that does not see what is written to the store here; a URI is
    trusted.
    """
    if "://" in folder.store.uri:
        return
    # a folder of the same name may be there on every node and be another one on each
    key = f"probe/{uuid.uuid4().hex}"
    folder.store.put(key, b"seen")
    place = str(folder.store.local_path(key))
    try:
        work.executor.require_paths([place])
    except ClusterError as err:
        raise ClusterError(err.message.replace(place, folder.store.uri), err.hint) from None
    finally:
        folder.store.delete(key)


def forget(folder: RunFolder, fresh: bool) -> None:
    """Remove what was begun of a run that cannot start; a folder that was there before keeps its other
    files.
    """
    if fresh:
        shutil.rmtree(folder.path, ignore_errors=True)
    else:
        (folder.path / "config.yaml").unlink(missing_ok=True)


# what a run writes into its folder, and what captures are made of: neither may be somebody else's
_OURS = ("scene.json", "originals.json", "capture.json", "plan.json", "request.json", "metrics.json", "store")
_CAPTURES = ("poses_bounds.npy", "cameras.json", "transforms.json", "frames", "dataset.json")
_VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")


def _foreign(out: Path) -> str:
    """Return a file of a folder that a run would stand beside or overwrite though it is not one's own; empty
    where there is none. A folder that `prepare` has begun holds originals.json.
    """
    names = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    captured = [n for n in names if n in _CAPTURES or n.lower().endswith(_VIDEOS)]
    taken = [] if "originals.json" in names else [n for n in names if n in _OURS]
    return next(iter([*captured, *taken]), "")


def check_out(out: Path) -> None:
    """Raise ConfigError where a run stands in the folder already, or a capture or other files that a run
    would overwrite; I4DError where it cannot be written.
    """
    check_run_id(out.name)
    if (out / "config.yaml").exists():
        raise ConfigError(
            f"{out} holds a run already", f"choose another --out, or continue it with `i4d resume {out}`"
        )
    try:
        foreign = _foreign(out)
    except OSError as err:
        raise write_error(out, err) from err
    if foreign:
        raise ConfigError(f"{out} holds {foreign}, which is not of a run", "give --out a folder of its own")
    try:
        made = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        if made:
            out.rmdir()
    except OSError as err:
        raise write_error(out, err) from err


@contextmanager
def stopping_on_signals(folder: RunFolder, console: Any) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop after the work in hand, a later one into
    KeyboardInterrupt.

    Signals of one second count once: `timeout` and terminals deliver the same one to a process and to its
    group.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[float] = []

    def ask(number: int, frame: object) -> None:
        now = time.monotonic()
        if asked and now - asked[0] < 1.0:
            return
        if asked:
            raise KeyboardInterrupt
        asked.append(now)
        folder.request_stop()
        console.line("stopping after the work in hand; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
