"""What the driver tells: frozen events to any number of sinks (console, events.jsonl, tables, metrics).

Every event has `at_s` (unix time when it was emitted). Work carries who did it, on which device, when it
began and how long it took, so the utilisation plot of the report needs no second instrumentation.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from i4d.plain import plain


@dataclass(frozen=True)
class Event:
    """Something that happened; `round` is 0 for the first fit."""

    at_s: float = field(default=0.0, kw_only=True)

    def to_json(self) -> dict:
        """Return plain values, the class name under "event"; numbers that are not finite become null."""
        return {"event": type(self).__name__, **plain(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    rounds: int
    views: tuple[int, ...]
    windows: int
    unet_forwards: int  # predicted
    editors: int
    resumed: bool


@dataclass(frozen=True)
class Placed(Event):
    """How services were placed on devices, in one sentence."""

    sentence: str
    mode: str = ""


@dataclass(frozen=True)
class WorkerReady(Event):
    worker: str
    device: str
    device_name: str
    node: str
    pid: int
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkerRestarted(Event):
    worker: str
    reason: str
    restarts: int


@dataclass(frozen=True)
class StageStarted(Event):
    round: int
    stage: str
    total: int


@dataclass(frozen=True)
class StageFinished(Event):
    round: int
    stage: str
    seconds: float


@dataclass(frozen=True)
class RoundStarted(Event):
    round: int
    rounds: int


@dataclass(frozen=True)
class WorkDone(Event):
    """One stored piece of work on a device; `done` of `total` in its stage."""

    round: int
    task: str
    worker: str
    device: str
    started_s: float
    seconds: float
    size_bytes: int
    done: int
    total: int
    unet_forwards: int = 0
    flow_passes: int = 0
    flow_seconds: float = 0.0
    peak_bytes: int = 0
    kept_share: float = math.nan
    reused: bool = False  # found in the journal of an earlier attempt


@dataclass(frozen=True)
class KeyFrameStepStored(WorkDone):
    pass


@dataclass(frozen=True)
class RestViewsStored(WorkDone):
    pass


@dataclass(frozen=True)
class WindowStored(WorkDone):
    pass


@dataclass(frozen=True)
class RenderStored(WorkDone):
    pass


@dataclass(frozen=True)
class WindowRetried(Event):
    """A piece of work is sent again."""

    task: str
    worker: str
    attempt: int
    decision: str
    reason: str


@dataclass(frozen=True)
class FitProgress(Event):
    round: int
    phase: str
    step: int
    total: int
    psnr_db: float
    rays: int
    new_frames: int  # frames handed to the trainer with this call
    worker: str
    device: str
    started_s: float
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class FitWatched(Event):
    """How a fit stands at a step (`i4d.types.FitFigures`); NaN where no camera tells."""

    round: int
    step: int
    total: int
    held_out: str
    held_out_psnr_db: float
    trained_psnr_db: float
    depth_agreement: float


@dataclass(frozen=True)
class CheckpointSaved(Event):
    round: int
    step: int
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class TrainerReloaded(Event):
    round: int
    step: int  # where the fit goes on
    reason: str


@dataclass(frozen=True)
class RoundCommitted(Event):
    round: int
    table: str
    checkpoint: str
    seconds: float


@dataclass(frozen=True)
class RoundMeasured(Event):
    """What moved since the round before (NaN for the first), of [0, 1], and how much the round disagrees with
    itself.
    """

    round: int
    change_edits: float
    change_renders: float
    disagreement: float


@dataclass(frozen=True)
class RoundsEnded(Event):
    """`round` was the last; `kept` is the one that renders and figures are of."""

    round: int
    kept: int
    reason: str


@dataclass(frozen=True)
class Warned(Event):
    text: str


@dataclass(frozen=True)
class Noted(Event):
    """How the input was read: one decision."""

    text: str


@dataclass(frozen=True)
class RunFailed(Event):
    """The run ended with an error; `kind` as in the retry policy. It can be resumed once the cause is
    gone.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class RunStopped(Event):
    """The run ended early because it was asked to; it can be resumed."""

    round: int


@dataclass(frozen=True)
class RunFinished(Event):
    digest: str
    seconds: float


Sink = Callable[[Event], None]
_KINDS = {c.__name__: c for c in Event.__subclasses__() + WorkDone.__subclasses__()}


def from_json(tree: dict) -> Event:
    """Return the event that `to_json` wrote; ValueError if there is no such event."""
    kind = _KINDS.get(tree.get("event", ""))
    if kind is None:
        raise ValueError(f"no event is called {tree.get('event')!r}")
    values: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        if f.name in tree:
            value = tree[f.name]
            value = math.nan if value is None else value
            values[f.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


class Emitter:
    """Stamps events with the time and hands them to every sink, in order."""

    def __init__(self, sinks: Sequence[Sink] = (), clock: Callable[[], float] = time.time) -> None:
        self._sinks = tuple(sinks)
        self._clock = clock

    def __call__(self, event: Event) -> None:
        stamped = dataclasses.replace(event, at_s=self._clock())
        for sink in self._sinks:
            sink(stamped)
