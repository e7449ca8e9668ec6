"""The list of metrics, and how a run's events move them. Plain values: Ray publishes them
(on_ray/metrics.py), the Grafana dashboard and its queries are made from the same list
(scripts/make_monitoring.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True)
class Metric:
    """One metric. `queries` are what the dashboard draws of it, in PromQL, `$run` being the runs that are
    looked at.
    """

    name: str  # Ray publishes it as ray_<name>
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    title: str
    queries: tuple[str, ...]
    unit: str = "short"  # Grafana's name
    tags: tuple[str, ...] = ("run",)
    boundaries: tuple[float, ...] = ()


METRICS = (
    Metric(
        "i4d_round",
        "gauge",
        "round that is being worked on; 0 is the first fit",
        "Round",
        ('ray_i4d_round{run=~"$run"}',),
    ),
    Metric(
        "i4d_work_stored",
        "counter",
        "pieces of work stored, by kind",
        "Work stored a minute",
        ('60 * sum by (kind) (rate(ray_i4d_work_stored_total{run=~"$run"}[2m]))',),
        tags=("run", "kind"),
    ),
    Metric(
        "i4d_work_retried",
        "counter",
        "pieces of work sent again, by what was decided",
        "Work sent again",
        ('sum by (decision) (increase(ray_i4d_work_retried_total{run=~"$run"}[10m]))',),
        tags=("run", "decision"),
    ),
    Metric(
        "i4d_run_failed",
        "counter",
        "runs that ended with an error, by kind of failure",
        "Runs failed",
        ('sum by (kind) (increase(ray_i4d_run_failed_total{run=~"$run"}[1h]))',),
        tags=("run", "kind"),
    ),
    Metric(
        "i4d_work_seconds",
        "histogram",
        "seconds that one piece of work took its worker",
        "Seconds per window",
        (
            "histogram_quantile(0.5, sum by (le) "
            '(rate(ray_i4d_work_seconds_bucket{run=~"$run",kind="window"}[5m])))',
            "histogram_quantile(0.95, sum by (le) "
            '(rate(ray_i4d_work_seconds_bucket{run=~"$run",kind="window"}[5m])))',
        ),
        "s",
        ("run", "kind"),
        SECONDS,
    ),
    Metric(
        "i4d_work_left",
        "gauge",
        "pieces of work of this stage that are not stored yet",
        "Queue",
        ('ray_i4d_work_left{run=~"$run"}',),
    ),
    Metric(
        "i4d_idle_share",
        "gauge",
        "share of the editors' time in this stage that they did nothing",
        "Editors idle",
        ('ray_i4d_idle_share{run=~"$run"}',),
        "percentunit",
    ),
    Metric(
        "i4d_rays_per_second",
        "gauge",
        "rays a second of the last fit call",
        "Rays a second",
        ('ray_i4d_rays_per_second{run=~"$run"}',),
    ),
    Metric(
        "i4d_psnr_db",
        "gauge",
        "PSNR of the last fit call on its own rays",
        "PSNR of the fit",
        ('ray_i4d_psnr_db{run=~"$run"}',),
        "dB",
    ),
    Metric(
        "i4d_fit_step",
        "gauge",
        "step of the fit that is going on",
        "Fit step",
        ('ray_i4d_fit_step{run=~"$run"}',),
    ),
    Metric(
        "i4d_stored_bytes",
        "counter",
        "bytes of blocks and checkpoints stored",
        "Bytes stored a second",
        ('sum(rate(ray_i4d_stored_bytes_total{run=~"$run"}[2m]))',),
        "Bps",
    ),
    Metric(
        "i4d_unet_forwards",
        "counter",
        "images times guidance branches through the network",
        "Network forwards a second",
        ('sum(rate(ray_i4d_unet_forwards_total{run=~"$run"}[2m]))',),
    ),
    Metric("i4d_workers", "gauge", "services that are up", "Workers", ('ray_i4d_workers{run=~"$run"}',)),
    Metric(
        "i4d_worker_restarts",
        "counter",
        "times a lost service was started again",
        "Workers lost",
        ('sum by (worker) (increase(ray_i4d_worker_restarts_total{run=~"$run"}[10m]))',),
        tags=("run", "worker"),
    ),
)

_KINDS = {
    "WindowStored": "window",
    "KeyFrameStepStored": "key_frame",
    "RestViewsStored": "rest_views",
    "RenderStored": "render",
}
Set = Callable[[str, float, Mapping[str, str]], None]


@dataclass
class Measures:
    """Turns events (as JSON) into `set(metric, value, tags)`: what a counter or histogram gets is added to
    it.
    """

    run: str
    set: Set
    _ready: dict[str, bool] = field(default_factory=dict)
    _stage_began_s: float = 0.0
    _busy_s: float = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in one event; kinds that move nothing are passed over."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)
        elif event["event"] in _KINDS and not event["reused"]:
            self._work(event, _KINDS[event["event"]])

    def _tell(self, name: str, value: float | None, **tags: str) -> None:
        if value is not None and math.isfinite(value):
            self.set(name, float(value), {"run": self.run, **tags})

    def _work(self, event: Mapping[str, Any], kind: str) -> None:
        self._tell("i4d_work_stored", 1, kind=kind)
        self._tell("i4d_work_seconds", event["seconds"], kind=kind)
        self._tell("i4d_work_left", event["total"] - event["done"])
        self._tell("i4d_stored_bytes", event["size_bytes"])
        self._tell("i4d_unet_forwards", event["unet_forwards"])
        editors = sum(ready for name, ready in self._ready.items() if name != "trainer")
        if kind != "render" and editors:
            self._busy_s += event["seconds"]
            could_s = editors * max(event["at_s"] - self._stage_began_s, 1e-6)
            self._tell("i4d_idle_share", min(1.0, max(0.0, 1 - self._busy_s / could_s)))

    def _on_StageStarted(self, event: Mapping[str, Any]) -> None:
        self._stage_began_s, self._busy_s = event["at_s"], 0.0
        self._tell("i4d_work_left", event["total"])

    def _on_RunStarted(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_round", 0)

    def _on_RoundStarted(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_round", event["round"])

    def _on_WorkerReady(self, event: Mapping[str, Any]) -> None:
        self._ready[event["worker"]] = True
        self._tell("i4d_workers", sum(self._ready.values()))

    def _on_WorkerRestarted(self, event: Mapping[str, Any]) -> None:
        self._ready[event["worker"]] = False
        self._tell("i4d_workers", sum(self._ready.values()))
        self._tell("i4d_worker_restarts", 1, worker=event["worker"])

    def _on_WindowRetried(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_work_retried", 1, decision=event["decision"])

    def _on_RunFailed(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_run_failed", 1, kind=event["kind"])

    def _on_FitProgress(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_fit_step", event["step"])
        self._tell("i4d_psnr_db", event["psnr_db"])
        if event["seconds"]:
            self._tell("i4d_rays_per_second", event["rays"] / event["seconds"])

    def _on_CheckpointSaved(self, event: Mapping[str, Any]) -> None:
        self._tell("i4d_stored_bytes", event["size_bytes"])
