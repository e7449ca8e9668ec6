"""The commands about runs elsewhere: submit, jobs, status, logs, stop. A name that is a folder is a run, else
a job's id.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from i4d import config as cfg
from i4d.commands.layers import layered, settled
from i4d.commands.prompts import not_begun, read_prompts
from i4d.commands.run_request import Request, checked_prompt
from i4d.commands.runs import cluster_settings
from i4d.commands.watch import EVERY_S, watched
from i4d.config import Config
from i4d.driver.events import RunFailed, RunFinished, RunStopped, from_json
from i4d.editors.registry import editor_kind
from i4d.errors import ClusterError, ConfigError
from i4d.exec.on_ray.jobs import Job, Jobs
from i4d.report.console import Console
from i4d.scenes.where import box_of
from i4d.store.run_folder import RunFolder, check_run_id, held

FAILED = 1
# Seconds between Ray's SIGTERM and SIGKILL when a job is stopped (3 by itself): time to finish the commit in
# hand.
_PATIENT = {"RAY_JOB_STOP_WAIT_TIME_S": "900"}


def submit(
    address: str,
    prompt: str,
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Mapping[str, Any],
    sets: Sequence[str],
    follow: bool,
    python: str,
    probe: bool,
    prompts: Path | None = None,
    ckpt: Path | None = None,
) -> int:
    """Send an edit, or those of a file of prompts, as a job; returns the exit code (that of the job where it
    is followed).
    """
    told = [checked_prompt(prompt)] if prompts is None else read_prompts(prompts, prompt, ckpt)
    check_run_id(out.name)
    if ".." in out.parts:
        raise ConfigError(f"--out {out} goes up in the tree", "name the folder on the cluster without '..'")
    config = settled(layered(scene, presets, files, options, sets))
    config.cluster.executor, config.cluster.address = "ray", ""  # a job joins the cluster that it runs in
    if Path(config.editor.weights).is_dir():
        config.editor.weights = str(
            Path(config.editor.weights).absolute()
        )  # the job starts in a folder of its own
    kind = editor_kind(config.editor)
    place = kind.resolve(config.editor.weights, "cuda")
    for text in dict.fromkeys(text for p in told for text in kind.notices(place, kind.card(place), p)):
        print(f"note: {text}")
    jobs = Jobs(address)
    out, ckpt = out.absolute(), None if ckpt is None else ckpt.absolute()
    if probe:
        _probe(jobs, python, _places(config, out, ckpt))
    folder = Path(tempfile.mkdtemp(prefix="i4d-submit-"))
    try:
        (folder / "run.yaml").write_text(yaml.safe_dump(cfg.to_dict(config), sort_keys=False))
        what = ["--prompt", told[0]]
        if prompts is not None:
            (folder / "prompts.txt").write_text("\n".join(told) + "\n")
            what = ["--prompts-file", "prompts.txt"]
        if ckpt is not None:
            what += ["--ckpt", str(ckpt)]
        about = {"prompt": "; ".join(told), "scene": config.scene.name, "run": out.name, "out": str(out)}
        id = jobs.submit(
            ["edit", "--config", "run.yaml", *what, "--out", str(out)],
            folder,
            about,
            env=_PATIENT,
            python=python,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"job: {id}\nrun: {out}\ndashboard: {jobs.url}", flush=True)
    return followed(jobs, id) if follow else 0


def resubmit(
    address: str,
    run: Path,
    options: Mapping[str, Any],
    python: str,
    probe: bool,
    sets: Sequence[str] = (),
    storage_path: str = "",
    allow_change: bool = False,
) -> int:
    """Go on with a run as a new job, perhaps with other workers."""
    folder = RunFolder.open(run, storage_path)
    request, config = Request.read(folder), folder.config()
    if folder.driven():
        raise ConfigError(f"{folder.path} is running", f"`i4d stop {run}` ends it after the work in hand")
    if options.get("cluster.executor") == "local":
        raise ConfigError(
            "--local and --job exclude each other", "a job computes on the cluster that it is sent to"
        )
    flags = {"cluster.editors": "--editors", "cluster.device": "--device"}
    more = [
        word
        for key, flag in flags.items()
        if options.get(key) is not None
        for word in (flag, str(options[key]))
    ]
    more += [word for text in sets if cluster_settings([text]) for word in ("--set", text)]
    more += ["--allow-change"] if allow_change else []
    if not folder.keeps_its_own_store:
        folder.require_trust()
        more += ["--storage-path", folder.storage]
    jobs = Jobs(address)
    if probe:
        settings = cfg.from_dict(config, str(folder.path / "config.yaml"))
        _probe(jobs, python, _places(settings, folder.path))
    about = {
        "prompt": request.prompt,
        "scene": config["scene"]["name"],
        "run": folder.path.name,
        "out": str(folder.path),
    }
    id = jobs.submit(["resume", str(folder.path), *more], None, about, env=_PATIENT, python=python)
    print(f"job: {id}\nrun: {folder.path}\ndashboard: {jobs.url}", flush=True)
    return 0


def _places(config: Config, out: Path, ckpt: Path | None = None) -> list[str]:
    """Return the local paths that the cluster must be able to read: the scene (the demo makes itself), what
    the edit needs, the storage.
    """
    places = [] if config.scene.reader in ("demo", "demo_mono") else [config.scene.root]
    if config.local.where and box_of(config.local.where) is None:
        places.append(config.local.where)
    if Path(config.editor.weights).is_absolute():
        places.append(config.editor.weights)
    if ckpt is not None:
        places.append(str(ckpt))
    if config.local.reference:
        places.append(config.local.reference)
    storage = config.storage_path or str(out)
    if "://" not in storage:
        there = Path(storage)
        while not there.exists():
            there = there.parent
        places.append(str(there))
    return places


def _probe(jobs: Jobs, python: str, places: list[str]) -> None:
    """Raise ClusterError naming path and node where the cluster cannot read a place; a small job finds
    out.
    """
    if not places:
        return
    id = jobs.submit(["readable", *places], metadata={"purpose": "probe"}, python=python)
    text = "".join(jobs.follow(id))
    job = jobs.get(id)
    if job.status != "SUCCEEDED":
        told = [line for line in text.splitlines() if line.startswith("error: ")]
        reason = (
            told[-1].removeprefix("error: ") if told else (job.message.splitlines() or ["it said nothing"])[0]
        )
        raise ClusterError(
            f"the cluster cannot run this: {reason}", f"`i4d logs {id} --address ...` shows more"
        )


def readable(paths: Sequence[str]) -> None:
    """Raise ClusterError unless every node of the cluster of this job can read the paths."""
    from i4d.commands.workplace import workplace

    config = Config()
    config.cluster.address = "auto"
    with workplace(config.cluster) as work:
        work.executor.require_paths(list(paths))
    print(f"readable on {len(work.resources.nodes)} nodes: {', '.join(paths)}")


def followed(jobs: Jobs, id: str) -> int:
    """Print what a job writes until it has ended; returns 0 where it succeeded."""
    try:
        for piece in jobs.follow(id):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(f"\nthe job goes on; `i4d stop {id}` ends it, `i4d logs {id}` shows it")
        return 130
    job = jobs.get(id)
    print(f"job {id}: {job.status}")
    return 0 if job.status == "SUCCEEDED" else FAILED


def table(address: str) -> None:
    """Print the jobs of a cluster, newest first."""
    jobs = Jobs(address).list()
    if not jobs:
        print("no jobs")
    for job in jobs:
        began = (
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started_s)) if job.started_s else "not begun"
        )
        print(
            f"{job.id}  {job.status:9}  {began}  {_took(job):>8}  "
            f"{job.metadata.get('prompt') or job.entrypoint}"
        )


def _took(job: Job) -> str:
    from i4d.report.console import duration

    return duration((job.ended_s or time.time()) - job.started_s) if job.started_s else ""


# ------------------------------------------------------------------------------------------------ runs or
# jobs
def status(name: str, address: str, watch: bool = False) -> None:
    """Print where a run or job stands; `watch` goes on until it ends, from before the job has begun its
    run.
    """
    job = None if _is_run(name) else Jobs(address).get(name)
    if job is not None:
        print(f"{job.id}: {job.status} {job.message}".rstrip(), flush=True)
        if not watch or not job.metadata.get("out"):
            return
        name = job.metadata["out"]
    seen: set[Path] = set()
    while True:
        # asked first: what it began before its end is seen then
        over = not held(Path(name)) if job is None else Jobs(address).get(job.id).ended
        fresh = [folder for folder in _runs(name) if folder.path not in seen]
        for folder in fresh:
            seen.add(folder.path)
            _watch(folder) if watch else _tell(folder)
        if not watch or (over and not fresh):
            break
        if not fresh:
            time.sleep(EVERY_S)
    for run, prompt in not_begun(Path(name)):
        print(
            f"{Path(name) / run}: edit {prompt!r}\nstate: not "
            f"begun{'' if over else '; waits for the runs before it'}"
        )
    if job is not None:
        print(f"{job.id}: {Jobs(address).get(job.id).status}")
    elif not seen:
        raise ConfigError(f"{name} is not a run", "it has no config.yaml, and no run in it")


def _watch(folder: RunFolder) -> None:
    print(folder.path)
    for line in watched(folder, folder.driven):
        print(time.strftime("%H:%M:%S"), line, flush=True)


def _tell(folder: RunFolder) -> None:
    request, events = Request.read(folder), folder.events()
    rounds = [index for index in folder.manifests() if index > 0]
    plan = folder.read_json("plan.json")
    wanted = len(plan["rounds"]) if plan else 0
    print(f"{folder.path}: {request.kind} {request.prompt!r}".rstrip())
    print(f"state: {_state(folder, len(rounds), wanted)}; rounds committed: {len(rounds)} of {wanted}")
    for event in reversed(events):
        if event["event"] == "StageStarted":
            print(f"last stage: {event['stage']}")
            break
    working = [e for e in events if "done" in e or e["event"] == "FitProgress"]
    if working:
        last = working[-1]
        fit = last["event"] == "FitProgress"
        where = (
            f"step {last['step']} of {last['total']}"
            if fit
            else f"{last['task']}, {last['done']} of {last['total']}"
        )
        print(f"last work: {where}, {time.time() - last['at_s']:.0f} s ago")


def _runs(name: str) -> list[RunFolder]:
    """Return the run in a folder, or the runs of a file of prompts in it, in their order; none where there is
    none yet.
    """
    path = Path(name)
    if (path / "config.yaml").is_file():
        return [RunFolder.open(path)]
    return [RunFolder.open(file.parent) for file in sorted(path.glob("*/config.yaml"))]


def _state(folder: RunFolder, rounds: int, wanted: int) -> str:
    if (folder.path / "metrics.json").exists():
        return "finished"
    if folder.driven():
        return "running"
    told = "stopped" if folder.events() else "not begun"
    return f"{told}; `i4d resume {folder.path}` goes on" if rounds <= wanted else told


def logs(name: str, address: str) -> None:
    """Print what a run or a job has told so far."""
    if not _is_run(name):
        print(Jobs(address).logs(name), end="")
        return
    folders = _runs(name) or [RunFolder.open(name)]
    for folder in folders:
        if len(folders) > 1:
            print(folder.path)
        _say_again(folder)


def _say_again(folder: RunFolder) -> None:
    told = io.StringIO()
    console = Console(
        told, live=False
    )  # its words, each with the time it was said; events.jsonl is for programs
    for tree in folder.events():
        event = from_json(tree)
        console(event)
        if isinstance(event, RunFailed | RunStopped | RunFinished):
            ends = {RunFailed: "the run failed: {reason}", RunStopped: "stopped in round {round}"}
            ends[RunFinished] = "finished in {seconds:.0f} s"
            console.line(ends[type(event)].format(**tree))
        when = time.strftime("%H:%M:%S", time.localtime(tree["at_s"]))
        for line in told.getvalue().splitlines():
            print(when, line)
        told.seek(0)
        told.truncate()


def stop(name: str, address: str) -> None:
    """Ask a run or a job to end."""
    if not _is_run(name):
        ended = not Jobs(address).stop(name)
        print(f"{name} " + ("has ended already" if ended else "is asked to end"))
        return
    driven = [folder for folder in _runs(name) or [RunFolder.open(name)] if folder.driven()]
    if not driven:
        raise ConfigError(f"{name} is not running", f"`i4d status {name}` says where it stands")
    for folder in driven:
        folder.request_stop()
    print(f"asked to stop after the work in hand; `i4d resume {name}` goes on with it")


def _is_run(name: str) -> bool:
    """Return whether a name is a folder; ConfigError where it is written like one and there is none."""
    if not Path(name).is_dir() and "/" in name:
        hint = "a submitted job makes it when it begins; `i4d status JOB` tells of the job"
        raise ConfigError(f"{name}: there is no such run", hint)
    return Path(name).is_dir()
