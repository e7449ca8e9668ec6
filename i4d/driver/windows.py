"""The dispatch loop: jobs with predecessors go to editors, receipts come back, failures go through the
policy.

`planned == waiting + in_flight + stored + failed` holds at every turn and is asserted. A job is ready when
its predecessors are stored. While there is plenty of work, chains that have begun go on before others begin,
so that an editor holds the anchors of few views at a time; towards the end those with the longest remaining
chain go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from i4d.driver.backlog import Backlog
from i4d.driver.events import Emitter, WindowRetried
from i4d.driver.jobs import Job, lean, wrong_with
from i4d.driver.journal import Journal
from i4d.driver.pool import EditorPool, Limits, Member
from i4d.driver.protocols import Record
from i4d.driver.retry import Decision, Failure, Kind, RetryPolicy, classify
from i4d.errors import CallTimeout, ClusterError, EditError, I4DError, WorkerLost
from i4d.plain import inputs_digest
from i4d.types import EditReceipt

_LOOK_CLOSELY = 1000  # turns between two comparisons of whole sets where there are more jobs than this
MOST_TOGETHER = 16
_PLENTY = 2  # chains per editor that must be left for the order of the rest not to matter


def together(pace_s: float | None, jobs: int, places: int, goal_s: float) -> int:
    """Return how many jobs one call carries: as many as take `goal_s` together, but no more than an even
    share of those there are.

    `pace_s`: what a job has taken lately, None where unknown; `jobs`: those ready or in flight; `places`:
    calls that editors take at a time. Work of seconds goes one a call, so that answers come as soon as they
    are there.
    """
    if pace_s is None:
        return 1
    fitting = MOST_TOGETHER if pace_s * MOST_TOGETHER <= goal_s else int(goal_s / pace_s)
    return max(1, min(fitting, jobs // max(1, places)))


class Stopped(Exception):
    """The run was asked to stop, and what was in hand is stored."""


class EditLoop:
    """Runs one stage's jobs over a pool; `done_event(job, receipt, reused, done, total)` hears of each stored
    one.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        pool: EditorPool,
        journal: Journal,
        record: Record,
        policy: RetryPolicy,
        limits: Limits,
        emit: Emitter,
        done_event: Callable[[Job, EditReceipt, bool, int, int], None],
    ) -> None:
        self.stored: dict[str, EditReceipt] = {}
        self._backlog = Backlog(jobs)
        self._planned = len(jobs)
        self._turns = 0
        self._in_flight: dict[Any, tuple[Job, str]] = {}
        self._failed: list[str] = []
        self._attempts: dict[str, int] = {}
        self._pace_s: float | None = None  # what a job has taken lately; None before the first
        self._pool = pool
        self._journal = journal
        self._record = record
        self._policy = policy
        self._limits = limits
        self._emit = emit
        self._done_event = done_event

    @property
    def done(self) -> bool:
        return len(self.stored) == self._planned

    @property
    def progress(self) -> float:
        """Share of the jobs that is stored, in [0, 1]."""
        return len(self.stored) / self._planned if self._planned else 1.0

    def check(self) -> None:
        """Assert that every job is in exactly one state: the sum at every turn, the sets at some and at the
        end.
        """
        counts = [len(self._backlog), len(self._in_flight), len(self.stored), len(self._failed)]
        assert sum(counts) == self._planned, counts
        self._turns += 1
        if self.done or self._turns % _LOOK_CLOSELY == 0 or self._planned <= _LOOK_CLOSELY:
            in_flight = {job.id for job, _ in self._in_flight.values()}
            states = [set(self._backlog.waiting), in_flight, set(self.stored), set(self._failed)]
            assert len(set().union(*states)) == self._planned, counts

    def run(self) -> dict[str, EditReceipt]:
        """Turn until all is stored; raises what stops a run, or Stopped."""
        while not self.done:
            self.dispatch()
            self.collect(
                self._pool.executor.wait(self.tickets(), self._limits.poll_s) if not self.done else []
            )
        return self.stored

    def tickets(self) -> list[Any]:
        """Return all open tickets of the pool, warm-ups of restarted editors among them."""
        return self._pool.tickets()

    def dispatch(self) -> None:
        """Send ready jobs while editors have room; once a stop is asked for, only drain and then raise
        Stopped.
        """
        self.check()
        if self._record.stop_requested():
            if not self._in_flight:
                raise Stopped
            return
        self._reuse_stored()
        for jobs, member in self._assignments():
            tasks = [job.make(self.stored) for job in jobs]
            tickets = self._pool.send(
                member, [(job.method, task) for job, task in zip(jobs, tasks, strict=True)]
            )
            for ticket, job, task in zip(tickets, jobs, tasks, strict=True):
                self._in_flight[ticket] = (job, inputs_digest(task))
                if job.home:
                    self._pool.homes[job.home] = member.name

    def _assignments(self) -> Iterator[tuple[list[Job], Member]]:
        """Yield who does what next, taken off the backlog; each call is sent before the next one is chosen.

        While there is plenty, begun chains go first, each to the editor that holds its view, and a second
        call waits behind the one that runs. Near the end a call waiting behind another would keep its chain
        from an idle editor: then the longest chains go to idle editors only, to their own where it is among
        those.
        """
        left = self._planned - len(self.stored)
        if left > _PLENTY * self._backlog.longest() * len(self._pool.members):
            yield from self._plentiful()
            return
        idle = {member.name: member for member in self._pool.idle()}
        chosen = self._backlog.longest_first(len(idle))
        homes = {job.id: self._pool.homes.get(job.home or "", "") for job in chosen}
        for job in sorted(chosen, key=lambda job: homes[job.id] not in idle):
            self._backlog.take(job.id)
            yield [job], idle.pop(homes[job.id]) if homes[job.id] in idle else idle.popitem()[1]

    def _plentiful(self) -> Iterator[tuple[list[Job], Member]]:
        """Yield calls while editors have room, short jobs of one editor together.

        A job that is sent again goes alone, so that it answers for itself: what dies of it takes no others
        along.
        """
        size = together(
            self._pace_s,
            self._backlog.num_ready + len(self._in_flight),
            self._pool.places(),
            self._limits.together_s,
        )
        begun: dict[str, list[Job]] = {}
        ready = self._backlog.begun_first()
        while self._pool.any_room() and (job := next(ready, None)) is not None:
            member = self._pool.choose(job.home)
            if member is None:
                continue
            if job.id in self._attempts:
                if member.name not in begun:
                    self._backlog.take(job.id)
                    yield [job], member
                continue
            self._backlog.take(job.id)
            begun.setdefault(member.name, []).append(job)
            if len(begun[member.name]) == size:
                yield begun.pop(member.name), member
        ready.close()
        for name, jobs in begun.items():
            yield jobs, self._pool.named(name)

    def _reuse_stored(self) -> None:
        """Take over jobs that an earlier attempt has stored, each looked up once, when it becomes ready."""
        for job in self._backlog.fresh():
            if job.id in self._attempts or not self._journal.knows("edit", job.id):
                continue
            receipt = self._journal.find("edit", job.id, inputs_digest(job.make(self.stored)))
            if receipt is not None:
                self._backlog.take(job.id)
                self._store(job, receipt, True)

    def collect(self, tickets: Sequence[Any]) -> None:
        """Handle done tickets of the pool and calls that took too long."""
        answers, failures = [], []
        for ticket in tickets:
            member = self._pool.of(ticket)
            if member is None:  # forgotten with its editor before
                continue
            try:
                answers.append((member, ticket, self._pool.executor.result(ticket)))
            except Exception as failure:
                failures.append((member, ticket, failure))
        self._take_in(answers)
        for member, ticket, err in failures:
            if self._pool.of(ticket) is not None:  # otherwise forgotten with its editor in this very turn
                self._fail(member, ticket, err)
        for member in self._pool.overdue():
            self._lose(
                member, CallTimeout(f"{member.name} has not got on for {self._pool.allowed_s(member):g} s")
            )
        self.check()

    def _take_in(self, answers: Sequence[tuple[Member, Any, Any]]) -> None:
        """Write down what is done, all of it with one wait for the disk, then go on from it."""
        good, bad = [], []
        for member, ticket, answer in answers:
            self._pool.take(member, ticket)
            if ticket not in self._in_flight:
                self._pool.warmed(member, answer)
                continue
            job, inputs = self._in_flight[ticket]
            wrong = wrong_with(answer, job)
            if wrong:
                bad.append((member, ticket, I4DError(f"{member.name} answered {job.id} with {wrong}")))
            else:
                self._pool.got_on(member)
                good.append((ticket, job, inputs, lean(answer, job)))
        self._journal.keep("edit", [(job.id, inputs, answer) for _, job, inputs, answer in good])
        for ticket, job, _, answer in good:
            del self._in_flight[ticket]
            self._pace_s = (
                answer.seconds if self._pace_s is None else 0.9 * self._pace_s + 0.1 * answer.seconds
            )
            self._store(job, answer, False)
        for member, ticket, err in bad:
            self._retry(self._in_flight.pop(ticket)[0], member, err, "bad_receipt")

    def _fail(self, member: Member, ticket: Any, err: Exception) -> None:
        """Handle a call that raised."""
        if isinstance(err, WorkerLost):
            self._lose(member, err)
            return
        self._pool.take(member, ticket)
        if ticket in self._in_flight:
            self._retry(self._in_flight.pop(ticket)[0], member, err)
        elif classify(err) == "user":
            raise err
        else:  # an editor that cannot warm up again
            self._pool.restart(member, str(err))

    def _store(self, job: Job, receipt: EditReceipt, reused: bool) -> None:
        self.stored[job.id] = receipt
        self._backlog.stored(job.id)
        self._done_event(job, receipt, reused, len(self.stored), self._planned)

    def _lose(self, member: Member, err: Exception) -> None:
        """Send a lost editor's work again and start the editor anew."""
        lost = [self._in_flight.pop(ticket)[0] for ticket in member.open if ticket in self._in_flight]
        self._pool.restart(member, str(err))
        for job in lost:
            self._retry(job, member, err)

    def _retry(self, job: Job, member: Member, err: Exception, kind: Kind | None = None) -> None:
        attempt = self._attempts[job.id] = self._attempts.get(job.id, 0) + 1
        decision = self._policy.decide(Failure(kind or classify(err), "editor", attempt, str(err)))
        if decision is Decision.ABORT:
            self._failed.append(job.id)
            self.check()
            if isinstance(err, (WorkerLost, CallTimeout)):
                raise ClusterError(
                    f"{job.id} was lost {attempt} times, last with {member.name}", str(err)
                ) from err
            if isinstance(err, I4DError):
                raise err
            reason = f"{type(err).__name__}: {err}"
            raise EditError(f"{job.id} failed {attempt} times, last on {member.name}: {reason}") from err
        self._emit(WindowRetried(job.id, member.name, attempt, decision.value, str(err)))
        self._backlog.put_back(job.id)
        if decision is Decision.REREAD:
            self._make_again(job)

    def _make_again(self, job: Job) -> None:
        """Put predecessors whose block is gone from the store back to waiting."""
        for before in job.after:
            if before in self.stored and not self._record.stored(self.stored[before].block.digest):
                del self.stored[before]
                self._backlog.lost(before)
                self._backlog.put_back(before)
