"""Publishes a run's metrics through Ray, which hands them to Prometheus on every node's metrics port."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util import metrics

from i4d.exec.measures import METRICS, Measures


def published(run: str) -> Measures:
    """Return a sink for events (as JSON) that publishes what they measure under the run's name."""
    made: dict[str, metrics.Counter | metrics.Gauge | metrics.Histogram] = {}
    for metric in METRICS:
        if metric.kind == "histogram":
            made[metric.name] = metrics.Histogram(
                metric.name, metric.help, list(metric.boundaries), metric.tags
            )
        else:
            kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
            made[metric.name] = kind(metric.name, metric.help, metric.tags)

    def tell(name: str, value: float, tags: Mapping[str, str]) -> None:
        metric = made[name]
        if isinstance(metric, metrics.Gauge):
            metric.set(value, dict(tags))
        elif isinstance(metric, metrics.Histogram):
            metric.observe(max(value, 1e-9), dict(tags))
        elif value > 0:  # Ray's counters refuse a zero
            metric.inc(value, dict(tags))

    return Measures(run, tell)
