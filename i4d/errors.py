"""Everything that i4d raises on purpose, and the exit code that each class gives the command line.

    I4DError              1
    ├── ConfigError       2   unknown key, bad value
    ├── SceneError        3   missing or corrupt input
    │   └── BlockError    3   a stored block or object that is missing or corrupt
    ├── WeightsError      4   model weights not found or wrong
    ├── ClusterError      5   resources that are not to be had
    │   ├── IdentityError 5   a worker whose weights or settings are not the run's
    │   ├── WorkerLost    5   a service's process died
    │   └── CallTimeout   5   a service did not answer in time
    ├── StorageError      1   a disk that is full, a store that does not answer
    ├── EditError         1   a window or key frame failed for good
    └── FitError          1   the field failed for good

Every class takes positional arguments only and hands them to `Exception.__init__`: that is what lets an
error cross a process boundary by pickling. The message is one line: what, where, what to do.
"""

from __future__ import annotations


class I4DError(Exception):
    """A failure that the user can act upon; `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(I4DError):
    """A key that does not exist or a value out of range; names the dotted key."""

    exit_code = 2


class SceneError(I4DError):
    """Input that is missing or corrupt; names the file, camera or frame."""

    exit_code = 3


class BlockError(SceneError):
    """A stored block or object that is missing or corrupt; names its place."""


class WeightsError(I4DError):
    """Model weights that are missing or wrong; names the place that was looked at."""

    exit_code = 4


class ClusterError(I4DError):
    """Resources that cannot be had; prints asked beside available."""

    exit_code = 5


class WorkerLost(ClusterError):
    """A service whose process died, with every call it had in hand; names the service."""


class CallTimeout(ClusterError):
    """A service that did not answer in time; names service, method and the time allowed."""


class IdentityError(ClusterError):
    """A worker that would compute with other weights or settings than the run's; names both."""


class StorageError(I4DError):
    """A disk or object store that refuses or does not answer; names the place. What was stored before
    stays.
    """


class EditError(I4DError):
    """An edit that failed for good; names view, window and reason."""


class FitError(I4DError):
    """A fit that failed for good; names the step and reason."""
