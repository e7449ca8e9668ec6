"""Which of several orders of the cameras the pictures belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i4d.config import SceneConfig
from i4d.scenes.calibration.evidence import Evidence
from i4d.scenes.calibration.looks import read_looks
from i4d.scenes.calibration.matches import all_matches, pairs_of
from i4d.scenes.calibration.suspects import in_place_of
from i4d.types import Scene

CLEAR = 0.25  # quality by which the best order must be ahead
GOOD = 0.45  # and that it must have


def better_order(scenes: Sequence[Scene], config: SceneConfig) -> int | None:
    """Return which of several readings of one rig, which differ in the order of poses only, the pictures
    belong to; None where that is not certain.
    """
    looks = read_looks(scenes[0], config)
    cameras = [look.camera for look in looks]
    evidence = Evidence(looks, all_matches(looks, pairs_of(cameras)))
    qualities = []
    for scene in scenes:
        by_name = {c.name: c for c in scene.source_cameras}
        assumed = [in_place_of(camera, by_name[camera.name]) for camera in cameras]
        found = evidence.qualities(assumed, evidence.pairs)
        weights = [evidence.weight(p) for p in found]
        qualities.append(float(np.average(list(found.values()), weights=weights)) if found else 0.0)
    best, second = (int(i) for i in np.argsort(qualities)[::-1][:2])
    clear = qualities[best] >= GOOD and qualities[best] - qualities[second] >= CLEAR
    return best if clear else None
