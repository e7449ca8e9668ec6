"""The dispatch loop on a simulated pool with its own clock: short, faithful to anchors, never lost in
accounting.
"""

import heapq
import itertools
from dataclasses import dataclass

import pytest

from i4d.driver.events import Emitter
from i4d.driver.jobs import Job
from i4d.driver.journal import Journal
from i4d.driver.pool import EditorPool, Limits
from i4d.driver.retry import RetryPolicy
from i4d.driver.windows import MOST_TOGETHER, EditLoop, together
from i4d.schedules.windows import chains_of
from i4d.types import BlockRef, EditReceipt, WorkerInfo


@dataclass(frozen=True)
class Sent:
    number: int
    service: str
    method: str


@dataclass(frozen=True)
class Named:
    name: str


class Simulation:
    """An executor whose services take simulated seconds. `speeds` are seconds per call, by service."""

    def __init__(self, speeds):
        self.now = 0.0
        self.speeds = speeds
        self.free_at = dict.fromkeys(speeds, 0.0)
        self.tasks = {}
        self.served = {name: [] for name in speeds}
        self.most_in_flight = 0
        self.messages = []  # calls that went together, by message
        self._numbers = itertools.count()
        self._ends = []
        self._done = set()

    def clock(self):
        return self.now

    def call(self, handle, method, *args):
        ticket = Sent(next(self._numbers), handle.name, method)
        took = self.speeds[handle.name] if method != "warm_up" else 0.0
        self.free_at[handle.name] = max(self.now, self.free_at[handle.name]) + took
        heapq.heappush(self._ends, (self.free_at[handle.name], ticket.number, ticket))
        self.tasks[ticket] = args[0] if args else None
        return ticket

    def call_together(self, handle, calls):
        tickets = [self.call(handle, method, task) for method, task in calls]
        self.messages.append(len(tickets))
        return tickets

    def wait(self, tickets, timeout_s):
        per_editor = [t.service for t in tickets]
        self.most_in_flight = max([self.most_in_flight, *map(per_editor.count, per_editor)])
        while not any(t in self._done for t in tickets):
            self.now, _, ended = heapq.heappop(self._ends)
            self._done.add(ended)
        return [t for t in tickets if t in self._done]

    def progress(self, handle):
        return 0

    def result(self, ticket):
        if ticket.method == "warm_up":
            return WorkerInfo(ticket.service, "cpu", "", "", 0, 0.0)
        self.served[ticket.service].append(self.tasks[ticket])
        return EditReceipt(
            self.tasks[ticket],
            BlockRef(self.tasks[ticket], 1, (), "uint8", 1),
            "",
            "",
            0.0,
            self.speeds[ticket.service],
            0,
        )


class Memory:
    """A record that forgets."""

    def records(self):
        return []

    def append(self, *records):
        pass

    def stored(self, digest):
        return True

    def stop_requested(self):
        return False


def simulate(num_views, num_frames, length, speeds):
    jobs = []
    for view in range(num_views):
        for chain in chains_of(view, num_frames, 0, length):
            ids = [f"v{view:02d}/w{w.index:02d}" for w in chain.windows]
            for i, id in enumerate(ids):
                jobs.append(
                    Job(
                        id,
                        "edit",
                        lambda _, id=id: id,
                        1,
                        tuple(ids[i - 1 : i]) if i else (),
                        len(ids) - i,
                        id[:3],
                    )
                )
    executor, record, policy, limits = Simulation(speeds), Memory(), RetryPolicy(), Limits()
    pool = EditorPool(executor, [Named(name) for name in speeds], policy, limits, Emitter(), executor.clock)
    pool.warm_up()
    EditLoop(jobs, pool, Journal(record), record, policy, limits, Emitter(), lambda *_: None).run()
    return executor


def anchors_made(served, kept):
    """How often an editor that keeps `kept` anchors has to make one."""
    held, made = [], 0
    for id in served:
        view = id[:3]
        if view in held:
            held.remove(view)
        else:
            made += 1
        held = [*held, view][-kept:]
    return made


@pytest.mark.parametrize("editors", [1, 2, 3, 4, 8])
def test_the_authors_main_example_keeps_every_editor_busy_and_few_anchors(editors):
    sim = simulate(17, 50, 5, {f"editor-{i}": 1.0 for i in range(editors)})
    windows = 17 * 10
    assert sorted(sum(sim.served.values(), [])) == sorted({t for t in sim.tasks.values() if t})
    bound = max(windows / editors, 10)
    assert sim.now <= 1.08 * bound + 2, f"{sim.now} against a bound of {bound}"
    made = sum(anchors_made(served, 4) for served in sim.served.values())
    assert made <= 17 + 8 * editors, "of 170 windows"
    assert sim.most_in_flight <= 2


def test_a_slow_editor_does_not_hold_the_others_up():
    sim = simulate(9, 26, 5, {"editor-0": 1.0, "editor-1": 1.0, "editor-2": 3.0})
    assert sim.now <= 45 / (1 + 1 + 1 / 3) + 2 * 3.0


def test_windows_of_a_chain_are_served_in_order():
    sim = simulate(3, 21, 2, {"editor-0": 1.0, "editor-1": 0.7})
    for view in range(3):
        ids = [id for served in sim.served.values() for id in served if id.startswith(f"v{view:02d}")]
        assert sorted(ids) == [f"v{view:02d}/w{i:02d}" for i in range(10)]


@pytest.mark.parametrize(
    "pace_s, jobs, places, size",
    [
        (None, 100, 1, 1),  # nothing known yet
        (1.0, 100, 1, 1),  # work of seconds goes alone
        (0.06, 100, 1, 1),
        (0.03, 100, 1, 3),
        (0.0, 100, 1, MOST_TOGETHER),
        (0.001, 100, 16, 6),  # an even share: nobody idles
        (0.001, 3, 16, 1),
        (0.001, 3, 0, 3),  # all editors are coming up
    ],
)
def test_how_many_go_together(pace_s, jobs, places, size):
    assert together(pace_s, jobs, places, 0.1) == size


def test_short_windows_go_together_evenly_and_long_ones_alone():
    speeds = {f"editor-{i}": 0.002 for i in range(4)}
    sim = simulate(40, 41, 1, speeds)
    assert sorted(sum(sim.served.values(), [])) == sorted({t for t in sim.tasks.values() if t}), "each once"
    assert sum(sim.messages) > 0.8 * 1600 and max(sim.messages) == 40 // 8
    assert sim.now <= 1.1 * 1600 * 0.002 / 4, "no editor waits for another"
    assert not simulate(40, 11, 1, dict.fromkeys(speeds, 1.0)).messages
