"""The calibration check of a scene, and its result as values."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.calibration import verdict
from i4d.scenes.calibration.coverage import Coverage, coverage
from i4d.scenes.calibration.evidence import Evidence
from i4d.scenes.calibration.exposure import stops
from i4d.scenes.calibration.lag import Lag, find_lags
from i4d.scenes.calibration.looks import Look, read_looks
from i4d.scenes.calibration.matches import Pair, all_matches, pairs_of
from i4d.scenes.calibration.moving import moving_pairs
from i4d.scenes.calibration.suspects import find_suspects, levels
from i4d.scenes.calibration.verdict import Problem
from i4d.scenes.names import some
from i4d.types import Camera, Scene

WITHIN_PX = 2.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PairFigure:
    """Two cameras compared. `matches` of `found` agree among themselves; `median_px` is their symmetric
    distance from the epipolar lines in pixels of the working size (`source_px`: of the source), `within` the
    share within 2 px: None where there are too few. `alike`: how alike motion is on their epipolar planes at
    the best lag, None where too little moves.
    """

    a: str
    b: str
    matches: int
    found: int
    median_px: float | None
    source_px: float | None
    within: float | None
    alike: float | None


@dataclass(frozen=True)
class CameraFigure:
    """A camera. `median_px`: the median over its pairs. Lag in frames with its spread, None where motion does
    not tell; `stops`, `red`: exposure and red against blue beside the rig's median, None where no matches tie
    it to the others. `judged_by`: what its pose was judged by.
    """

    name: str
    judged_by: str
    median_px: float | None
    lag: float | None
    spread: float | None
    certain: bool
    stops: float | None
    red: float | None


@dataclass(frozen=True)
class Check:
    """What was measured of a scene. `notes` say what could not be told."""

    scene: str
    width: int
    frames: int
    cameras: tuple[CameraFigure, ...]
    pairs: tuple[PairFigure, ...]
    coverage: Coverage | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def stopping(self) -> tuple[Problem, ...]:
        """Return what is certain enough to stop a run."""
        return tuple(p for p in self.problems if p.level == "stop")

    def to_json(self) -> dict:
        """Return the check as plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a check was made from, for its picture: looks, evidence and the declared cameras."""

    looks: Sequence[Look]
    evidence: Evidence
    cameras: Sequence[Camera]


def check_scene(scene: Scene, config: SceneConfig, progress: Progress | None = None) -> Check:
    """Return the check of a scene; `progress`: cameras read, in all. SceneError where a video is corrupt."""
    return looked_at(scene, config, progress)[0]


def looked_at(
    scene: Scene, config: SceneConfig, progress: Progress | None = None
) -> tuple[Check, Seen | None]:
    """Return the check and what it was made from; nothing of that for moving or single cameras."""
    began = time.monotonic()
    if any(c.path is not None for c in scene.source_cameras):
        return _moving(scene, config.stride, began), None
    if len(scene.source_cameras) < 2:
        note = "one camera that stands still: there is nothing to compare it with"
        return Check(scene.name, 0, 0, (), (), None, (), (note,), 0.0), None
    looks = read_looks(scene, config, progress)
    cameras = tuple(look.camera for look in looks)
    evidence = Evidence(looks, all_matches(looks, pairs_of(list(cameras))))
    check = judged(scene.name, evidence, cameras, scene.train_views, config.offsets)
    return replace(check, seconds=round(time.monotonic() - began, 2)), Seen(looks, evidence, cameras)


def judged(
    name: str,
    evidence: Evidence,
    cameras: Sequence[Camera],
    edited: Sequence[int],
    offsets: Mapping[str, float] | None = None,
) -> Check:
    """Return the check of declared cameras against what was seen; `edited`: the views that a field is made
    from; `offsets`: `scene.offsets`, which what was seen has followed.
    """
    suspects, mended = find_suspects(evidence, cameras)
    lags = find_lags(evidence, mended)
    bright = stops(evidence.looks, evidence.matches)
    cover = coverage(mended, edited, evidence.matches)
    before, after = medians(evidence, cameras), medians(evidence, mended)
    counts = _counts(evidence)
    poses = [
        *verdict.suspicions(suspects, cameras, before, after),
        *verdict.strangers(levels(evidence, mended), after, cameras, counts),
    ]
    stopped = any(problem.level == "stop" for problem in poses)
    problems = [
        *poses,
        *verdict.nearly(after, cameras, counts, stopped),
        *verdict.late(lags, cameras, offsets),
        *verdict.unlike_the_others(evidence.looks, lags, cameras),
        *verdict.exposures(bright, cameras),
        *verdict.gaps(cover),
    ]
    first = evidence.looks[0]
    return Check(
        name,
        cameras[0].width,
        first.frames,
        _camera_figures(evidence, cameras, before, lags, bright),
        tuple(_pair_figure(evidence, cameras, pair) for pair in evidence.pairs),
        cover,
        tuple(sorted(problems, key=lambda p: p.level != "stop")),
        tuple(_notes(evidence, cameras, lags)),
        0.0,
    )


def medians(evidence: Evidence, cameras: Sequence[Camera]) -> dict[int, float]:
    """Return every view's distance from its epipolar lines, the median over its pairs' medians, where matches
    tell.
    """
    found: dict[int, list[float]] = {}
    for pair in evidence.pairs:
        if evidence.by_matches(pair):
            middle = float(np.median(evidence.distances(cameras, pair)))
            for view in pair:
                found.setdefault(view, []).append(middle)
    return {view: float(np.median(values)) for view, values in found.items()}


def _counts(evidence: Evidence) -> dict[int, int]:
    counts: dict[int, int] = {}
    for pair in evidence.pairs:
        for view in pair if evidence.by_matches(pair) else ():
            counts[view] = counts.get(view, 0) + 1
    return counts


def _pair_figure(evidence: Evidence, cameras: Sequence[Camera], pair: Pair) -> PairFigure:
    a, b = pair
    found, curve = evidence.matches[pair], evidence.curve(cameras, pair)
    middle = within = source = None
    if found.sure:
        away = evidence.distances(cameras, pair)
        scale = (evidence.looks[a].per_px + evidence.looks[b].per_px) / 2
        middle, within = round(float(np.median(away)), 2), round(float((away < WITHIN_PX).mean()), 2)
        source = round(middle * scale, 2)
    alike = None if curve is None else round(float(curve.max()), 2)
    return PairFigure(
        cameras[a].name, cameras[b].name, len(found.xa), found.found, middle, source, within, alike
    )


def _camera_figures(
    evidence: Evidence,
    cameras: Sequence[Camera],
    px: dict[int, float],
    lags: dict[int, Lag],
    bright: dict[int, tuple[float, float]],
) -> tuple[CameraFigure, ...]:
    out = []
    moving = {v for p in evidence.pairs if evidence.curve(cameras, p) is not None for v in p}
    for view, camera in enumerate(cameras):
        lag, light = lags.get(view), bright.get(view)
        by = "matches" if view in px else "motion" if view in moving else "nothing"
        out.append(
            CameraFigure(
                camera.name,
                by,
                None if view not in px else round(px[view], 2),
                lag.frames if lag else None,
                lag.spread if lag else None,
                bool(lag and lag.certain),
                light and light[0],
                light and light[1],
            )
        )
    return tuple(out)


def _notes(evidence: Evidence, cameras: Sequence[Camera], lags: dict[int, Lag]) -> list[str]:
    notes = []
    sure = [p for p in evidence.pairs if evidence.by_matches(p)]
    unknown = [c.name for v, c in enumerate(cameras) if not any(v in p for p in sure)]
    if unknown:
        notes.append(
            f"too few matches to measure the poses of {some(unknown)} in pixels: the views are too far "
            "apart or have too little texture; judged by motion alone where something moves"
        )
    still = [c.name for v, c in enumerate(cameras) if v not in lags]
    unsure = [cameras[v].name for v, lag in lags.items() if not lag.certain]
    if still:
        notes.append(f"not enough motion to tell the lag of {some(still)}")
    if unsure:
        notes.append(f"the lag of {some(unsure)} is not certain: motion repeats, or views tell little")
    return notes


def _moving(scene: Scene, stride: int, began: float) -> Check:
    """Return the check of moving cameras: frames of each against its own others."""
    pairs, problems = [], []
    for camera in scene.source_cameras:
        if camera.path is None:
            continue
        found = moving_pairs(scene, camera, stride)
        known = [px for _, _, m, px in found if px is not None]
        scale = camera.width / min(640, camera.width)
        for a, b, m, px in found:
            source = None if px is None else round(px * scale, 2)
            pairs.append(
                PairFigure(
                    f"{camera.name}:{a}", f"{camera.name}:{b}", len(m.xa), m.found, px, source, None, None
                )
            )
        if len(known) >= 3 and np.median(known) > verdict.OFF_PX:
            problems.append(
                Problem(
                    "warn",
                    "poses",
                    (camera.name,),
                    float(np.median(known)),
                    f"{camera.name}: matched points of its frames lie {np.median(known):.1f} px from their "
                    "epipolar lines",
                    "check axes, focal length and that poses belong to these frames",
                )
            )
    note = "a moving camera: its poses are compared frame by frame; lag, exposure and coverage are not"
    return Check(
        scene.name,
        min(640, scene.source_cameras[0].width),
        len(pairs),
        (),
        tuple(pairs),
        None,
        tuple(problems),
        (note,),
        round(time.monotonic() - began, 2),
    )


def stop_unless_fit(check: Check) -> None:
    """Raise SceneError with the surest of a check's problems, where one is certain."""
    if check.stopping:
        first, more = check.stopping[0], len(check.stopping) - 1
        also = f"; {more} more, see `i4d check`" if more else ""
        raise SceneError(f"calibration check: {first.text}{also}", f"{first.mend}; --no-check goes on anyway")
