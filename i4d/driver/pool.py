"""The editors: who is there, who has room, and what happens when one is lost.

Per editor at most `max_in_flight` calls (of one piece of work each, or several short ones): one that runs,
one that waits behind it so that the device never idles. The
watchdog looks at progress, not at time alone: the time-out counts from when a call reached the head of its
editor's queue, and anew whenever the editor's own number has moved since. An editor that has shown no sign of
life waits for a place (its node is gone, or not there yet) and is waited for as long as others work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from i4d.driver.events import Emitter, Warned, WorkerReady, WorkerRestarted
from i4d.driver.protocols import Executor, Handle
from i4d.driver.retry import RetryPolicy
from i4d.errors import ClusterError, IdentityError
from i4d.types import Identity, WorkerInfo

FORGIVEN_AFTER = 10  # pieces of work that an editor stores: then one restart counts no more
GLANCE_S = 5.0  # calls shorter than this are not looked at


@dataclass(frozen=True)
class Limits:
    """How long to wait and how much to send. `call_goal_s` is what one trainer call should take; `timeout_s`
    how long a service may go without progress; `place_s` how long a lost trainer waits for room before it
    takes an editor's place.
    """

    timeout_s: float = 600.0
    start_timeout_s: float = 300.0
    max_in_flight: int = 2
    save_every_s: float = 60.0
    call_goal_s: float = 2.0
    place_s: float = 30.0
    poll_s: float = 0.5  # how often a stop request and the time-outs are looked at
    together_s: float = (
        0.1  # short work goes several a call, up to this long: a call costs the driver something
    )


def ready_event(info: WorkerInfo) -> WorkerReady:
    """Return the event that a service has come up."""
    return WorkerReady(
        info.name, info.device, info.device_name, info.node, info.pid, info.warm_up_s, tuple(info.notes)
    )


def require_identity(info: WorkerInfo, identity: Identity, parts: Sequence[str]) -> None:
    """Raise IdentityError where a worker has come up with other weights or settings than the run's."""
    for part in parts:
        ours, theirs = getattr(identity, part), getattr(info.identity, part)
        if ours and ours != theirs:
            raise IdentityError(
                f"{info.name} on {info.node or 'its node'} has another {part} than the run: "
                f"{theirs or 'it does not say which'}, not {ours}",
                "give every node the same weights, packages and settings",
            )


@dataclass
class Member:
    """One editor. `queue` holds the open tickets of its calls, oldest first; `warm` is False until `warm_up`
    has answered.
    """

    handle: Handle
    warm: bool = False
    restarts: int = 0  # that count: they are forgiven one by one as it gets on
    stored: int = 0  # pieces of work since the last restart that was counted or forgiven
    head_since: float = 0.0
    progress: int | None = None  # its number as last heard; None: no sign of life yet
    queue: list[list[Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.handle.name

    @property
    def open(self) -> list[Any]:
        """All open tickets of its calls."""
        return [ticket for call in self.queue for ticket in call]


class EditorPool:
    """Editors that outlive the stages of a run; `homes` remembers which editor holds a view's anchor."""

    def __init__(
        self,
        executor: Executor,
        handles: Sequence[Handle],
        policy: RetryPolicy,
        limits: Limits,
        emit: Emitter,
        clock: Callable[[], float],
    ) -> None:
        if not handles:
            raise ClusterError("0 editors are there", "1 is needed")
        self.executor = executor
        self.identity = Identity()  # what the run has settled on
        self.members = [Member(handle) for handle in handles]
        self.homes: dict[str, str] = {}
        self._named = {member.name: member for member in self.members}
        self._policy = policy
        self._limits = limits
        self._emit = emit
        self._clock = clock
        self._owners: dict[Any, Member] = {}  # of open tickets
        self._by_load: list[dict[str, Member]] = [
            {} for _ in range(limits.max_in_flight)
        ]  # warm ones with room
        self._look_again = -math.inf  # when calls are next compared with their time-out

    def warm_up(self) -> None:
        """Bring all editors up side by side and wait for them; raises what a failing one raises."""
        for member in self.members:
            self._send_warm_up(member)
        until = self._clock() + self._limits.start_timeout_s
        while waiting := [m for m in self.members if not m.warm]:
            tickets = [m.queue[0][0] for m in waiting]
            for ticket in self.executor.wait(tickets, self._limits.poll_s):
                member = self._owners[ticket]
                self.take(member, ticket)
                self.warmed(member, self.executor.result(ticket))
            if self._clock() > until and any(not m.warm for m in self.members):
                names = ", ".join(m.name for m in self.members if not m.warm)
                raise ClusterError(f"{names} did not warm up within {self._limits.start_timeout_s:g} s")

    def call_all(self, method: str, *args: Any) -> None:
        """Call a method of every editor and wait for all of them."""
        self.call_each(method, [args] * len(self.members))

    def call_each(self, method: str, arguments: Sequence[tuple]) -> None:
        """Call a method of every editor, with arguments of its own, and wait for all of them."""
        calls = zip(self.members, arguments, strict=True)
        tickets = [self.executor.call(member.handle, method, *args) for member, args in calls]
        until = self._clock() + self._limits.timeout_s
        while tickets:
            for ticket in self.executor.wait(tickets, self._limits.poll_s):
                tickets.remove(ticket)
                self.executor.result(ticket)
            if tickets and self._clock() > until:
                raise ClusterError(
                    f"{tickets[0].service} did not answer {method} within {self._limits.timeout_s:g} s"
                )

    def send(self, member: Member, work: Sequence[tuple[str, Any]]) -> list[Any]:
        """Send work, (method, task) each, to an editor with room, as one call; returns a ticket of each."""
        assert self.has_room(member), f"{member.name} has no room"
        if len(work) == 1:
            tickets = [self.executor.call(member.handle, *work[0])]
        else:
            tickets = self.executor.call_together(member.handle, work)
        if not member.queue:
            member.head_since = self._clock()
        self._queue(member, tickets)
        return tickets

    def places(self) -> int:
        """Return how many calls the editors that are up take at a time."""
        return self._limits.max_in_flight * sum(member.warm for member in self.members)

    def has_room(self, member: Member) -> bool:
        return member.warm and len(member.queue) < self._limits.max_in_flight

    def choose(self, home: str | None) -> Member | None:
        """Return the editor for a piece of work: the one that holds its view if it has room, else an idle
        one.

        Work without a home, and work whose home is busy while another editor idles, goes to the least loaded.
        """
        holder = self._named.get(self.homes.get(home, "")) if home else None
        if holder is not None and self.has_room(holder):
            return holder
        for group in self._by_load[:1] if holder is not None else self._by_load:
            if group:
                return next(iter(group.values()))
        return None

    def named(self, name: str) -> Member:
        """Return the editor of that name."""
        return self._named[name]

    def any_room(self) -> bool:
        """Return whether any editor takes more work."""
        return any(self._by_load)

    def idle(self) -> list[Member]:
        """Return the editors that have nothing to do."""
        return list(self._by_load[0].values())

    def tickets(self) -> list[Any]:
        """Return all open tickets."""
        return list(self._owners)

    def of(self, ticket: Any) -> Member | None:
        """Return whose open ticket this is; None where it was forgotten with its editor."""
        return self._owners.get(ticket)

    def join(self, handle: Handle) -> None:
        """Take in an editor that comes up when there is room for it; nobody waits for it."""
        member = Member(handle)
        self.members.append(member)
        self._named[member.name] = member
        self._send_warm_up(member)

    def spare(self) -> Member | None:
        """Return an editor that the run can do without, the least loaded one, or None."""
        warm = [m for m in self.members if m.warm]
        return min(warm, key=lambda m: len(m.queue), default=None) if len(warm) > 1 else None

    def take(self, member: Member, ticket: Any) -> None:
        """Take a done ticket off its editor's queue."""
        call = next(call for call in member.queue if ticket in call)
        call.remove(ticket)
        if not call:
            member.queue.remove(call)
        del self._owners[ticket]
        member.head_since = self._clock()
        self._sort_in(member)

    def got_on(self, member: Member) -> None:
        """Count a piece of work that an editor has stored: what gets on is not given up for what was long
        ago.
        """
        member.stored += 1
        if member.restarts and member.stored >= FORGIVEN_AFTER:
            member.restarts, member.stored = member.restarts - 1, 0

    def warmed(self, member: Member, info: WorkerInfo) -> None:
        require_identity(info, self.identity, ("editor", "flow"))
        member.warm = True
        self._sort_in(member)
        self._emit(ready_event(info))

    def allowed_s(self, member: Member) -> float:
        """Return how long the call that an editor is at may take."""
        return self._limits.timeout_s if member.warm else self._limits.start_timeout_s

    def overdue(self) -> list[Member]:
        """Return the editors that have not got on for longer than allowed; looked at every `poll_s`."""
        now = self._clock()
        if now < self._look_again:
            return []
        self._look_again = now + self._limits.poll_s
        for member in self.members:
            if member.queue and now - member.head_since > min(GLANCE_S, self.allowed_s(member) / 4):
                self._look_at(member, now)
        late = [m for m in self.members if m.queue and now - m.head_since > self.allowed_s(m)]
        working = any(m.warm for m in self.members)
        return [m for m in late if m.progress is not None or not working]

    def _look_at(self, member: Member, now: float) -> None:
        """Count anew from now where an editor has moved. While it warms up, only its first sign of life
        counts.
        """
        heard = self.executor.progress(member.handle)
        if heard is not None and heard != member.progress:
            if member.warm or member.progress is None:
                member.head_since = now
            member.progress = heard

    def restart(self, member: Member, reason: str) -> None:
        """Start a lost editor anew; past `max_restarts` go on without it. ClusterError when none is left.

        Its open tickets are forgotten here: the caller sends their work again.
        """
        for ticket in member.open:
            del self._owners[ticket]
        member.queue.clear()
        member.warm, member.progress = False, None
        self._sort_in(member)
        member.restarts, member.stored = member.restarts + 1, 0
        if member.restarts > self._policy.max_restarts:
            self.executor.kill(member.handle)
            self.members.remove(member)
            del self._named[member.name]
            if not self.members:
                raise ClusterError(
                    f"no editor is left: {member.name} was lost {member.restarts} times", reason
                )
            self._emit(Warned(f"going on without {member.name}, lost {member.restarts} times: {reason}"))
            return
        self._emit(WorkerRestarted(member.name, reason, member.restarts))
        self.executor.restart(member.handle)
        self._send_warm_up(member)

    def displaced(self, member: Member, by: str) -> None:
        """Let an editor whose place another service has taken wait for a new one.

        Calls that it had in hand fail as those of a lost editor do, and bring it back the same way.
        """
        self._emit(Warned(f"{by} takes the place of {member.name}, which comes back when there is room"))
        if not member.queue:
            member.warm, member.progress = False, None
            self._send_warm_up(member)  # which sorts it out of those with room

    def _send_warm_up(self, member: Member) -> None:
        self._queue(member, [self.executor.call(member.handle, "warm_up")])
        member.head_since = self._clock()

    def _queue(self, member: Member, tickets: list[Any]) -> None:
        member.queue.append(list(tickets))
        self._owners.update(dict.fromkeys(tickets, member))
        self._sort_in(member)

    def _sort_in(self, member: Member) -> None:
        for group in self._by_load:
            group.pop(member.name, None)
        if self.has_room(member):
            self._by_load[len(member.queue)][member.name] = member
