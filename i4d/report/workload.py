"""Who worked when: workers, pieces of work and stages of a run, read from its events. No second
instrumentation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from i4d.store.run_folder import RunFolder

KINDS = ("fit", "refit", "key frame", "window", "render")
_WORK = {
    "KeyFrameStepStored": "key frame",
    "RestViewsStored": "key frame",
    "WindowStored": "window",
    "RenderStored": "render",
}


@dataclass(frozen=True)
class Span:
    """One piece of work of one worker, in unix seconds. `task` is the piece's id, `kind` one of KINDS."""

    worker: str
    device: str
    kind: str
    task: str
    began_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


@dataclass(frozen=True)
class StageSpan:
    """One stage of the driver, in unix seconds."""

    round: int
    name: str
    began_s: float
    ended_s: float


@dataclass
class Worker:
    """A service that took part. `ready_s` is when it first reported ready."""

    name: str
    device: str
    device_name: str = ""
    node: str = ""
    notes: tuple[str, ...] = ()
    ready_s: float = 0.0
    warm_up_s: float = 0.0
    peak_bytes: int = 0

    @property
    def label(self) -> str:
        """Return where it ran, as a reader knows it: "card 1: NVIDIA ...", "cpu (2 threads)"."""
        if self.device_name.startswith("card "):
            return self.device_name
        return f"{self.device} ({self.device_name})" if self.device_name else self.device


@dataclass
class Workload:
    """All of it; `sessions` are the times at which a driver began (more than one where the run was
    resumed).
    """

    workers: dict[str, Worker] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    stages: list[StageSpan] = field(default_factory=list)
    sessions: list[float] = field(default_factory=list)
    placement: str = ""
    mode: str = ""
    warnings: list[str] = field(default_factory=list)
    retries: int = 0
    restarts: int = 0
    fits: list[tuple[int, int, float]] = field(
        default_factory=list
    )  # round, step, PSNR of the training batches in dB
    watched: dict[int, float | None] = field(
        default_factory=dict
    )  # step: PSNR of a held-out camera, first fit
    depth_agreement: float | None = None  # between neighbours, at the last look at the first fit
    began_s: float = 0.0
    ended_s: float = 0.0

    def busy(self, worker: str, began_s: float = 0.0, ended_s: float = float("inf")) -> float:
        """Return for how many seconds a worker worked within a period; overlapping calls count once."""
        spans = sorted(
            (max(s.began_s, began_s), min(s.ended_s, ended_s)) for s in self.spans if s.worker == worker
        )
        total, upto = 0.0, began_s
        for start, stop in spans:
            total += max(0.0, stop - max(start, upto))
            upto = max(upto, stop)
        return total

    def idle_share(self, worker: str, stages: Iterable[StageSpan]) -> float | None:
        """Return the share of some stages in which a worker did nothing; None where there was no such
        stage.
        """
        periods = [(s.began_s, s.ended_s) for s in stages]
        total = sum(stop - start for start, stop in periods)
        return 1 - sum(self.busy(worker, *period) for period in periods) / total if total > 0 else None

    @property
    def editing(self) -> list[StageSpan]:
        """Return the stages in which editors have work."""
        return [s for s in self.stages if s.name.startswith(("key frame", "windows"))]

    @property
    def driven(self) -> list[StageSpan]:
        """Return the stages in which services could have work."""
        return [s for s in self.stages if s.name not in ("prepare", "start services", "make scene")]

    @property
    def device_count(self) -> int:
        return len({(w.node, w.device) for w in self.workers.values()})


def workload_of(run: RunFolder) -> Workload:
    """Return the workload of a run from events.jsonl."""
    return workload(run.events())


def workload(events: Sequence[dict]) -> Workload:
    """Return the workload that events (as in events.jsonl) tell of; work taken over from an earlier attempt
    counts once.
    """
    out, open_stages = Workload(), {}
    for event in events:
        name, at = event["event"], event["at_s"]
        out.began_s = min(out.began_s or at, at)
        out.ended_s = max(out.ended_s, at)
        if name == "RunStarted":
            out.sessions.append(at)
        elif name == "Placed":
            out.placement, out.mode = event["sentence"], event["mode"]
        elif name == "WorkerReady":
            _ready(out, event)
        elif name == "StageStarted":
            open_stages[event["round"], event["stage"]] = at
        elif name == "StageFinished":
            began = open_stages.pop((event["round"], event["stage"]), at - event["seconds"])
            out.stages.append(StageSpan(event["round"], event["stage"], began, at))
        elif name == "FitProgress":
            _worked(out, event, event["phase"], f"{event['phase']} to step {event['step']}")
            out.fits.append((event["round"], event["step"], event["psnr_db"]))
        elif name == "FitWatched":
            out.watched[event["step"]] = event["held_out_psnr_db"]
            out.depth_agreement = event["depth_agreement"]
        elif name in _WORK and not event.get("reused"):
            _worked(out, event, _WORK[name], event["task"])
        elif name == "Warned" and event["text"] not in out.warnings:
            out.warnings.append(event["text"])
        out.retries += name == "WindowRetried"
        out.restarts += name == "WorkerRestarted"
    return out


def _ready(out: Workload, event: dict) -> None:
    worker = out.workers.setdefault(
        event["worker"], Worker(event["worker"], event["device"], ready_s=event["at_s"])
    )
    worker.device, worker.device_name, worker.node = event["device"], event["device_name"], event["node"]
    worker.notes, worker.warm_up_s = tuple(event["notes"]), event["seconds"]


def _worked(out: Workload, event: dict, kind: str, task: str) -> None:
    worker = out.workers.setdefault(
        event["worker"], Worker(event["worker"], event["device"], ready_s=event["started_s"])
    )
    worker.peak_bytes = max(worker.peak_bytes, event.get("peak_bytes") or 0)
    began = event["started_s"]
    out.spans.append(Span(event["worker"], event["device"], kind, task, began, began + event["seconds"]))


def stage_seconds(load: Workload) -> dict[str, float]:
    """Return seconds per stage, summed over rounds."""
    out: dict[str, float] = defaultdict(float)
    for stage in load.stages:
        out[stage.name] += stage.ended_s - stage.began_s
    return dict(out)
