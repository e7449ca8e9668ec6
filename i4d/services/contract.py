"""What editors and trainers answer to, whoever hosts them. The values they take and give are those of
`i4d.types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from i4d.types import (
    CheckpointReceipt,
    EditReceipt,
    FitFigures,
    FitReceipt,
    FrameAddress,
    KeyFrameTask,
    RenderReceipt,
    RenderTask,
    RepaintTask,
    TableRun,
    WindowTask,
    WorkerInfo,
)


class Editor(Protocol):
    """Stateless: every answer is a function of the task alone. Hosted by an executor, one process per
    device.
    """

    def warm_up(self) -> WorkerInfo: ...
    def edit_key_frame(self, task: KeyFrameTask) -> EditReceipt: ...
    def repaint(self, task: RepaintTask) -> EditReceipt: ...
    def edit_window(self, task: WindowTask) -> EditReceipt: ...
    def foresee(self, flow: str, pairs: Sequence[tuple[FrameAddress, FrameAddress]]) -> bool:
        """Begin to compute the flow (by a method, as in `EditSettings`) of pairs of originals beside other
        work and return at once.

        False where there is nothing to spare for it: windows then compute their own.
        """
        ...

    def progress(self) -> int:
        """Return a number that changes as the call in hand gets on; asked from another thread, so it must not
        wait.
        """
        ...

    def set_active(self, active: bool) -> None:
        """Move weights onto (True) or off (False) the device, for hosts where editor and trainer take
        turns.
        """
        ...


class Trainer(Protocol):
    """Owns the field. Calls arrive in order from one caller; each takes a few seconds at most."""

    def warm_up(self) -> WorkerInfo: ...
    def start(
        self, runs: Sequence[TableRun], checkpoint: str | None, phase: Literal["fit", "refit"], steps: int
    ) -> None:
        """Begin a phase of `steps` steps on these frames, from a checkpoint (its digest) or from nothing."""
        ...

    def advance(self, delta: Sequence[TableRun], num_steps: int) -> FitReceipt:
        """Take newly stored frames (they override older ones), then `num_steps` optimisation steps."""
        ...

    def watch(self, held_out: Sequence[TableRun], frame: int) -> FitFigures:
        """Return how the fit stands at a frame; `held_out`: where the frames of cameras that are not trained
        on lie. Changes nothing.
        """
        ...

    def render(self, task: RenderTask) -> RenderReceipt: ...
    def save(self) -> CheckpointReceipt: ...
    def load(self, checkpoint: str) -> int:
        """Load a checkpoint for rendering or to go on; returns its step."""
        ...

    def progress(self) -> int:
        """As of the editor."""
        ...

    def set_active(self, active: bool) -> None: ...
