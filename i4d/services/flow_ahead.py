"""Flow of the originals computed beside other work: while a GPU fits or edits, the host's cores stand
idle.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from i4d.errors import I4DError
from i4d.services.flow_store import FlowStore
from i4d.types import FrameAddress

Pair = tuple[FrameAddress, FrameAddress]


class FlowAhead:
    """Threads that fill the store with flows before somebody asks for them; each has a `FlowStore` of its
    own.

    Whoever asks first for a flow that is not there yet computes it itself, to the same bits, so nobody waits
    for anybody here.
    """

    def __init__(self, make: Callable[[], FlowStore], threads: int) -> None:
        self._make, self._threads = make, threads
        self._pairs: queue.SimpleQueue[Pair] = queue.SimpleQueue()
        self._running: list[threading.Thread] = []
        self._trouble: list[str] = []

    def begin(self, pairs: Sequence[Pair]) -> None:
        """Take pairs on and return at once; in the order in which they will be needed."""
        for pair in pairs:
            self._pairs.put(pair)
        self._running = [thread for thread in self._running if thread.is_alive()]
        for _ in range(min(self._threads, len(pairs)) - len(self._running)):
            thread = threading.Thread(target=self._work, name="flow ahead", daemon=True)
            self._running.append(thread)
            thread.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is left to do, as tests do."""
        for thread in self._running:
            thread.join(timeout_s)

    def told(self) -> tuple[str, ...]:
        """Return what went wrong since the last time it was asked: such flows are computed, or fail, with
        their windows.
        """
        said, self._trouble = tuple(self._trouble), []
        return said

    def _work(self) -> None:
        flows = self._make()
        while True:
            try:
                pair = self._pairs.get_nowait()
            except queue.Empty:
                return
            try:
                if not flows.holds(*pair):
                    flows.between(*pair)
            except (I4DError, OSError, MemoryError) as err:
                self._trouble.append(f"flow ahead of the windows: {err}")
                return
