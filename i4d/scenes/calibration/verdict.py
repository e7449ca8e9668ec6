"""What the figures of a check mean: one line each, and whether it is certain enough to stop a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from i4d.scenes.calibration.coverage import Coverage
from i4d.scenes.calibration.lag import Lag
from i4d.scenes.calibration.looks import Look
from i4d.scenes.calibration.suspects import Suspect
from i4d.types import Camera

LATE = 0.35  # frames: less is told in the table only
LATE_STOPS = 1.0
SURE_OF_LAG = 3.0  # times the spread
SURE_TO_STOP = 5.0
EXPOSURE = 0.33  # stops
WHITE = 0.33
WIDE_DEG = 25.0  # between neighbours: a field has little to go by between them
OFF_PX = 3.0
NEARLY_PX = 1.0  # good rigs lie within half a pixel; between the two a fit can correct the cameras
FLAT = 2.0  # grey levels, standard deviation of a picture


@dataclass(frozen=True)
class Problem:
    """`level` "stop": certain, and a run on this input would be wrong; "warn": told. `kind` is a word for
    programs, `cameras` whom it is about, `value` its figure (frames, stops, share of the focal length ...).
    """

    level: Literal["stop", "warn"]
    kind: str
    cameras: tuple[str, ...]
    value: float
    text: str
    mend: str


def suspicions(
    suspects: Sequence[Suspect],
    cameras: Sequence[Camera],
    before_px: dict[int, float],
    after_px: dict[int, float],
) -> list[Problem]:
    """Return one problem per suspect. `before_px`, `after_px`: a view's median distance from its lines with
    the declared and the mended cameras, pixels of the working size, where matches tell.
    """
    out = []
    for s in suspects:
        names = tuple(cameras[v].name for v in s.views)
        whole = len(names) == len(cameras)
        who = "all cameras" if whole else " and ".join(names)
        known = [v for v in s.views if v in before_px and v in after_px]
        if known:
            values = [float(np.median([px[v] for v in known])) for px in (before_px, after_px)]
            seen = f"points lie {values[0]:.1f} px from their epipolar lines, {values[1]:.1f} if so"
        else:
            seen = f"motion agrees {s.before:.2f} with other cameras, {s.after:.2f} if so"
        what, mend = _WORDS[s.kind](s, cameras, who)
        out.append(
            Problem("stop" if s.certain else "warn", s.kind, names, s.value, f"{who}: {what}; {seen}", mend)
        )
    return out


def _focal(s: Suspect, cameras: Sequence[Camera], who: str) -> tuple[str, str]:
    off = 100 * (1 / s.value - 1)
    word = "looks" if not s.certain else "is"
    return f"the focal length {word} {abs(off):.1f} % too {'long' if off > 0 else 'short'}", (
        f"mend K of {who}: multiply fx and fy by {s.value:.3f}"
    )


_WORDS = {
    "focal length": _focal,
    "upside down": lambda s, c, who: (
        "the picture is upside down for the pose",
        f"turn the video of {who} by 180 degrees, or calibrate it as it is",
    ),
    "mirrored": lambda s, c, who: (
        "the picture is mirrored left to right",
        f"mirror the video of {who} back",
    ),
    "swapped": lambda s, c, who: (
        "each has the other's calibration",
        "exchange their videos, or their poses and K",
    ),
    "lens": lambda s, c, who: (
        f"the lens bends lines (k1 about {s.value:+.1f}) and distortion says otherwise",
        f"give {who} its lens and distortion, or undistort the video",
    ),
    "graphics axes": lambda s, c, who: (
        "poses are in OpenGL's axes (y up, z backward)",
        "turn them into OpenCV's: negate the second and third column of the rotation",
    ),
    "inverse poses": lambda s, c, who: (
        "poses are the wrong way round",
        "R and t are those of x_camera = R x_world + t: give the inverse",
    ),
}


def strangers(
    level: dict[int, float], px: dict[int, float], cameras: Sequence[Camera], pairs: dict[int, int]
) -> list[Problem]:
    """Return what nothing explains: a view far from its lines while the rest is well, or everything.
    `pairs`: how many pairs with matches each view has.
    """
    usable = {v: d for v, d in px.items() if pairs.get(v, 0) >= 2}
    bad = [v for v, d in usable.items() if d > OFF_PX and level.get(v, 1.0) < 0.5]
    if not bad or len(usable) < 3:
        return []
    rest = [d for v, d in usable.items() if v not in bad]
    if 2 * len(bad) > len(usable):
        middle = float(np.median(list(usable.values())))
        return [
            Problem(
                "stop",
                "poses",
                tuple(cameras[v].name for v in bad),
                middle,
                f"the poses do not fit the pictures: matched points lie {middle:.1f} px from their epipolar "
                "lines, median over the cameras",
                "check the order of the cameras, the axes (OpenCV), and that poses belong to these videos",
            )
        ]
    return [
        Problem(
            "stop",
            "pose",
            (cameras[v].name,),
            usable[v],
            f"{cameras[v].name} disagrees with all others: its points lie {usable[v]:.1f} px from their "
            f"epipolar lines, the others' {np.median(rest):.1f}",
            f"calibrate {cameras[v].name} again, or leave it out: scene.drop",
        )
        for v in bad
    ]


def nearly(
    px: dict[int, float], cameras: Sequence[Camera], pairs: dict[int, int], stopped: bool
) -> list[Problem]:
    """Return what poses that disagree a little come to, over all such cameras: NEARLY_PX to OFF_PX from their
    lines. Nothing where poses are wrong enough to have `stopped` a run: a wrong camera spoils the figures of
    those it is compared with.
    """
    off = [v for v, d in px.items() if NEARLY_PX < d <= OFF_PX and pairs.get(v, 0) >= 2]
    if stopped or not off:
        return []
    names, middle = tuple(cameras[v].name for v in off), float(np.median([px[v] for v in off]))
    who = "all cameras" if len(names) == len(cameras) else " and ".join(names)
    text = f"{who}: poses disagree a little, points lie {middle:.1f} px from their epipolar lines"
    mend = "calibrate again, or let the fit correct the cameras: --set field.cameras=refined"
    return [Problem("warn", "nearly", names, middle, text, mend)]


def late(
    lags: dict[int, Lag], cameras: Sequence[Camera], offsets: Mapping[str, float] | None = None
) -> list[Problem]:
    """Return one problem per camera that is certainly out of step; `offsets`: what `scene.offsets` says
    already, which the mend counts in.
    """
    out = []
    for view, lag in lags.items():
        frames = abs(lag.frames)
        if not lag.certain or frames < LATE or frames < SURE_OF_LAG * lag.spread:
            continue
        name = cameras[view].name
        given = (offsets or {}).get(name, 0.0)
        value = round(given + lag.frames, 1)
        value = round(value) if abs(value - round(value)) < max(0.25, lag.spread) else value
        who = f"{name} and {cameras[1 - view].name}" if len(cameras) == 2 else name
        text = (
            f"{who}: started {frames:.1f} frames {'later' if lag.frames > 0 else 'earlier'} than its offset "
            f"of {given:g} says"
            if given
            else f"{who}: started {frames:.1f} frames {'late' if lag.frames > 0 else 'early'}"
        )
        text += f", give or take {lag.spread:.1f}"
        sure = frames + lag.spread >= LATE_STOPS and frames >= SURE_TO_STOP * lag.spread
        level: Literal["stop", "warn"] = "stop" if sure else "warn"
        mend = f"scene.offsets: {{{name}: {value:g}}}; or frames are missing inside its video"
        out.append(Problem(level, "lag", (name,), lag.frames, text, mend))
    return out


def unlike_the_others(
    looks: Sequence[Look], lags: dict[int, Lag], cameras: Sequence[Camera]
) -> list[Problem]:
    """Return one problem per camera that shows nothing, or whose motion cannot be brought together with what
    most others agree on: black, frozen, or further out of step than is searched.
    """
    out = []
    agreed = sum(lag.certain for lag in lags.values())
    for view, (camera, look) in enumerate(zip(cameras, looks, strict=True)):
        lag = lags.get(view)
        if float(look.still.std()) < FLAT:
            text = f"{camera.name}: its picture is one flat colour"
            out.append(Problem("warn", "flat", (camera.name,), 0.0, text, "look at the video"))
        elif agreed >= max(3, len(cameras) // 2) and not (lag and lag.certain):
            what = "its motion agrees with nobody's" if lag else "nothing moves in it that others see move"
            text = f"{camera.name}: {what}, while {agreed} cameras agree among themselves"
            mend = "look at the video: frozen, much out of step, or filmed at another time?"
            out.append(Problem("warn", "motion", (camera.name,), 0.0, text, mend))
    return out


def exposures(stops: dict[int, tuple[float, float]], cameras: Sequence[Camera]) -> list[Problem]:
    """Return one problem per camera that is clearly brighter, darker or of another colour."""
    out = []
    for view, (bright, red) in stops.items():
        name = cameras[view].name
        if abs(bright) >= EXPOSURE:
            out.append(
                Problem(
                    "warn",
                    "exposure",
                    (name,),
                    bright,
                    f"{name}: {abs(bright):.2f} stops {'brighter' if bright > 0 else 'darker'} than the rig",
                    "the fit allows for it, unless field.exposure=off",
                )
            )
        if abs(red) >= WHITE:
            out.append(
                Problem(
                    "warn",
                    "white balance",
                    (name,),
                    red,
                    f"{name}: {abs(red):.2f} stops {'redder' if red > 0 else 'bluer'} than the rig",
                    "the fit allows for it, unless field.exposure=off; better matched before the run",
                )
            )
    return out


def gaps(found: Coverage | None) -> list[Problem]:
    """Return what the cameras' places mean for the field."""
    if found is None or found.cameras < 2:
        return []
    out = []
    if found.apart_deg >= WIDE_DEG:
        out.append(
            Problem(
                "warn",
                "wide baselines",
                (),
                found.apart_deg,
                f"wide baselines: {found.cameras} cameras, neighbours {found.apart_deg:.0f} degrees apart: "
                "between them the field will have fog",
                "views near the cameras are the good ones; more cameras between them mend it",
            )
        )
    if found.by_two < 0.8:
        out.append(
            Problem(
                "warn",
                "coverage",
                (),
                found.by_two,
                f"coverage: only {100 * found.by_two:.0f} % of the scene's points are seen by two cameras",
                "what one camera sees has no depth of its own",
            )
        )
    return out
