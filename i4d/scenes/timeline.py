"""One clock for all cameras: frames are matched by when they were taken, not by their number.

The clock ticks at the commonest rate of the cameras. Frame i of a camera shows the instant
`(time_i - zero) * rate + offset`: `zero` is the time of its own first frame for videos, and the smallest
number of any camera for numbered pictures, whose numbers are instants; `offset` is `scene.offsets`: a camera
that started 7 frames late has offset 7, so its first frame shows instant 7. A frame belongs to the nearest
instant, at most half a tick away. Instants without a frame are missing: the nearest frame stands in for them,
so that everything has one length, and nothing is trained on it or measured with it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from i4d.config import SceneConfig
from i4d.errors import ConfigError, SceneError
from i4d.scenes.names import some

LONGEST = 1_000_000  # instants
_SAME_RATE = 0.002  # relative; NTSC's 29.97 beside 30 is one rate
_OFF = 0.1  # ticks: frames farther from their instant are told


class Recordings(Protocol):
    """What is asked of a source of frames."""

    fps: float  # of numbered pictures, which have no rate; 0: times are seconds
    common_zero: bool  # whether times of all cameras count from one zero

    def times(self, camera: str) -> np.ndarray:
        """Return when frames were taken, ascending: seconds, or numbers of pictures."""
        ...

    def rate(self, camera: str) -> float:
        """Return the declared frames per unit of time, 0 where nothing is declared."""
        ...

    def stamp(self, camera: str) -> list: ...
    def size(self, camera: str) -> tuple[int, int]: ...
    def frames(
        self, camera: str, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield frames by number, ascending; reduced to a size (width, height) where one is given."""
        ...

    def notes(self, cameras: Sequence[str]) -> list[str]: ...


@dataclass(frozen=True, eq=False)
class Track:
    """Frames of one camera on the clock: the number of the frame that stands at each instant, whether it is
    that instant's own, and how far off it such frames lie.
    """

    numbers: np.ndarray
    own: np.ndarray
    off: float = 0.0  # ticks that frames lie off their own instants, at most

    def span(self) -> tuple[int, int]:
        """Return the first instant with a frame of its own, and one past the last."""
        there = np.flatnonzero(self.own)
        return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)


@dataclass(frozen=True, eq=False)
class Timeline:
    """A source of frames by instant: implements `types.FrameSource`. `first` and `num_frames` are the part
    that a scene uses, every `stride`-th instant of it; `fps` is the rate of those.
    """

    source: Recordings
    tracks: dict[str, Track]
    first: int
    num_frames: int
    stride: int
    fps: float
    notes: tuple[str, ...]

    @property
    def used(self) -> slice:
        """Return the instants that the scene uses."""
        return slice(self.first, self.first + (self.num_frames - 1) * self.stride + 1, self.stride)

    @property
    def begin(self) -> int:
        """Return the first instant that the scene uses or comes after it and that all cameras have."""
        return max(self.first, *(track.span()[0] for track in self.tracks.values()))

    @property
    def end(self) -> int:
        """Return one past the last instant that all cameras have, used by the scene or not."""
        return min(track.span()[1] for track in self.tracks.values())

    def size(self, camera: str) -> tuple[int, int]:
        return self.source.size(camera)

    def numbers(self, camera: str, start: int, stop: int, stride: int = 1) -> list[int]:
        """Return which frames of a camera stand at instants start, start+stride, ... below stop."""
        return [int(n) for n in self.tracks[camera].numbers[start:stop:stride]]

    def read(
        self, camera: str, start: int, stop: int, stride: int = 1, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield what stands at instants start, start+stride, ... below stop; reduced to `size` (width,
        height) where that is given.
        """
        return self.source.frames(camera, self.numbers(camera, start, stop, stride), size)

    def stamp(self, camera: str) -> list:
        """Return what changes when the camera's file, or its place on the clock, does."""
        placed = hashlib.blake2b(self.tracks[camera].numbers.tobytes(), digest_size=16).hexdigest()
        return [*self.source.stamp(camera), placed]

    def missing(self, names: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
        """Return runs (view, first, stop) of the scene's frames without a picture; `names` by view."""
        out = []
        for view, name in enumerate(names):
            out += [(view, a, b) for a, b in _runs(~self.tracks[name].own[self.used])]
        return tuple(out)


def _runs(there: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def rate_of(times: np.ndarray, declared: float = 0.0) -> float:
    """Return frames per unit of time: of frames left out here and there, as of time stamps that are rounded.

    The median step says how many ticks every step is; all ticks divided by all time is the rate. The declared
    rate stands where it agrees to 0.05 %. 0 for a single frame.
    """
    steps = np.diff(times)
    if not len(steps) or steps.sum() <= 0:
        return 0.0
    ticks = np.maximum(1, np.round(steps / np.median(steps)))
    rate = float(ticks.sum() / steps.sum())
    return declared if abs(rate - declared) <= 0.0005 * rate else rate


def checked_offsets(config: SceneConfig, names: Sequence[str]) -> dict[str, float]:
    """Return `scene.offsets` in frames; ConfigError for one that is no number, or of no camera."""
    out = {}
    for name, value in config.offsets.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > LONGEST:
            raise ConfigError(f"scene.offsets: {name}: {value!r} is not a number of frames")
        if name not in names and name not in config.drop:
            raise ConfigError(f"scene.offsets: no camera {name}", f"there are {', '.join(names)}")
        out[name] = float(value)
    return out


def timeline(config: SceneConfig, source: Recordings, names: Sequence[str], root: Path) -> Timeline:
    """Return the frames of some cameras on one clock, and the part of it that the configuration asks for.

    SceneError where nothing is left, the range asked for leaves the recordings, or a camera has less than
    half of it.
    """
    if not names:
        raise SceneError(f"{root}: every camera is dropped", "shorten scene.drop")
    if set(config.held_out) >= set(names):
        raise SceneError(f"{root}: every camera is held out", "shorten scene.held_out")
    offsets = checked_offsets(config, names)
    rates = {n: rate_of(source.times(n), source.rate(n)) for n in names}
    clock = _clock([rates[n] for n in names])
    placed = _placed(source, names, clock, offsets)
    length = int(max(math.floor(x[-1] + 0.5 - 1e-3) for x in placed.values())) + 1
    if not 0 < length <= LONGEST:
        raise SceneError(f"{root}: the cameras' frames span {length} instants", "mend scene.offsets")
    tracks = {n: _track(x, length) for n, x in placed.items()}
    first, num_frames = _range(config, tracks, root)
    fps = source.fps or clock or 30.0
    notes = [
        *source.notes(names),
        *_rate_notes(rates, clock, tracks, source),
        *(
            f"{n}: its first frame is taken as instant {o:g} (scene.offsets)"
            for n, o in offsets.items()
            if n in names
        ),
    ]
    line = Timeline(source, tracks, first, num_frames, config.stride, fps / config.stride, ())
    notes += _range_notes(config, line)
    return Timeline(source, tracks, first, num_frames, config.stride, line.fps, tuple(notes))


def _clock(rates: Sequence[float]) -> float:
    """Return the commonest rate (of equally common ones the lowest); 0 where nobody has one."""
    known = sorted(r for r in rates if r)
    if not known:
        return 0.0
    alike = [[o for o in known if abs(o - r) <= _SAME_RATE * r] for r in known]
    largest = max(alike, key=len)
    return largest[len(largest) // 2]


def _placed(
    source: Recordings, names: Sequence[str], clock: float, offsets: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Return the instant of every frame of every camera."""
    times = {n: source.times(n) for n in names}
    least = min(t[0] for t in times.values()) if source.common_zero else 0.0
    zero = {n: least if source.common_zero else t[0] for n, t in times.items()}
    return {n: (t - zero[n]) * (clock or 1.0) + offsets.get(n, 0.0) for n, t in times.items()}


def _track(x: np.ndarray, length: int) -> Track:
    """Return the frames at instants 0..length-1 of a camera whose frames show the instants `x`."""
    at = np.ceil(x - 0.5 - 1e-3).astype(np.int64)
    own = np.zeros(length, bool)
    instants = np.arange(length)
    right = np.clip(np.searchsorted(x, instants), 0, len(x) - 1)
    left = np.maximum(right - 1, 0)
    numbers = np.where(np.abs(x[left] - instants) <= np.abs(x[right] - instants), left, right)
    away = np.full(length, np.inf)
    for i in np.flatnonzero((at >= 0) & (at < length)):
        if abs(x[i] - at[i]) < away[at[i]]:
            own[at[i]], numbers[at[i]], away[at[i]] = True, i, abs(x[i] - at[i])
    return Track(np.maximum.accumulate(numbers), own, float(away[own].max(initial=0.0)))


def _range(config: SceneConfig, tracks: Mapping[str, Track], root: Path) -> tuple[int, int]:
    """Return the first instant and the number of frames that a scene uses."""
    spans = {n: t.span() for n, t in tracks.items()}
    shortest, longest = (f(spans, key=lambda n: spans[n][1]) for f in (min, max))
    first = config.start
    if config.num_frames:
        stop = first + (config.num_frames - 1) * config.stride + 1
        if stop > spans[longest][1]:
            raise SceneError(
                f"{root}: frames {first}..{stop - 1} asked, {shortest} has {spans[shortest][1]}",
                "lower scene.start, scene.num_frames or scene.stride",
            )
        common = max(a for a, _ in spans.values())
        for name, track in tracks.items():
            there = track.own[first : stop : config.stride]
            if 2 * there.sum() < len(there):
                begins = spans[name][0] > first
                raise SceneError(
                    f"{root}: {name} has {there.sum()} of the {len(there)} frames asked"
                    + (f", it begins at instant {spans[name][0]}" if begins else ""),
                    (f"set scene.start: {common}, the first instant that all have; or " if begins else "")
                    + "lower scene.num_frames, mend scene.offsets, or list it in scene.drop",
                )
        return first, config.num_frames
    first = max(first, *(a for a, _ in spans.values()))
    span = spans[shortest][1] - first
    if span <= 0:
        latest = max(spans, key=lambda n: spans[n][0])
        if config.start >= spans[shortest][1]:
            raise SceneError(
                f"{root}: frames {config.start}.. asked, {shortest} has {spans[shortest][1]}",
                "lower scene.start",
            )
        raise SceneError(
            f"{root}: {latest} begins at instant {spans[latest][0]}, {shortest} ends before it at "
            f"{spans[shortest][1]}",
            "mend scene.offsets, or list one of them in scene.drop",
        )
    return first, -(-span // config.stride)


def _rate_notes(
    rates: Mapping[str, float], clock: float, tracks: Mapping[str, Track], source: Recordings
) -> list[str]:
    """Return one line a camera of another rate, and one about cameras whose frames lie off the clock."""
    notes = []
    for name, rate in rates.items():
        if rate and abs(rate - clock) > _SAME_RATE * clock:
            pace = f"{rate:.4g} frames a second, brought onto the scene's clock of {clock:.4g}"
            if source.fps:
                pace = (
                    f"numbered in steps of {1 / rate:.4g}, on a clock that goes in steps of {1 / clock:.4g}"
                )
            notes.append(f"{name}: {pace}")
    loose = [n for n, track in tracks.items() if track.off > _OFF]
    if loose:
        most = max(tracks[n].off for n in loose)
        notes.append(
            f"{some(loose)}: frames lie up to {most:.2f} of a frame off the scene's clock "
            "(variable rate, another rate or a fractional offset); the nearest ones are taken"
        )
    return notes


def _range_notes(config: SceneConfig, line: Timeline) -> list[str]:
    """Return what was cut at the ends to have all cameras, and one line a camera with missing instants."""
    notes = []
    spans = {n: t.span() for n, t in line.tracks.items()}
    if not config.num_frames and len(set(spans.values())) > 1:
        late = max(spans, key=lambda n: spans[n][0])
        early = min(spans, key=lambda n: spans[n][1])
        notes.append(
            f"used are instants {line.used.start} to {line.used.stop - 1}, which all cameras have (the last "
            f"to begin is {late} at {spans[late][0]}, the first to end {early} at {spans[early][1] - 1})"
        )
    for name, track in line.tracks.items():
        runs = _runs(~track.own[line.used])
        if runs:
            count = sum(b - a for a, b in runs)
            where = some([str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in runs], 6)
            notes.append(
                f"{name}: {count} of {line.num_frames} frames missing ({where}); the nearest stand in for "
                "them and are not trained on"
            )
    return notes
