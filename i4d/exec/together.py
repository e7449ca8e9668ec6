"""A service that runs as a group of ranks, one process per device, behind one handle.

Calls that change what all ranks hold go to every one of them, in the same order; the others go to rank 0
alone, whose answer is the group's. If one rank fails while others are still at the same call, they wait for
it in vain: the group is out of step, and every call fails as that of a lost service until it is restarted. A
restart is a restart of all, with a new place to meet.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i4d.errors import ClusterError, I4DError, WorkerLost
from i4d.exec.protocol import Executor, Handle, Resources, ServiceSpec, Ticket


@dataclass
class _Call:
    open: list[Ticket]
    first: Ticket
    generation: int  # of the group
    answer: Any = None
    error: Exception | None = None


class Together:
    """An executor on top of another, in which `handle` stands for all of `ranks`. `alone`: methods that only
    rank 0 is sent.
    """

    def __init__(
        self, inner: Executor, handle: Handle, ranks: Sequence[Handle], alone: frozenset[str]
    ) -> None:
        self.inner, self.handle, self.ranks, self.alone = inner, handle, tuple(ranks), alone
        self._calls: dict[Ticket, _Call] = {}
        self._numbers = itertools.count(-1, -1)  # the inner executor's are positive
        self._out_of_step = ""  # why the ranks no longer hold the same
        self._generation = 0  # restarts so far: what older calls end with says nothing of the ranks now

    def call(self, handle: Handle, method: str, *args: Any) -> Ticket:
        """Send a call to all ranks, or to rank 0, and return at once."""
        if handle != self.handle:
            return self.inner.call(handle, method, *args)
        ticket = Ticket(next(self._numbers), handle.name, method)
        if self._out_of_step:
            self._calls[ticket] = _Call([], ticket, self._generation, error=WorkerLost(self._out_of_step))
            return ticket
        members = self.ranks[:1] if method in self.alone else self.ranks
        sent = [self.inner.call(member, method, *args) for member in members]
        self._calls[ticket] = _Call(list(sent), sent[0], self._generation)
        return ticket

    def call_together(self, handle: Handle, calls: Sequence[tuple[str, Any]]) -> list[Ticket]:
        """Send several short calls to a service of one process as one message."""
        if handle == self.handle:
            return [self.call(handle, method, argument) for method, argument in calls]
        return self.inner.call_together(handle, calls)

    def wait(self, tickets: Sequence[Ticket], timeout_s: float) -> list[Ticket]:
        """Return the tickets that are done: a group's when every rank has answered, or one has failed."""
        end = time.monotonic() + timeout_s
        while True:
            done = [t for t in tickets if t in self._calls and not self._calls[t].open]
            inner = {part: t for t in tickets for part in (self._calls[t].open if t in self._calls else [t])}
            if not inner:
                return done
            for part in self.inner.wait(list(inner), 0.0 if done else max(0.0, end - time.monotonic())):
                owner = inner[part]
                if owner == part:
                    done.append(part)
                elif self._take(self._calls[owner], part):
                    done.append(owner)
            if done or time.monotonic() >= end:
                return done

    def _take(self, call: _Call, part: Ticket) -> bool:
        """Take one rank's answer; return whether the call is done with it."""
        if part not in call.open:
            return False  # done by another rank's failure in the same turn
        call.open.remove(part)
        try:
            answer = self.inner.result(part)
        except Exception as err:  # kept for `result`, which raises it
            call.error = err
            if call.open and call.generation == self._generation:
                self._out_of_step = f"{self.handle.name}: {part.service} failed at {part.method}: {err}"
                if not isinstance(err, I4DError):  # what a rank sees of another one that is gone
                    call.error = WorkerLost(self._out_of_step)
            call.open = []
            return True
        if part == call.first:
            call.answer = answer
        return not call.open

    def result(self, ticket: Ticket) -> Any:
        """Return rank 0's answer, or raise what the first failing rank raised."""
        if ticket not in self._calls:
            return self.inner.result(ticket)
        call = self._calls.pop(ticket)
        assert not call.open, f"{ticket} is not done"
        if call.error is not None:
            raise call.error
        return call.answer

    def restart(self, handle: Handle) -> None:
        """Restart a service, all ranks of a group."""
        if handle != self.handle:
            self.inner.restart(handle)
            return
        self._out_of_step = ""
        self._generation += 1
        self.inner.restart_group(self.ranks)

    def kill(self, handle: Handle) -> None:
        """End a service, all ranks of a group."""
        for member in self.ranks if handle == self.handle else (handle,):
            self.inner.kill(member)

    def progress(self, handle: Handle) -> int | None:
        """Return the number of a service; a group's moves with any of its ranks, and is None until all have
        shown a sign of life.
        """
        if handle != self.handle:
            return self.inner.progress(handle)
        heard = [self.inner.progress(rank) for rank in self.ranks]
        known = [number for number in heard if number is not None]
        return sum(known) if len(known) == len(heard) else None

    def start_later(self, spec: ServiceSpec) -> Handle:
        return self.inner.start_later(spec)

    def take_place(self, handle: Handle, other: Handle) -> None:
        """Start a lost service anew in the place of another; of a group, the first rank that has none."""
        if other == self.handle:
            raise ClusterError(f"{other.name} runs on several devices", "no other service can take its place")
        if handle != self.handle:
            self.inner.take_place(handle, other)
            return
        lost = next((rank for rank in self.ranks if self.inner.progress(rank) is None), self.ranks[0])
        self.inner.take_place(lost, other)
        self.restart(handle)

    def require_paths(self, paths: Sequence[str]) -> None:
        """As the executor below."""
        self.inner.require_paths(paths)

    def resources(self) -> Resources:
        return self.inner.resources()

    def start(self, spec: ServiceSpec, timeout_s: float) -> Handle:
        return self.inner.start(spec, timeout_s)

    def start_all(self, specs: Sequence[ServiceSpec], timeout_s: float) -> list[Handle]:
        return self.inner.start_all(specs, timeout_s)

    def start_group(self, spec: ServiceSpec, size: int, timeout_s: float) -> list[Handle]:
        return self.inner.start_group(spec, size, timeout_s)

    def restart_group(self, handles: Sequence[Handle]) -> None:
        self.inner.restart_group(handles)

    def shutdown(self) -> None:
        self.inner.shutdown()
