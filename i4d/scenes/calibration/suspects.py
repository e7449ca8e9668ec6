"""Which camera is wrong, and how: assumptions about the cameras, tried one by one against the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from i4d.scenes.calibration.evidence import Evidence
from i4d.types import Camera

GOOD = 0.6  # quality by matches: of a pair whose median distance is below a pixel
GOOD_MOTION = 0.3  # correlation of motion of a pair whose cameras are right
CERTAIN_GAIN = 0.2  # quality that a mend must gain on the pairs it touches to be believed
HINT_GAIN = 0.04  # of a focal length, judged by motion alone: worth a warning
FOCAL_OFF = 0.033  # share; by motion alone a right focal length is found within 2.5 %
BELOW_USUAL = 0.85  # of the rig's median view: looked at closely
MOST_MENDS = 6
FOCALS = np.exp(np.linspace(np.log(0.5), np.log(2.0), 29))
FOCALS_BY_MOTION = np.exp(np.linspace(np.log(0.8), np.log(1.25), 9))
LENSES = (-0.4, -0.2, -0.1, 0.1, 0.2, 0.4)


@dataclass(frozen=True, eq=False)
class Suspect:
    """What would explain the evidence better: `kind` of `views`; `value` of it (focal length found over that
    declared, k1 of a lens). `before`, `after`: mean quality of the pairs it touches. `certain`: no doubt is
    left.
    """

    kind: str
    views: tuple[int, ...]
    value: float
    before: float
    after: float
    certain: bool


Cameras = tuple[Camera, ...]


# ---------------------------------------------------------------------------------------- assumptions
def upside_down(camera: Camera) -> Camera:
    """Return the camera of which the picture is rotated by 180 degrees."""
    K = camera.K.copy()
    K[0, 2], K[1, 2] = camera.width - K[0, 2], camera.height - K[1, 2]
    return replace(camera, K=K, world_from_camera=camera.world_from_camera @ np.diag([-1.0, -1.0, 1.0, 1.0]))


def mirrored(camera: Camera) -> Camera:
    """Return the camera of which the picture is mirrored left to right."""
    K = camera.K.copy()
    K[0, 0], K[0, 2] = -K[0, 0], camera.width - K[0, 2]
    return replace(camera, K=K)


def with_focal(camera: Camera, times: float) -> Camera:
    """Return the camera with its focal length multiplied."""
    K = camera.K.copy()
    K[0, 0], K[1, 1] = K[0, 0] * times, K[1, 1] * times
    return replace(camera, K=K)


def graphics_axes(camera: Camera) -> Camera:
    """Return the camera of which the pose was meant in OpenGL's axes (y up, z backward)."""
    return replace(camera, world_from_camera=camera.world_from_camera @ np.diag([1.0, -1.0, -1.0, 1.0]))


def inverse_pose(camera: Camera) -> Camera:
    """Return the camera of which the pose was meant the other way round."""
    return replace(camera, world_from_camera=np.linalg.inv(camera.world_from_camera))


def in_place_of(camera: Camera, other: Camera) -> Camera:
    """Return a camera's picture with the calibration of another one."""
    scale = camera.width / other.width
    K = other.K * np.array([[scale], [scale], [1.0]])
    return replace(camera, K=K, world_from_camera=other.world_from_camera, distortion=other.distortion)


def swapped(cameras: Sequence[Camera], a: int, b: int) -> Cameras:
    """Return cameras with two calibrations exchanged."""
    out = list(cameras)
    out[a], out[b] = in_place_of(cameras[a], cameras[b]), in_place_of(cameras[b], cameras[a])
    return tuple(out)


def _changed(cameras: Sequence[Camera], views: Sequence[int], how) -> Cameras:
    return tuple(how(c) if v in views else c for v, c in enumerate(cameras))


WHOLE = {"graphics axes": graphics_axes, "inverse poses": inverse_pose, "upside down": upside_down}
ONE = {"upside down": upside_down, "mirrored": mirrored, "graphics axes": graphics_axes}


# ------------------------------------------------------------------------------------------- search
def find_suspects(evidence: Evidence, cameras: Sequence[Camera]) -> tuple[list[Suspect], Cameras]:
    """Return what is wrong with the declared cameras, surest first, and the cameras with all that mended.

    Mends are taken one after the other, each the one that explains most, while one explains something.
    """
    assumed, found = tuple(cameras), []
    for _ in range(MOST_MENDS):
        best = max(_mends(evidence, assumed), key=lambda mend: mend[0].after - mend[0].before, default=None)
        if best is None:
            break
        found.append(best[0])
        assumed = best[1]
    return found, assumed


def levels(evidence: Evidence, cameras: Sequence[Camera]) -> dict[int, float]:
    """Return how good each view's pairs are, relative to what is good for their kind: 1 and above is good.
    Views of which nothing is known are left out. Motion is asked where fewer than two pairs have matches.
    """
    by_matches: dict[int, list[float]] = {}
    by_motion: dict[int, list[float]] = {}
    for pair, quality in evidence.qualities(cameras, evidence.pairs).items():
        matches = evidence.by_matches(pair)
        for view in pair:
            kept = by_matches if matches else by_motion
            kept.setdefault(view, []).append(quality / (GOOD if matches else GOOD_MOTION))
    out = {view: float(np.median(values)) for view, values in by_motion.items()}
    out |= {view: float(np.median(v)) for view, v in by_matches.items() if len(v) > 1 or view not in out}
    return out


def _mends(evidence: Evidence, cameras: Cameras) -> Iterator[tuple[Suspect, Cameras]]:
    level = levels(evidence, cameras)
    usual = float(np.median(list(level.values()))) if level else 1.0
    bad = [v for v, value in level.items() if value < max(1.0, BELOW_USUAL * min(usual, 1.6))]
    by_motion = [v for v in level if not any(evidence.by_matches(p) for p in evidence.of([v]))]
    everyone = tuple(range(len(cameras)))
    if 2 * len(bad) > len(level):
        for kind, how in WHOLE.items():
            yield from _tried(evidence, cameras, kind, everyone, _changed(cameras, everyone, how))
        yield from _focal(evidence, cameras, everyone)
    if len(level) > 2:
        for view in sorted({*bad, *by_motion}):
            yield from _focal(evidence, cameras, (view,))
        for view in bad:
            for kind, how in ONE.items():
                yield from _tried(evidence, cameras, kind, (view,), _changed(cameras, (view,), how))
            yield from _lens(evidence, cameras, view)
        for a, b in combinations(sorted(level), 2):
            if a not in bad and b not in bad:
                continue
            yield from _tried(evidence, cameras, "swapped", (a, b), swapped(cameras, a, b))


def _gain(evidence: Evidence, cameras: Cameras, views: Sequence[int], other: Cameras) -> tuple[float, float]:
    """Return the mean quality of the pairs that views take part in, before and after a change."""
    before = evidence.qualities(cameras, evidence.of(views))
    after = evidence.qualities(other, evidence.of(views))
    if not before:
        return 0.0, 0.0
    weights = [evidence.weight(p) for p in before]
    return (
        float(np.average(list(before.values()), weights=weights)),
        float(np.average([after.get(p, 0.0) for p in before], weights=weights)),
    )


def _tried(
    evidence: Evidence, cameras: Cameras, kind: str, views: tuple[int, ...], other: Cameras, value: float = 0
) -> Iterator[tuple[Suspect, Cameras]]:
    before, after = _gain(evidence, cameras, views, other)
    if after - before >= CERTAIN_GAIN:
        yield Suspect(kind, views, value, before, after, True), other


def _focal(evidence: Evidence, cameras: Cameras, views: tuple[int, ...]) -> Iterator[tuple[Suspect, Cameras]]:
    def quality(times: float) -> float:
        other = _changed(cameras, views, lambda c: with_focal(c, times))
        return _gain(evidence, cameras, views, other)[1]

    matches = any(evidence.by_matches(p) for p in evidence.of(views))
    best = max(FOCALS if matches else FOCALS_BY_MOTION, key=quality)
    for step in (0.025, 0.01, 0.004) if matches else (0.014, 0.007):
        best = max((best * (1 + k * step) for k in (-2, -1, 0, 1, 2)), key=quality)
    other = _changed(cameras, views, lambda c: with_focal(c, best))
    before, after = _gain(evidence, cameras, views, other)
    if abs(best - 1) < FOCAL_OFF or after - before < HINT_GAIN:
        return
    certain = after - before >= CERTAIN_GAIN and matches
    if certain or not matches:
        yield Suspect("focal length", views, float(best), before, after, certain), other


def _lens(evidence: Evidence, cameras: Cameras, view: int) -> Iterator[tuple[Suspect, Cameras]]:
    for k1 in LENSES:
        other = _changed(cameras, (view,), lambda c, k=k1: replace(c, distortion=(k, 0.0, 0.0, 0.0)))
        for suspect, mended in _tried(evidence, cameras, "lens", (view,), other, k1):
            # a lens and a focal length explain much of the same; the lens must explain clearly more
            yield replace(suspect, after=suspect.after - CERTAIN_GAIN / 4), mended
