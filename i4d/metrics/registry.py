"""The metrics there are: those of the package, and those that other packages bring by the entry point
`i4d.metrics`, which names a `Metric`:

    [project.entry-points."i4d.metrics"]
    saturation = "my_package.saturation:METRIC"
"""

from __future__ import annotations

from i4d.errors import ConfigError
from i4d.metrics.protocol import GROUPS, Metric
from i4d.registry import Registry

_KINDS = "i4d.metrics.kinds"
# in the order of the report
METRICS: Registry[Metric] = Registry(
    "i4d.metrics",
    "metric",
    {
        "reconstruction_psnr": f"{_KINDS}.reconstruction:PSNR",
        "reconstruction_ssim": f"{_KINDS}.reconstruction:SSIM",
        "reconstruction_lpips": f"{_KINDS}.reconstruction:LPIPS",
        "known_answer": f"{_KINDS}.known_answer:PSNR",
        "known_answer_frames": f"{_KINDS}.edited_frames:KNOWN_ANSWER",
        "inside_object": f"{_KINDS}.known_answer:INSIDE",
        "outside_object": f"{_KINDS}.known_answer:OUTSIDE",
        "temporal": f"{_KINDS}.agreement:TEMPORAL",
        "temporal_alone": f"{_KINDS}.agreement:TEMPORAL_ALONE",
        "temporal_ratio": f"{_KINDS}.agreement:TEMPORAL_RATIO",
        "temporal_frames": f"{_KINDS}.edited_frames:TEMPORAL",
        "cross_view": f"{_KINDS}.agreement:CROSS_VIEW",
        "cross_view_alone": f"{_KINDS}.agreement:CROSS_VIEW_ALONE",
        "cross_view_ratio": f"{_KINDS}.agreement:CROSS_VIEW_RATIO",
        "cross_view_elsewhere": f"{_KINDS}.edited_frames:CROSS_VIEW",
        "known_answer_lpips": f"{_KINDS}.known_answer:LPIPS",
        "known_answer_gradients": f"{_KINDS}.known_answer:GRADIENTS",
        "clip_direction": f"{_KINDS}.appearance:DIRECTION",
        "clip_consistency": f"{_KINDS}.appearance:CONSISTENCY",
        "drift": f"{_KINDS}.appearance:DRIFT",
        "sharpness": f"{_KINDS}.appearance:SHARPNESS",
        "edges": f"{_KINDS}.appearance:EDGES",
        "background": f"{_KINDS}.appearance:BACKGROUND",
        "seconds": f"{_KINDS}.cost:SECONDS",
        "network_passes": f"{_KINDS}.cost:PASSES",
        "own_seconds": f"{_KINDS}.cost:OWN_SECONDS",
        "memory": f"{_KINDS}.cost:MEMORY",
    },
)
# what else stands in metrics.json
RESERVED = (
    "version",
    "made",
    "scene",
    "prompt",
    "cameras",
    "held_out",
    "rounds",
    "placement",
    "workers",
    "warnings",
    "edit.name",
)


def all_metrics() -> tuple[list[Metric], list[str]]:
    """Return every metric in the order of the report, and a line for each of another package that cannot be
    used. Each has a key and a column of its own: the first one keeps them.
    """
    found: list[Metric] = []
    troubles = []
    for name in METRICS.places():
        if name in METRICS.built_in:
            found.append(METRICS[name])
            continue
        try:
            metric = METRICS[name]
        except ConfigError as err:
            troubles.append(str(err))
        except Exception as err:  # a package's module may raise anything when it is imported
            troubles.append(f"metric = {name}: {type(err).__name__}: {err}")
        else:
            if reason := refused(metric, found):
                troubles.append(f"metric = {name}: {reason}")
            else:
                found.append(metric)
    order = list(GROUPS)
    return sorted(found, key=lambda metric: order.index(metric.group)), troubles


def refused(metric: Metric, others: list[Metric]) -> str:
    """Return why a metric of another package cannot stand beside `others`, or ""."""
    if not isinstance(metric, Metric):
        return f"{type(metric).__name__} is not an i4d.metrics.protocol.Metric"
    if any(_overlap(metric.key, path) for path in RESERVED):
        return f"key '{metric.key}' is taken"
    for other in others:
        if any(_overlap(metric.key, path) for path in other.paths()):
            return f"key '{metric.key}' is taken by '{other.title}'"
        if metric.column == other.column:
            return f"column '{metric.column}' is taken by '{other.title}'"
    return ""


def _overlap(one: str, two: str) -> bool:
    """Return whether one of two paths of metrics.json lies in the other."""
    return f"{one}.".startswith(f"{two}.") or f"{two}.".startswith(f"{one}.")
