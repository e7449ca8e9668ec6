"""What to do when something fails: a value in, a decision out, no state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from i4d.errors import (
    BlockError,
    CallTimeout,
    ConfigError,
    EditError,
    FitError,
    IdentityError,
    SceneError,
    StorageError,
    WeightsError,
    WorkerLost,
)

Kind = Literal["lost", "timeout", "block", "bad_receipt", "stage", "storage", "user", "error"]


class Decision(Enum):
    """RETRY: send it again. REREAD: also make again the stored inputs that are gone. RELOAD_TRAINER: go back
    to the last checkpoint. ABORT: stop the run with the failure."""

    RETRY = "retry"
    REREAD = "reread"
    RELOAD_TRAINER = "reload trainer"
    ABORT = "abort"


@dataclass(frozen=True)
class Failure:
    """One failed call: who failed, how, and how often this piece of work has failed, this time included."""

    kind: Kind
    target: Literal["editor", "trainer"]
    attempt: int
    message: str = ""


def classify(err: BaseException) -> Kind:
    """Return which kind of failure an exception is."""
    table: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Kind], ...] = (
        (WorkerLost, "lost"),
        (CallTimeout, "timeout"),
        (BlockError, "block"),
        (StorageError, "storage"),
        ((EditError, FitError), "stage"),
        ((ConfigError, SceneError, WeightsError, IdentityError), "user"),
    )
    for classes, kind in table:
        if isinstance(err, classes):
            return kind
    return "error"


@dataclass(frozen=True)
class RetryPolicy:
    """Bounded patience. `max_retries` counts what the workers may be blamed for (processes, time-outs,
    blocks); errors that the same input is likely to cause again get `max_repeats`. `max_restarts` is per
    service.
    """

    max_retries: int = 3
    max_repeats: int = 1
    max_restarts: int = 5

    def decide(self, failure: Failure) -> Decision:
        """Return what follows from a failure; the same failure always gives the same answer."""
        allowed = {
            "lost": self.max_retries,
            "timeout": self.max_retries,
            "block": self.max_retries,
            "bad_receipt": self.max_repeats,
            "stage": self.max_repeats,
            # a store that is away for a while was waited for already, by the store itself
            "storage": self.max_repeats,
            "error": self.max_repeats,
            "user": 0,
        }[failure.kind]
        if failure.attempt > allowed:
            return Decision.ABORT
        if failure.target == "trainer":
            return Decision.RELOAD_TRAINER
        return Decision.REREAD if failure.kind == "block" else Decision.RETRY
