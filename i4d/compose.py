"""A whole run put together: scene, plan, placement, services, driver, evaluation, report.

    start_run(request, config, out, console)     edit and train
    resume_run(path, console)                    goes on where a run stopped
    render_run(path, jobs, console)              more renders of a finished run

The only modules above this one are the command line and its commands; everything below can be used without
it.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from i4d import config as cfg
from i4d.commands.layers import fitted_to
from i4d.commands.peaks import fit_batch, predicted_peaks
from i4d.commands.run_request import Request
from i4d.commands.workplace import Workplace, workplace
from i4d.config import Config
from i4d.driver import events
from i4d.driver.events import Emitter
from i4d.driver.journal import Journal, plain
from i4d.driver.plan import Plan, advice, key_frame_of, predicted_forwards, useful_editors
from i4d.driver.pool import Limits
from i4d.driver.reference import reference_view
from i4d.driver.renders import RenderJob, render_all
from i4d.driver.retry import RetryPolicy
from i4d.driver.rounds import RunResult, run
from i4d.driver.schedules import scheduled_plan
from i4d.driver.training import TrainerSession
from i4d.edit.card import EditorCard, read_card
from i4d.edit.load import HUB_DEFAULT, resolve_weights
from i4d.edit.words import notice_of
from i4d.errors import ClusterError, ConfigError, I4DError
from i4d.exec.placement import Peaks, Placement, place, service_specs
from i4d.exec.protocol import Handle
from i4d.exec.together import Together
from i4d.report.footage import kept_round
from i4d.report.judging import RoundJudge
from i4d.report.shots import render_jobs
from i4d.scenes.calibration.check import check_scene, stop_unless_fit
from i4d.scenes.load import load_scene
from i4d.scenes.prepare import prepare, scene_to_dict
from i4d.scenes.record import scene_from_dict
from i4d.scenes.reference import read_reference
from i4d.scenes.where import read_region, region_from_dict, region_to_dict
from i4d.services.trainer import ONLY_FIRST, TrainerScene
from i4d.store.objects import write_error
from i4d.store.run_folder import RunFolder, check_run_id
from i4d.store.tables import FrameTable
from i4d.types import CheckpointReceipt, EditSettings, FrameAddress, LocalRender, Region, Scene, Turbo

TRAINER = "i4d.services.trainer:TrainerService"
EDITOR = "i4d.services.editor:EditorService"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scene in a run's store."""

    scene: Scene
    originals: FrameTable
    region: Region | None = None  # of a local edit
    reference: FrameAddress | None = None  # the key frame that the user gives


@dataclass(frozen=True, eq=False)
class Chosen:
    """The editor that a run uses: where it is, its card, and the settings that follow."""

    place: str
    card: EditorCard
    settings: EditSettings


# ------------------------------------------------------------------------------------------------ scene
def prepare_scene(
    scene: Scene, config: Config, folder: RunFolder, emit: Emitter, progress: Progress
) -> Prepared:
    """Decode a scene into a run's store and write down what the run keeps of it."""
    total = len(scene.cameras) * scene.num_frames
    for text in scene.notes:
        emit(events.Noted(text))
    check = _checked(scene, config, emit, progress) if config.scene.check else None
    with stage(emit, "prepare", total):
        region = read_region(config.local, config.scene, scene, folder.store)
        reference, told = read_reference(
            config,
            scene,
            reference_view(scene, config.local.reference_camera),
            min(key_frame_of(scene, config), scene.num_frames - 1),
            folder.store,
        )
        originals = FrameTable.of(prepare(scene, config.scene, folder.store, progress))
    if told:
        emit(events.Noted(told))
    folder.write_json("originals.json", originals.to_json())
    folder.write_json("scene.json", scene_to_dict(scene))
    folder.write_json("region.json", region and region_to_dict(region))
    folder.write_json("reference.json", plain(reference))
    folder.write_json("capture.json", {"notes": [*scene.notes, *([told] if told else [])], "check": check})
    return Prepared(scene, originals, region, reference)


def _checked(scene: Scene, config: Config, emit: Emitter, progress: Progress) -> dict:
    """Return the calibration check of a scene as plain values, and tell what it found; SceneError where the
    scene certainly does not fit its pictures.
    """
    with stage(emit, "check", len(scene.source_cameras)):
        check = check_scene(scene, config.scene, progress)
    stop_unless_fit(check)
    for problem in check.problems:
        emit(events.Warned(f"{problem.text} ({problem.mend})"))
    return check.to_json()


def prepared_scene(folder: RunFolder) -> Prepared | None:
    """Return the scene of a run that was prepared, or None."""
    scene, originals = folder.read_json("scene.json"), folder.read_json("originals.json")
    if scene is None or originals is None:
        return None
    region, given = region_from_dict(folder.read_json("region.json")), folder.read_json("reference.json")
    return Prepared(
        scene_from_dict(scene), FrameTable.from_json(originals), region, given and FrameAddress(**given)
    )


@contextmanager
def stage(emit: Emitter, name: str, total: int) -> Iterator[None]:
    """Emit the beginning and end of a stage outside the driver's rounds."""
    began = time.monotonic()
    emit(events.StageStarted(0, name, total))
    yield
    emit(events.StageFinished(0, name, time.monotonic() - began))


# ------------------------------------------------------------------------------------------------ choices
def choose_editor(config: Config, prompt: str, device: str) -> Chosen:
    """Return the editor for a device, and write the weights and guidance that were chosen into the
    configuration.

    WeightsError when a folder is named that holds no editor.
    """
    place_ = resolve_weights(config.editor.weights, device)
    card = read_card(place_) if Path(place_).is_dir() else EditorCard()
    if config.editor.weights == "auto":
        config.editor.weights = HUB_DEFAULT if place_ == HUB_DEFAULT else "tiny-ip2p"
    config.editor.text_guidance = config.editor.text_guidance or card.text_guidance
    config.editor.image_guidance = config.editor.image_guidance or card.image_guidance
    editor = config.editor
    norm = "joint" if editor.mode == "authors" else editor.norm
    switches = editor.turbo_keys, editor.turbo_depth, editor.turbo_guidance, editor.turbo_second_keys
    turbo = Turbo(*switches) if editor.mode == "turbo" else Turbo()
    settings = EditSettings(
        prompt,
        editor.text_guidance,
        editor.image_guidance,
        editor.attention,
        norm,
        config.flow.method,
        config.flow.mask,
        keep_unchanged=editor.keep_unchanged,
        mode=editor.mode,
        turbo=turbo,
        noise=editor.noise,
        references=config.schedule.references,
        blend=config.schedule.blend,
        blend_sigma=config.schedule.blend_sigma,
        blend_detail=config.schedule.blend_detail,
        adaptive=config.schedule.method == "adaptive",
    )
    return Chosen(place_, card, settings)


def notices_of(chosen: Chosen) -> tuple[str, ...]:
    """Return what must be said of an editor: that it is a demonstration, that the prompt is outside its
    repertoire, or longer than its text encoder reads.
    """
    out = []
    if chosen.card.demonstration:
        name = chosen.card.name or "this editor"
        out.append(
            f"{name} is a demonstration editor: small, trained for a short list of edits; for real "
            f"work use {HUB_DEFAULT} on a GPU"
        )
    prompt = chosen.settings.instruction
    return tuple(
        text for text in (*out, chosen.card.warning(prompt), notice_of(chosen.place, prompt)) if text
    )


def plan_for(scene: Scene, config: Config, request: Request, settings: EditSettings) -> Plan:
    """Return the plan of a request."""
    return scheduled_plan(scene, config, settings, 0 if request.kind == "train" else None)


def placement_for(work: Workplace, config: Config, scene: Scene, chosen: Chosen, plan: Plan) -> Placement:
    """Return which service runs where; ClusterError prints asked beside available."""
    card_bytes = max((n.gpu_memory_bytes for n in work.resources.nodes), default=0)
    on_gpu = work.device(config.cluster) == "cuda"
    peaks = predicted_peaks(config, scene, chosen.place, card_bytes) if on_gpu else Peaks()
    return place(work.resources, config.cluster, peaks, useful_editors(plan))


# ------------------------------------------------------------------------------------------------ runs
def start_run(
    request: Request,
    config: Config,
    out: Path,
    console: Any,
    data: str | None = None,
    start_from: Callable | None = None,
) -> RunResult:
    """Carry out a request into a new run folder; `start_from` puts a trained field into it and returns its
    receipt.

    What the user got wrong is found before the folder is made: scene, prompt, weights, devices. An input that
    proves corrupt while it is prepared leaves no folder behind either.
    """
    check_out(out)
    scene = load_scene(config.scene, data, console.making)
    fitted_to(config, scene)
    if config.editor.weights != "auto":
        resolve_weights(config.editor.weights, "cpu")
    console.line("starting " + ("Ray" if config.cluster.executor == "ray" else "threads"))
    with ExitStack() as kept, workplace(config.cluster, out.name) as work:
        console.line(f"computing on {work.sentence}")
        chosen = choose_editor(config, request.prompt, work.device(config.cluster))
        known = chosen.card.knows(request.prompt) if request.kind == "edit" else ""
        notices = notices_of(chosen) if request.kind == "edit" else ()
        request = replace(
            request,
            editor=chosen.place,
            demonstration=chosen.card.demonstration,
            known=known,
            notices=notices,
        )
        if text := fit_batch(
            config, scene, chosen.place, work.resources if work.device(config.cluster) == "cuda" else None
        ):
            console.line(text)
        plan = plan_for(scene, config, request, chosen.settings)
        placement = placement_for(work, config, scene, chosen, plan)
        fresh = not out.exists()
        folder = RunFolder.create(out, cfg.to_dict(config), config.storage_path)
        kept.enter_context(folder.lock())
        emit = Emitter([console, lambda event: folder.append_event(event.to_json())])
        try:
            if work.shared:
                require_shared(work, folder)
            console.describe(
                request, config, scene, plan, predicted_forwards(plan), work.device(config.cluster)
            )
            prepared = prepare_scene(scene, config, folder, emit, console.progress)
            if start_from is not None:
                request = replace(request, start=start_from(folder))
            request.write(folder)
        except I4DError:
            _forget(folder, fresh)
            raise
        return drive(request, config, folder, prepared, plan, placement, chosen, work, emit, console)


def resume_run(
    path: Path, console: Any, change: Callable[[Config], None] | None = None, data: str | None = None
) -> RunResult:
    """Go on with a run; `change` may alter who computes (cluster section), never what."""
    folder = RunFolder.open(path)
    config = cfg.from_dict(folder.config(), str(path / "config.yaml"))
    if change is not None:
        change(config)
    request = Request.read(folder)
    console.line("starting " + ("Ray" if config.cluster.executor == "ray" else "threads"))
    with workplace(config.cluster, path.name) as work, folder.lock():
        console.line(f"computing on {work.sentence}")
        chosen = choose_editor(config, request.prompt, work.device(config.cluster))
        emit = Emitter([console, lambda event: folder.append_event(event.to_json())])
        prepared = prepared_scene(folder)
        if prepared is None:
            prepared = prepare_scene(load_scene(config.scene, data), config, folder, emit, console.progress)
        plan = plan_for(prepared.scene, config, request, chosen.settings)
        placement = placement_for(work, config, prepared.scene, chosen, plan)
        console.describe(request, config, prepared.scene, plan, predicted_forwards(plan))
        return drive(request, config, folder, prepared, plan, placement, chosen, work, emit, console)


def render_run(
    path: Path, jobs: Callable[[Scene], Sequence[RenderJob]], console: Any, change: Callable[[Config], None]
) -> dict:
    """Render more of a run from its committed checkpoints; returns images by job as in renders.json."""
    folder = RunFolder.open(path)
    config = cfg.from_dict(folder.config(), str(path / "config.yaml"))
    change(config)
    prepared, manifests = prepared_scene(folder), folder.manifests()
    if prepared is None or not manifests:
        raise I4DError(f"{path}: nothing is committed yet", "continue it with `i4d resume` first")
    last = kept_round(folder, max(manifests))
    known = {r: m["checkpoint"]["digest"] for r, m in manifests.items() if r in (0, last)}
    with workplace(config.cluster) as work:
        scene = prepared.scene
        placement = place(work.resources, replace(config.cluster, trainer_gpus=1), Peaks(), 1)
        specs = _specs(config, folder, scene, placement, "", 2, None, work.in_process)[:1]
        emit = Emitter([console])
        with folder.lock():
            trainer = work.executor.start_all(specs, config.cluster.start_timeout_s)[0]
            session = TrainerSession(
                work.executor,
                trainer,
                RetryPolicy(),
                folder,
                Journal(folder),
                _limits(config),
                emit,
                time.monotonic,
            )
            session.local = prepared.region and LocalRender(
                prepared.region, manifests[0]["checkpoint"]["digest"]
            )
            session.persist(session.warm_up)
            with stage(emit, "renders", 0):
                return render_all(session, jobs(scene), known, scene.num_frames, emit)


def drive(
    request: Request,
    config: Config,
    folder: RunFolder,
    prepared: Prepared,
    plan: Plan,
    placement: Placement,
    chosen: Chosen,
    work: Workplace,
    emit: Emitter,
    console: Any,
    running: Sequence[Any] = (),
) -> RunResult:
    """Drive a run from its plan to its renders. `running`: services that a run with the same store has
    started before.
    """
    plan = replace(plan, region=prepared.region, reference=prepared.reference)
    emit(events.Placed(placement.sentence, placement.mode))
    for text in request.notices:
        emit(events.Warned(text))
    if text := (advice(plan, config.cluster.editors) if config.cluster.editors else ""):
        emit(events.Warned(text))
    count = 1 + len(placement.editors)
    trainer, *editors = running or start_services(
        config, folder, prepared, plan, placement, chosen, work, emit
    )
    editors, joining = editors[: count - 1], editors[count - 1 :]
    jobs = render_jobs(prepared.scene, plan.key_frame if plan.rounds else None)
    start = CheckpointReceipt(**request.start) if request.start else None
    sinks = [console, _to_file(folder), lambda event: work.measure(event.to_json())]
    with stopping_on_signals(folder, console):
        return run(
            plan,
            prepared.originals,
            folder,
            work.executor,
            editors,
            trainer,
            sinks,
            RetryPolicy(max_retries=config.cluster.max_retries),
            _limits(config),
            placement.turns,
            placement.overlap,
            jobs,
            start,
            joining,
            RoundJudge(folder, prepared.scene, prepared.originals, plan.key_frame, plan.match_threshold),
        )


def start_services(
    config: Config,
    folder: RunFolder,
    prepared: Prepared,
    plan: Plan,
    placement: Placement,
    chosen: Chosen,
    work: Workplace,
    emit: Emitter,
) -> list[Any]:
    """Return the trainer, the editors, and the editors that join when there is room; without rounds only the
    trainer.
    """
    specs = _specs(
        config, folder, prepared.scene, placement, chosen.place, plan.batch, plan.settings, work.in_process
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


def _to_file(folder: RunFolder) -> events.Sink:
    return lambda event: folder.append_event(event.to_json())


def _specs(
    config: Config,
    folder: RunFolder,
    scene: Scene,
    placement: Placement,
    editor: str,
    batch: int,
    settings: EditSettings | None,
    in_process: bool,
) -> list:
    known = TrainerScene(scene.cameras, scene.bounds, scene.num_frames, scene.train_views, scene.missing)
    cap = config.editor.memory_cap_gb
    store = folder.store.uri
    common: dict[str, Any] = {"store": store, "memory_cap_gb": cap}
    if "://" in store:  # blocks of a remote store are copied once per node
        common["cache_dir"] = str(Path(tempfile.gettempdir()) / "i4d-blocks")
    camera = scene.cameras[scene.train_views[0]]
    trainer = {**common, "scene": known, "field": config.field, "seed": config.seed}
    editor_kwargs = {
        **common,
        "weights": editor,
        "dtype": config.editor.dtype,
        "flow_method": config.flow.method,
        "flow_checkpoint": config.flow.checkpoint,
        "flow_iterations": config.flow.iterations,
        "warm_up_size": (camera.height, camera.width),
        "warm_up_batch": batch,
        "mode": config.editor.mode,
        "compiled": config.editor.compile,
        "settings": settings,
    }
    return service_specs(placement, (TRAINER, trainer), (EDITOR, editor_kwargs), in_process)


def _limits(config: Config) -> Limits:
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


def _forget(folder: RunFolder, fresh: bool) -> None:
    """Remove what was begun of a run that cannot start; a folder that was there before keeps its other
    files.
    """
    if fresh:
        shutil.rmtree(folder.path, ignore_errors=True)
    else:
        (folder.path / "config.yaml").unlink(missing_ok=True)


def check_out(out: Path) -> None:
    """Raise ConfigError where a run stands in the folder already, I4DError where it cannot be written."""
    check_run_id(out.name)
    if (out / "config.yaml").exists():
        raise ConfigError(
            f"{out} holds a run already", f"choose another --out, or continue it with `i4d resume {out}`"
        )
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
