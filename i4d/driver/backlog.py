"""Jobs that wait, and which of them are ready: kept as things change, so that a turn of the loop costs what
it changes.

A job is ready when its predecessors are stored. Two orders are kept of the ready ones: chains that have begun
first, and longest chain first. Entries of the orders that are no longer ready are dropped when they come up.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from typing import Any


class Backlog:
    """`waiting` holds jobs by id; an id moves out with `take`, in with `put_back`; `stored` and `lost` tell
    of predecessors.
    """

    def __init__(self, jobs: Sequence[Any]) -> None:
        self.jobs = {job.id: job for job in jobs}
        assert len(self.jobs) == len(jobs), "job ids must differ"
        self.waiting = dict(self.jobs)
        self._missing = {job.id: set(job.after) for job in jobs}
        self._followers: dict[str, list[str]] = {}
        for job in jobs:
            for before in job.after:
                self._followers.setdefault(before, []).append(job.id)
        self._ready: set[str] = set()
        self._begun: list[tuple[bool, int, str]] = []
        self._longest: list[tuple[int, str]] = []
        self._fresh: list[str] = []
        for job in jobs:
            self._look(job.id)

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def num_ready(self) -> int:
        """Waiting jobs whose predecessors are stored."""
        return len(self._ready)

    def fresh(self) -> Iterator[Any]:
        """Yield jobs that have become ready since the last call, those that become so meanwhile too."""
        while self._fresh:
            id = self._fresh.pop()
            if id in self._ready:
                yield self.jobs[id]

    def take(self, id: str) -> None:
        """Note that a ready job is no longer waiting."""
        del self.waiting[id]
        self._ready.discard(id)

    def put_back(self, id: str) -> None:
        """Note that a job has to be done again."""
        self.waiting[id] = self.jobs[id]
        self._look(id)

    def stored(self, id: str) -> None:
        """Note that a job is done: others may be ready now."""
        for follower in self._followers.get(id, ()):
            self._missing[follower].discard(id)
            self._look(follower)

    def lost(self, id: str) -> None:
        """Note that what a job made is gone: what follows it must wait again."""
        for follower in self._followers.get(id, ()):
            self._missing[follower].add(id)
            self._ready.discard(follower)

    def longest(self) -> int:
        """Return the jobs left in the longest chain with a ready job; 0 where none is ready."""
        while self._longest and self._longest[0][1] not in self._ready:
            heapq.heappop(self._longest)
        return -self._longest[0][0] if self._longest else 0

    def longest_first(self, count: int) -> list[Any]:
        """Return the ready jobs of the longest chains, at most `count`."""
        found: dict[str, Any] = {}
        entries = []
        while self._longest and len(found) < count:
            entry = heapq.heappop(self._longest)
            if entry[1] in self._ready and entry[1] not in found:
                found[entry[1]] = self.jobs[entry[1]]
                entries.append(entry)
        for entry in entries:
            heapq.heappush(self._longest, entry)
        return list(found.values())

    def begun_first(self) -> Generator[Any, None, None]:
        """Yield ready jobs, those of chains that have begun first; what is not taken meanwhile stays
        ready.
        """
        passed = []
        try:
            while self._begun:
                entry = heapq.heappop(self._begun)
                if entry[2] not in self._ready:
                    continue
                passed.append(entry)
                yield self.jobs[entry[2]]
        finally:
            for entry in passed:
                if entry[2] in self._ready:
                    heapq.heappush(self._begun, entry)

    def _look(self, id: str) -> None:
        if id in self._ready or id not in self.waiting or self._missing[id]:
            return
        job = self.jobs[id]
        self._ready.add(id)
        self._fresh.append(id)
        heapq.heappush(self._begun, (not job.after, -job.remaining, id))
        heapq.heappush(self._longest, (-job.remaining, id))
