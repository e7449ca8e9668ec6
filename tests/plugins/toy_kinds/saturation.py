"""A metric that i4d has never heard of: how colourful the edit is."""

import cv2

from i4d.metrics.cells import cell
from i4d.metrics.protocol import Metric, Need


def saturation(run):
    view = run.shown[0]
    frames = (run.render(view, i) for i in range(run.count(view)))
    return cell([float(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1].mean() / 255) for frame in frames])


METRIC = Metric(
    key="edit.saturation",
    title="Saturation of the edit",
    unit="",
    better="higher",
    meaning="Mean saturation of the edited renders of the first watched camera, of [0, 1].",
    source="own",
    needs=(Need.EDIT, Need.EDITED_RENDERS),
    compute=saturation,
    limits=(0, 1),
)
