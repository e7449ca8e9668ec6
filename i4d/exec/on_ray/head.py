"""Whether the head of the cluster still answers.

Without its head a cluster goes on for a minute: services work and answer, but none can be started or ended.
Then Ray ends every process that belongs to it, this one too, with a code and a text of its own. So a run ends
itself before: `HeadWatch` finds out, `RayExecutor.wait` raises, and where this process hangs in a call to the
head, the watch ends it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any

import ray

from i4d.errors import ClusterError

PERIOD_S = 3.0  # between two looks
GONE_S = 25.0  # a head that is started again may take that long
LAST_S = 15.0  # from there, for the run to end by itself; Ray ends it at 60 s
_PROBE_S = 3.0
_HINT = "`i4d resume RUN` goes on with the run, on any cluster"


def answers(address: str) -> bool:
    """Return whether somebody listens at a head's address now."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S):
            return True
    except OSError:
        return False


class HeadWatch:
    """Looks at a head ("10.0.0.5:6379") again and again until `stop`. `gone`: it has not answered for
    `gone_s`.
    """

    def __init__(
        self, address: str, gone_s: float = GONE_S, last_s: float = LAST_S, period_s: float = PERIOD_S
    ) -> None:
        self.address = address
        self.gone = False
        self._gone_s, self._last_s, self._period_s = gone_s, last_s, period_s
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="head", daemon=True).start()

    def error(self) -> ClusterError:
        """Return what a run that has lost its head ends with."""
        return ClusterError(
            f"the cluster's head node at {self.address} has not answered for {self._gone_s:g} s", _HINT
        )

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._stopped.wait(self._period_s):
            if answers(self.address):
                answered, self.gone = time.monotonic(), False
            elif time.monotonic() - answered > self._gone_s:
                self.gone = True
                if time.monotonic() - answered > self._gone_s + self._last_s:
                    print(f"error: {self.error()}", file=sys.stderr, flush=True)
                    os._exit(ClusterError.exit_code)


def end_services(actors: list[Any]) -> None:
    """End services without the head, by asking each process itself; what does not hear it ends with its
    node.
    """
    asked = [actor.end.remote() for actor in actors]
    if asked:
        ray.wait(asked, num_returns=len(asked), timeout=5.0)
