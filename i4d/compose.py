"""A whole run put together: scene, plan, placement, services, driver, evaluation, report.

    start_run(request, config, out, console)     edit and train
    resume_run(path, console)                    goes on where a run stopped
    render_run(path, jobs, console)              more renders of a finished run

The only modules above this one are the command line and its commands; everything below can be used without
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from i4d import config as cfg
from i4d import identity
from i4d.commands.checking import NOT_CHECKED, Checked, check_first, settle_exposure
from i4d.commands.layers import fitted_to
from i4d.commands.peaks import fit_batch, predicted_peaks
from i4d.commands.run_request import Request
from i4d.commands.workplace import Workplace, workplace
from i4d.config import Config
from i4d.driver import events
from i4d.driver.events import Emitter
from i4d.driver.journal import Journal
from i4d.driver.renders import RenderJob, render_all
from i4d.driver.retry import RetryPolicy
from i4d.driver.rounds import RunResult, run
from i4d.driver.training import TrainerSession
from i4d.editors.registry import editor_kind
from i4d.errors import I4DError
from i4d.exec.placement import Peaks, Placement, place
from i4d.fields.registry import field_kind
from i4d.identity import Chosen, choose_editor, notices_of
from i4d.launch import (
    check_out,
    forget,
    limits_of,
    require_shared,
    specs_of,
    stage,
    start_services,
    stopping_on_signals,
)
from i4d.plain import plain
from i4d.report.footage import kept_round
from i4d.report.judging import RoundJudge
from i4d.report.shots import render_jobs
from i4d.scenes.load import load_scene
from i4d.scenes.prepare import prepare, scene_to_dict
from i4d.scenes.record import scene_from_dict
from i4d.scenes.reference import read_reference
from i4d.scenes.space_trial import settle_space
from i4d.scenes.where import read_region, region_from_dict, region_to_dict
from i4d.schedules.cost import advice, predicted_forwards, useful_editors
from i4d.schedules.given_key_frame import reference_view
from i4d.schedules.outline import key_frame_of
from i4d.schedules.registry import schedule_method, scheduled_plan
from i4d.schedules.values import Plan
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import CheckpointReceipt, EditSettings, FrameAddress, LocalRender, Region, Scene

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scene in a run's store."""

    scene: Scene
    originals: FrameTable
    region: Region | None = None  # of a local edit
    reference: FrameAddress | None = None  # the key frame that the user gives


# ------------------------------------------------------------------------------------------------ scene
def prepare_scene(
    scene: Scene,
    config: Config,
    folder: RunFolder,
    emit: Emitter,
    progress: Progress,
    checked: Checked = NOT_CHECKED,
) -> Prepared:
    """Decode a scene into a run's store and write down what the run keeps of it."""
    total = len(scene.cameras) * scene.num_frames
    for text in scene.notes:
        emit(events.Noted(text))
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
    notes = [*scene.notes, *checked.notes, *([told] if told else [])]
    folder.write_json("capture.json", {"notes": notes, "check": checked.check})
    return Prepared(scene, originals, region, reference)


def prepared_scene(folder: RunFolder) -> Prepared | None:
    """Return the scene of a run that was prepared, or None."""
    scene, originals = folder.read_json("scene.json"), folder.read_json("originals.json")
    if scene is None or originals is None:
        return None
    region, given = region_from_dict(folder.read_json("region.json")), folder.read_json("reference.json")
    return Prepared(
        scene_from_dict(scene), FrameTable.from_json(originals), region, given and FrameAddress(**given)
    )


# ------------------------------------------------------------------------------------------------ choices
def plan_for(scene: Scene, config: Config, request: Request, settings: EditSettings) -> Plan:
    """Return the plan of a request."""
    return scheduled_plan(scene, config, settings, edits=request.kind == "edit")


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
    field_kind(config.field.kind)
    schedule_method(config.schedule.method)
    scene = settle_space(load_scene(config.scene, data, console.making), config, console.trying)
    fitted_to(config, scene)
    checked = check_first(scene, config, console)
    if config.editor.weights != "auto":
        editor_kind(config.editor).resolve(config.editor.weights, "cpu")
    console.line("starting " + ("Ray" if config.cluster.executor == "ray" else "threads"))
    with ExitStack() as kept, workplace(config.cluster, out.name) as work:
        console.line(f"computing on {work.sentence}")
        edits = request.kind == "edit"
        chosen = choose_editor(config, request.prompt, work.device(config.cluster), edits=edits)
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
            checked.write(folder)
            prepared = prepare_scene(scene, config, folder, emit, console.progress, checked)
            if start_from is not None:
                request = replace(request, start=start_from(folder))
            identity.write(folder, identity.followed_from(config, chosen, placement.trainers))
            request.write(folder)
        except I4DError:
            forget(folder, fresh)
            raise
        return drive(request, config, folder, prepared, plan, placement, chosen, work, emit, console)


def resume_run(
    path: Path,
    console: Any,
    change: Callable[[Config], None] | None = None,
    data: str | None = None,
    storage_path: str = "",
    allow_change: bool = False,
) -> RunResult:
    """Go on with a run. `change` says who computes (cluster section; a run folder does not say), never what.

    `storage_path`: the user's word for a run that keeps its blocks elsewhere. What the run follows from
    (weights, settings) must be as it was; with `allow_change` it begins anew from the stage that depends on
    what is not.
    """
    folder = RunFolder.open(path, storage_path)
    config = _stored_config(folder, change)
    request = Request.read(folder)
    console.line("starting " + ("Ray" if config.cluster.executor == "ray" else "threads"))
    with workplace(config.cluster, path.name) as work, folder.lock():
        console.line(f"computing on {work.sentence}")
        edits = request.kind == "edit"
        prepared = prepared_scene(folder)
        scene = load_scene(config.scene, data) if prepared is None else prepared.scene
        fitted_to(config, scene)  # what somebody has put back to auto in config.yaml
        if prepared is None:
            scene = settle_space(scene, config, console.trying)
            checked = check_first(scene, config, console)
        else:
            settle_exposure(config, scene, (folder.read_json("capture.json") or {}).get("check"))
        chosen = choose_editor(config, request.prompt, work.device(config.cluster), edits=edits)
        emit = Emitter([console, lambda event: folder.append_event(event.to_json())])
        if prepared is None:
            checked.write(folder)
            prepared = prepare_scene(scene, config, folder, emit, console.progress, checked)
        plan = plan_for(prepared.scene, config, request, chosen.settings)
        placement = placement_for(work, config, prepared.scene, chosen, plan)
        follows = identity.followed_from(config, chosen, placement.trainers)
        for changed in identity.take_changes(folder, follows, allow_change):
            emit(events.Warned(f"{changed}: what followed from it is made anew"))
        console.describe(request, config, prepared.scene, plan, predicted_forwards(plan))
        return drive(request, config, folder, prepared, plan, placement, chosen, work, emit, console)


def _stored_config(folder: RunFolder, change: Callable[[Config], None] | None) -> Config:
    """Return a run's configuration, to be computed here and by default settings unless `change` says
    otherwise.
    """
    config = cfg.from_dict(folder.config(), str(folder.path / "config.yaml"))
    if change is not None:
        change(config)
    return config


def render_run(
    path: Path,
    jobs: Callable[[Scene], Sequence[RenderJob]],
    console: Any,
    change: Callable[[Config], None],
    storage_path: str = "",
) -> dict:
    """Render more of a run from its committed checkpoints; returns images by job as in renders.json."""
    folder = RunFolder.open(path, storage_path)
    config = _stored_config(folder, change)
    prepared, manifests = prepared_scene(folder), folder.manifests()
    if prepared is None or not manifests:
        raise I4DError(f"{path}: nothing is committed yet", "continue it with `i4d resume` first")
    config.field.refit_loss = "squared"  # nothing is fitted: the weights of another need not be here
    last = kept_round(folder, max(manifests))
    known = {r: m["checkpoint"]["digest"] for r, m in manifests.items() if r in (0, last)}
    with workplace(config.cluster) as work:
        scene = prepared.scene
        placement = place(work.resources, replace(config.cluster, trainer_gpus=1), Peaks(), 1)
        specs = specs_of(config, folder, scene, placement, "", 2, None, work.in_process)[:1]
        emit = Emitter([console])
        with folder.lock():
            trainer = work.executor.start_all(specs, config.cluster.start_timeout_s)[0]
            session = TrainerSession(
                work.executor,
                trainer,
                RetryPolicy(),
                folder,
                Journal(folder),
                limits_of(config),
                emit,
                time.monotonic,
            )
            if prepared.region is not None:
                session.local = LocalRender(prepared.region, manifests[0]["checkpoint"]["digest"])
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
    plan = replace(
        plan,
        region=prepared.region,
        reference=prepared.reference,
        identity=chosen.identity,
        trainers=placement.trainers,
    )
    emit(events.Placed(placement.sentence, placement.mode))
    for text in request.notices:
        emit(events.Warned(text))
    if text := (advice(plan, config.cluster.editors) if config.cluster.editors else ""):
        emit(events.Warned(text))
    count = 1 + len(placement.editors)
    trainer, *editors = running or start_services(
        config, folder, prepared.scene, plan, placement, chosen, work, emit
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
            limits_of(config),
            placement.turns,
            placement.overlap,
            jobs,
            start,
            joining,
            RoundJudge(folder, prepared.scene, prepared.originals, plan.key_frame, plan.match_threshold),
            watch=True,
        )


def _to_file(folder: RunFolder) -> events.Sink:
    return lambda event: folder.append_event(event.to_json())
