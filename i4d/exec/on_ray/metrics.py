"""Publishes a run's metrics through Ray, which hands them to Prometheus on every node's metrics port."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util import metrics

from i4d.exec.measures import METRICS, Measures

_KINDS = {"counter": metrics.Counter, "gauge": metrics.Gauge}


def published(run: str) -> Measures:
    """Return a sink for events (as JSON) that publishes what they measure under the run's name."""
    made = {}
    for metric in METRICS:
        if metric.kind == "histogram":
            made[metric.name] = metrics.Histogram(
                metric.name, metric.help, list(metric.boundaries), metric.tags
            )
        else:
            made[metric.name] = _KINDS[metric.kind](metric.name, metric.help, metric.tags)
    kinds = {metric.name: metric.kind for metric in METRICS}

    def tell(name: str, value: float, tags: Mapping[str, str]) -> None:
        if kinds[name] == "gauge":
            made[name].set(value, dict(tags))
        elif kinds[name] == "histogram":
            made[name].observe(max(value, 1e-9), dict(tags))
        elif value > 0:  # Ray's counters refuse a zero
            made[name].inc(value, dict(tags))

    return Measures(run, tell)
