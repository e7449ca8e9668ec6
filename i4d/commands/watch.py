"""Where a run stands, in one line made of its events: round, stage, pieces a second, time left, PSNR."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from i4d.store.run_folder import RunFolder

EVERY_S = 2.0
_RECENT = 12  # pieces of work that the speed is measured over


@dataclass(frozen=True)
class Standing:
    """What the events say. `speed` in pieces or steps a second, nan where it is not known yet; `left_s`
    likewise.
    """

    round: int = 0
    rounds: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    speed: float = math.nan
    left_s: float = math.nan
    psnr_db: float = math.nan
    retried: int = 0
    ended: str = ""  # "finished", "stopped", "failed: reason"

    def line(self) -> str:
        """Return it as people read it."""
        if self.ended:
            return self.ended
        where = f"round {self.round} of {self.rounds}" if self.round else "before the edit"
        parts = [where, f"{self.stage or 'starting'} {self.done}/{self.total}"]
        if math.isfinite(self.speed):
            parts.append(f"{self.speed:.2g} it/s, about {_duration(self.left_s)} left in this stage")
        if math.isfinite(self.psnr_db):
            parts.append(f"PSNR {self.psnr_db:.1f} dB")
        if self.retried:
            parts.append(f"{self.retried} sent again")
        return "; ".join(parts)


def standing(events: Sequence[dict]) -> Standing:
    """Return where a run stands after these events (as JSON, oldest first), of its last attempt only."""
    begun = [i for i, event in enumerate(events) if event["event"] == "RunStarted"]
    events = events[begun[-1] :] if begun else events
    values: dict = {}
    moved: list[tuple[float, int]] = []
    for event in events:
        name = event["event"]
        if name in ("RunStarted", "RoundStarted"):
            values["rounds"] = event["rounds"]
            values["round"] = event.get("round", 0)
        elif name == "StageStarted":
            values |= {"stage": event["stage"], "done": 0, "total": event["total"]}
            moved = [(event["at_s"], 0)]
        elif name == "FitProgress":
            values["psnr_db"] = math.nan if event["psnr_db"] is None else event["psnr_db"]
            if values.get("stage") in ("fit", "refit"):
                values |= {"done": event["step"], "total": event["total"]}
                moved.append((event["at_s"], event["step"]))
        elif name == "StageFinished":
            values["stage"] = ""
        elif "done" in event:
            if not values.get("stage"):  # what the judge of the rounds asks for, after the refit
                values["stage"] = "comparing rounds"
                moved = []
            values |= {"done": event["done"], "total": event["total"]}
            moved.append((event["at_s"], event["done"]))
        elif name == "WindowRetried":
            values["retried"] = values.get("retried", 0) + 1
        elif name in _ENDS:
            values["ended"] = _ENDS[name](event)
    speed, left_s = _speed(moved, values)
    return Standing(**values, speed=speed, left_s=left_s)


_ENDS: dict[str, Callable[[dict], str]] = {
    "RunFinished": lambda event: "finished",
    "RunStopped": lambda event: "stopped",
    "RunFailed": lambda event: f"failed: {event['reason']}",
}


def _speed(moved: Sequence[tuple[float, int]], values: dict) -> tuple[float, float]:
    """Return pieces a second and the seconds left, nan while nothing is known."""
    recent = moved[-_RECENT:]
    if len(recent) < 2 or recent[-1][1] <= recent[0][1]:
        return math.nan, math.nan
    speed = (recent[-1][1] - recent[0][1]) / max(recent[-1][0] - recent[0][0], 1e-6)
    return speed, (values["total"] - values["done"]) / speed


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    return (
        f"{seconds:.0f} s"
        if minutes < 2
        else f"{minutes} min"
        if minutes < 120
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def watched(
    folder: RunFolder, driven: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Yield a line whenever it has changed, until the run has ended or nobody drives it any more."""
    last = ""
    while True:
        alive = driven()
        now = standing(folder.events())
        line = now.line()
        if line != last:
            yield line
            last = line
        if now.ended or not alive:
            if not now.ended:
                yield f"nobody drives this run now; `i4d resume {folder.path}` goes on with it"
            return
        sleep(EVERY_S)
