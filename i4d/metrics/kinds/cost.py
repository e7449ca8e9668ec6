"""What a run took: seconds, passes through the editor's network, memory. Read from the run's own books."""

from __future__ import annotations

from i4d.metrics.protocol import COST, Derived, Evaluation, Metric, Places, Shared, Tree, at


def spent(run: Evaluation) -> Tree:
    """Return the cost of the run as it stands at the root of metrics.json."""
    return run.spent()


def own_seconds(tree: Tree) -> float | None:
    """Return the seconds of a run without what cells of a comparison share: decoding and the
    reconstruction.
    """
    timing = at(tree, "timing", {})
    total = timing.get("total_s")
    return None if total is None else total - timing.get("prepare_s", 0.0) - timing.get("fit_s", 0.0)


PASSES = Metric(
    "unet_forwards",
    "UNet forwards",
    "",
    "lower",
    "Images times guidance branches through the editor's network in the committed rounds.",
    "own",
    (),
    Shared(spent),
    digits=0,
    group=COST,
    heading="forwards",
    places=(Places("unet_forwards"),),
)
SECONDS = Metric(
    "timing.total_s",
    "Time of all stages",
    "s",
    "lower",
    "Seconds of all stages, summed over rounds.",
    "own",
    (),
    Shared(spent),
    digits=0,
    group=COST,
    column="total_seconds",
    compared=False,
    headline="time of all stages",
    also=(("of these", "timing"),),
    places=(Places("timing.total_s"),),
)
OWN_SECONDS = Metric(
    "timing.own_s",
    "Time without decoding and reconstruction",
    "s",
    "lower",
    "Seconds of all stages without decoding and the first fit, which runs of a comparison share; not stored.",
    "own",
    (),
    Derived(own_seconds),
    digits=0,
    group=COST,
    column="seconds",
    heading="seconds",
    places=(Places("timing.total_s"),),
)
MEMORY = Metric(
    "peak_memory_bytes",
    "Peak memory of one service",
    "bytes",
    "lower",
    "Most that one service held: of the card on a GPU, resident memory of the process on a CPU.",
    "own",
    (),
    Shared(spent),
    digits=0,
    group=COST,
    compared=False,
    places=(Places("peak_memory_bytes"),),
)
