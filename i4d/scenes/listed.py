"""Which camera took a listed frame, and when: film, rig or photo set.

A `transforms.json` lists pictures with poses and does not say what they are. Times that are all different are
one camera's film; times that repeat are several cameras, told apart by their poses (cameras that stand
still), folders or names. Without times the list may as well be a photo set of a still scene, or several
cameras: then nothing is guessed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from i4d.errors import SceneError
from i4d.scenes.names import some
from i4d.scenes.order import NUMBERS, by_number, numbered

ONE_FILM = "scene.capture: film, if one camera filmed them in this order"
_TURN = 45.0  # degrees between neighbouring frames: no camera that films turns as fast
_SHUFFLED = 0.5  # median step between neighbours, of the median distance of any two poses


@dataclass(frozen=True)
class Listed:
    """The frames of one camera, in order, and when they were taken (empty: one after another)."""

    name: str
    frames: tuple[dict[str, Any], ...]
    instants: tuple[float, ...] = ()


def cameras_of(frames: Sequence[dict], capture: str, path: Path) -> tuple[list[Listed], list[str]]:
    """Return the cameras that took the frames of a file, and what was decided, in lines; `capture` as
    `scene.capture`. SceneError naming both readings where the file does not say which is meant.
    """
    times = _times(frames, path)
    repeated = times is not None and len(set(times)) < len(times)
    if capture == "auto" and len(frames) > 1:
        if times is None:
            raise SceneError(
                f"{path}: frames without times are one camera's film, or a photo set or several cameras",
                f"give every frame a time, or set {ONE_FILM}, or scene.capture: rig, if several cameras did; "
                "photos of a still scene cannot be edited as a film",
            )
        capture = "rig" if repeated else "film"
    if capture == "rig":
        return _rig(frames, times, path)
    if repeated and times is not None:
        twice = next(t for t in times if times.count(t) > 1)
        a, b = [str(f["file_path"]) for f, t in zip(frames, times, strict=True) if t == twice][:2]
        raise SceneError(f"{path}: {a} and {b} share the time {twice:g}", "one film has one frame a time")
    return _film(frames, times, path)


def _times(frames: Sequence[dict], path: Path) -> list[float] | None:
    """Return every frame's time, or None where none has one; SceneError where some have."""
    timed = [f for f in frames if "time" in f]
    if not timed:
        return None
    if len(timed) < len(frames):
        raise SceneError(
            f"{path}: {len(frames) - len(timed)} of {len(frames)} frames have no time",
            "give all a time, or none",
        )
    try:
        times = [float(f["time"]) for f in frames]
    except (TypeError, ValueError, OverflowError):
        raise SceneError(f"{path}: a time is not a number") from None
    if not all(map(math.isfinite, times)) or max(map(abs, times)) > 1e15:
        raise SceneError(f"{path}: a time is not finite")
    return times


def _film(
    frames: Sequence[dict], times: Sequence[float] | None, path: Path
) -> tuple[list[Listed], list[str]]:
    if times is not None:
        keyed = sorted(zip(times, range(len(frames)), strict=True))
        ordered, told = [frames[i] for _, i in keyed], []
    else:
        ordered = sorted(frames, key=lambda f: by_number(str(f["file_path"])))
        told = ["frames follow the numbers in their names (scene.capture: film)"]
        try:
            files = [Path(str(f["file_path"])) for f in ordered]
            keyed = [(n, 0) for n in numbered(files, str(path))[1]]
        except SceneError:
            return [Listed("cam00", tuple(ordered))], told
    instants, uneven = _instants([t for t, _ in keyed])
    return [Listed("cam00", tuple(ordered), tuple(instants))], told + uneven


def _instants(values: Sequence[float]) -> tuple[list[float], list[str]]:
    """Return the instants of frames: their times (or numbers) where these are multiples of one step, most of
    which are there, else their ranks, with a line about it.
    """
    distinct = sorted(set(values))
    steps = np.diff(distinct)
    if not len(steps):
        return [0.0] * len(values), []
    ticks = steps / np.median(steps)
    if (np.abs(ticks - np.round(ticks)) < 0.2).all() and np.round(ticks).sum() <= 2 * len(steps):
        return [float(v) for v in values], []
    rank = {value: float(i) for i, value in enumerate(distinct)}
    return [rank[v] for v in values], ["times are uneven: frames are taken to follow at equal steps"]


def _rig(frames: Sequence[dict], times: Sequence[float] | None, path: Path) -> tuple[list[Listed], list[str]]:
    """Return the cameras by the first rule that gives several, each with one frame a time."""
    stems = [NUMBERS.split(PurePosixPath(str(f["file_path"])).stem) for f in frames]
    rules: list[tuple[str, Callable[[int], Hashable], int]] = [
        ("folder", lambda i: str(PurePosixPath(str(frames[i]["file_path"])).parent), -2)
    ]
    if len({len(s) for s in stems}) == 1:
        rules += [("name", partial(_without, stems, at), at) for at in range(len(stems[0]) - 2, 0, -2)]
    if times is not None:
        rules.append(("pose", lambda i: str(frames[i].get("transform_matrix")), 0))
    for what, key, at in rules:
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for i in range(len(frames)):
            groups[key(i)].append(i)
        when = times if times is not None else _numbers(stems, at)
        if when is None or len(groups) < 2 or len(groups) == len(frames) > 2:
            continue
        if all(len({when[i] for i in g}) == len(g) for g in groups.values()):
            return _named(frames, groups, when, what)
    shared = "frames share times" if times is not None else "scene.capture is rig"
    raise SceneError(
        f"{path}: {shared}, and neither folders nor names nor poses tell several cameras apart",
        "give every camera a folder: file_path cam00/0001.png",
    )


def _without(stems: Sequence[list[str]], at: int, i: int) -> Hashable:
    return tuple(stems[i][:at] + stems[i][at + 1 :])


def _numbers(stems: Sequence[list[str]], at: int) -> list[float] | None:
    """Return the number at a place of every name (-2: the last), None where a name has none there."""
    if any(len(s) < 3 for s in stems):
        return None
    return [float(s[at][:15]) for s in stems]


def _named(
    frames: Sequence[dict], groups: dict[Hashable, list[int]], when: Sequence[float], what: str
) -> tuple[list[Listed], list[str]]:
    instants, told = _instants(when)
    listed = []
    for number, key in enumerate(sorted(groups, key=lambda k: by_number(str(k)))):
        order = sorted(groups[key], key=lambda i: instants[i])
        name = f"cam{number:02d}"
        if what == "folder":
            last = PurePosixPath(str(key)).name
            unique = sum(PurePosixPath(str(k)).name == last for k in groups) == 1
            name = last if unique and last else name
        listed.append(Listed(name, tuple(frames[i] for i in order), tuple(instants[i] for i in order)))
    names = some([c.name for c in listed])
    return listed, [f"{len(listed)} cameras ({names}), told apart by {what}", *told]


def check_film(poses: Sequence[np.ndarray], names: Sequence[str], path: Path) -> None:
    """Raise SceneError where a list of poses (4, 4) jumps as no camera that films does."""
    R, t = np.stack([p[:3, :3] for p in poses]), np.stack([p[:3, 3] for p in poses])
    turns = np.degrees(np.arccos(np.clip((np.einsum("nij,nij->n", R[:-1], R[1:]) - 1) / 2, -1, 1)))
    hint = f"give the frames of one instant one time, if several cameras took them, or set {ONE_FILM}"
    what = "poses jump as those of several cameras or of a photo set do"
    if len(turns) and turns.max() > _TURN:
        at = int(turns.argmax())
        raise SceneError(f"{path}: {what}: {turns[at]:.0f} degrees from {names[at]} to {names[at + 1]}", hint)
    if len(poses) < 8 or np.median(turns) < 3:
        return
    steps = np.linalg.norm(np.diff(t, axis=0), axis=1)
    away = np.linalg.norm(t[:, None] - t, axis=-1)[np.triu_indices(len(t), 1)]
    if np.median(steps) > _SHUFFLED * np.median(away):
        raise SceneError(
            f"{path}: {what}: {np.median(turns):.0f} degrees from frame to frame, and neighbours stand as "
            "far apart as any two",
            hint,
        )
