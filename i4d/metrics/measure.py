"""Measuring: walk the registered metrics, give each what it needs, and put what it finds in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from i4d.errors import ConfigError, SceneError, StorageError
from i4d.metrics.cells import missing
from i4d.metrics.protocol import (
    GROUPS,
    Derived,
    Evaluation,
    Metric,
    Need,
    Shared,
    Tree,
    at,
    merge,
    put,
)

RUN_IS_BROKEN = (ConfigError, SceneError, StorageError)  # no metric's fault; a lost block is a SceneError


def measure(
    run: Evaluation, metrics: Iterable[Metric], tell: Callable[[str], None] = lambda group: None
) -> tuple[Tree, list[str]]:
    """Return what the metrics find, as it stands in metrics.json, and a line for each that raised.

    One that raises costs nobody else's figure: its own is null, with the reason. Errors of the run itself
    pass: blocks that are lost or may not be read, a store that is away. Metrics of an edit are left out where
    nothing was edited. `tell` is called with each group's name before it is measured.
    """
    tree: Tree = {}
    told: list[str] = []
    parts: dict[Any, str] = {}  # what is measured in one pass, with what it failed by
    metrics = list(metrics)
    for group in GROUPS:
        chosen = [m for m in metrics if m.group == group and _applies(m, run)]
        if chosen:
            tell(group)
        for metric in chosen:
            if reason := _carry_out(metric, run, tree, parts):
                told.append(f"{metric.title} ({metric.key}) could not be measured: {reason}")
    return tree, told


def _applies(metric: Metric, run: Evaluation) -> bool:
    return not isinstance(metric.compute, Derived) and not (
        Need.EDIT in metric.needs and run.why_not(Need.EDIT)
    )


def _carry_out(metric: Metric, run: Evaluation, tree: Tree, parts: dict[Any, str]) -> str:
    """Put one metric's figure into the tree; return what it failed by, or ""."""
    compute = metric.compute
    try:
        if isinstance(compute, Shared):
            if compute.measure not in parts:
                parts[compute.measure] = "what it is measured with failed"
                merge(tree, compute.measure(run))
                parts[compute.measure] = ""
            failed = parts[compute.measure]
        else:
            assert not isinstance(compute, Derived), "nothing is computed of those"
            lacking = next(filter(None, map(run.why_not, metric.needs)), "")
            found = missing(lacking) if lacking else compute(run)
            put(tree, metric.key, found if isinstance(found, dict) else {"value": _number(found)})
            return ""
    except RUN_IS_BROKEN:
        raise
    except Exception as err:  # whatever a metric of anybody's raises
        failed = f"{type(err).__name__}: {err}"
        if isinstance(compute, Shared):
            parts[compute.measure] = failed
    if failed and at(tree, metric.places[0].value) is None:
        put(tree, metric.places[0].value, None)
        if metric.places[0].reason:
            put(tree, metric.places[0].reason, f"failed: {failed}")
    return failed


def _number(found: Any) -> float:
    """Return a metric's number as JSON has it; TypeError where it is none, ValueError where it is not
    finite.
    """
    value = float(found)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"its value is {value}")
    return value
