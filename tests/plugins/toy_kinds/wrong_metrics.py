"""Metrics that do not work: one raises, one is not finite, one takes a key of i4d's own."""

from dataclasses import replace

from toy_kinds.saturation import METRIC


def raises(run):
    raise ZeroDivisionError("no <contrast>")


RAISES = replace(
    METRIC, key="edit.look.contrast", title="Contrast", column="contrast", places=(), compute=raises
)
NOT_FINITE = replace(
    METRIC, key="edit.look.grain", title="Grain", column="grain", places=(), compute=lambda run: float("nan")
)
TAKEN = replace(METRIC, key="edit.temporal", title="Mine", column="mine", places=())
