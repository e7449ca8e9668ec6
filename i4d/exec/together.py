"""A service that runs as a group of ranks, one process per device, behind one handle.

Calls that change what all ranks hold go to every one of them, in the same order; the others go to rank 0
alone, whose answer is the group's. If one rank fails, the call fails; a restart is a restart of all.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from i4d.exec.protocol import Executor, Handle, Resources, ServiceSpec, Ticket


@dataclass
class _Call:
    open: list[Ticket]
    first: Ticket
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

    def call(self, handle: Handle, method: str, *args: Any) -> Ticket:
        """Send a call to all ranks, or to rank 0, and return at once."""
        if handle != self.handle:
            return self.inner.call(handle, method, *args)
        members = self.ranks[:1] if method in self.alone else self.ranks
        sent = [self.inner.call(member, method, *args) for member in members]
        ticket = Ticket(next(self._numbers), handle.name, method)
        self._calls[ticket] = _Call(list(sent), sent[0])
        return ticket

    def call_together(self, handle: Handle, calls: Sequence[tuple[str, Any]]) -> list[Ticket]:
        """Send several short calls to a service of one process as one message."""
        assert handle != self.handle, "ranks are called one by one"
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
            call.error, call.open = err, []
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
        for member in self.ranks if handle == self.handle else (handle,):
            self.inner.restart(member)

    def kill(self, handle: Handle) -> None:
        """End a service, all ranks of a group."""
        for member in self.ranks if handle == self.handle else (handle,):
            self.inner.kill(member)

    def progress(self, handle: Handle) -> int | None:
        return self.inner.progress(self.ranks[0] if handle == self.handle else handle)

    def start_later(self, spec: ServiceSpec) -> Handle:
        return self.inner.start_later(spec)

    def take_place(self, handle: Handle, other: Handle) -> None:
        assert self.handle not in (handle, other), "a group keeps its places"
        self.inner.take_place(handle, other)

    def resources(self) -> Resources:
        return self.inner.resources()

    def start(self, spec: ServiceSpec, timeout_s: float) -> Handle:
        return self.inner.start(spec, timeout_s)

    def start_all(self, specs: Sequence[ServiceSpec], timeout_s: float) -> list[Handle]:
        return self.inner.start_all(specs, timeout_s)

    def start_group(self, spec: ServiceSpec, size: int, timeout_s: float) -> list[Handle]:
        return self.inner.start_group(spec, size, timeout_s)

    def shutdown(self) -> None:
        self.inner.shutdown()
