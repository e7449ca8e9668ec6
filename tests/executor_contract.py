"""What every executor must do. `ExecutorContract` is run by the tests of each, which provide the fixture
`executor`.
"""

from __future__ import annotations

import numpy as np
import pytest

from i4d.errors import CallTimeout, ClusterError, EditError, WorkerLost
from i4d.exec.protocol import ServiceSpec

WAIT_S = 60


def spec(name="echo", **kwargs) -> ServiceSpec:
    return ServiceSpec(name, "null_services:Echo", kwargs)


def ask(executor, handle, method, *args):
    ticket = executor.call(handle, method, *args)
    assert executor.wait([ticket], WAIT_S) == [ticket]
    return executor.result(ticket)


class ExecutorContract:
    def test_calls_are_answered_in_order(self, executor):
        handle = executor.start(spec(), WAIT_S)
        tickets = [executor.call(handle, "count") for _ in range(5)]
        for ticket in tickets:
            assert executor.wait([ticket], WAIT_S)
        assert [executor.result(t) for t in tickets] == [1, 2, 3, 4, 5]

    def test_arrays_arrive_and_return_read_only(self, executor):
        handle = executor.start(spec(), WAIT_S)
        array = np.arange(100_000, dtype=np.float32)
        doubled = ask(executor, handle, "double", array)
        assert np.array_equal(doubled, array * 2) and not doubled.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            ask(executor, handle, "write_into", array)
        assert array[0] == 0 and array.flags.writeable

    def test_errors_come_back_as_themselves(self, executor):
        handle = executor.start(spec(), WAIT_S)
        with pytest.raises(EditError) as caught:
            ask(executor, handle, "fail", "window 3 is lost")
        assert (caught.value.message, caught.value.hint) == ("window 3 is lost", "a hint")
        with pytest.raises(ZeroDivisionError):
            ask(executor, handle, "crash")
        assert ask(executor, handle, "count") == 1, "a service survives its errors"

    def test_calls_that_go_together_have_answers_and_errors_of_their_own(self, executor):
        handle = executor.start(spec(), WAIT_S)
        tickets = executor.call_together(handle, [("add", 2), ("fail", "window 3 is lost"), ("add", 3)])
        (alone,) = executor.call_together(handle, [("add", 5)])
        for ticket in (*tickets, alone):
            assert executor.wait([*tickets, alone], WAIT_S) and executor.wait([ticket], WAIT_S) == [ticket]
        assert [executor.result(tickets[i]) for i in (2, 0)] == [5, 2], "in order, whichever is asked first"
        with pytest.raises(EditError, match="window 3"):
            executor.result(tickets[1])
        assert executor.result(alone) == 10

    def test_calls_that_go_together_are_lost_together(self, executor):
        handle = executor.start(spec(), WAIT_S)
        tickets = executor.call_together(handle, [("add", 1), ("hang_for", "ever"), ("add", 1)])
        executor.kill(handle)
        tickets += executor.call_together(handle, [("add", 1), ("add", 1)])
        lost = set()
        for ticket in tickets[1:]:
            assert executor.wait([ticket], WAIT_S) == [ticket]
            with pytest.raises(WorkerLost):
                executor.result(ticket)
            lost.add(ticket)
        assert len(lost) == 4

    def test_a_constructor_that_fails_says_why_and_leaves_nothing(self, executor):
        with pytest.raises(EditError, match="no weights"):
            executor.start_all([spec("good"), spec("bad", broken="no weights")], WAIT_S)
        executor.start(spec("good"), WAIT_S)

    def test_a_service_that_does_not_exist_is_a_cluster_error(self, executor):
        for path in ("null_services:Nobody", "no_such_module:Echo"):
            with pytest.raises(ClusterError, match=path):
                executor.start(ServiceSpec("nobody", path), WAIT_S)

    def test_wait_returns_on_time_and_with_what_is_done(self, executor):
        busy, idle = executor.start_all([spec("busy"), spec("idle")], WAIT_S)
        hanging = executor.call(busy, "hang")
        assert executor.wait([hanging], 0.05) == []
        quick = executor.call(idle, "count")
        assert executor.wait([hanging, quick], WAIT_S) == [quick]

    def test_killing_fails_the_open_calls_and_restarting_gives_a_new_service(self, executor):
        handle = executor.start(spec(), WAIT_S)
        assert ask(executor, handle, "count") == 1
        hanging, behind = executor.call(handle, "hang"), executor.call(handle, "count")
        executor.kill(handle)
        for ticket in (hanging, behind):
            assert executor.wait([ticket], WAIT_S) == [ticket]
            with pytest.raises(WorkerLost, match="echo"):
                executor.result(ticket)
        with pytest.raises(WorkerLost):
            ask(executor, handle, "count")
        executor.restart(handle)
        assert ask(executor, handle, "count") == 1

    def test_a_hanging_service_can_be_restarted(self, executor):
        handle = executor.start(spec(), WAIT_S)
        hanging = executor.call(handle, "hang")
        executor.restart(handle)
        assert executor.wait([hanging], WAIT_S) == [hanging]
        with pytest.raises(WorkerLost):
            executor.result(hanging)
        assert ask(executor, handle, "count") == 1

    def test_a_group_knows_its_ranks(self, executor):
        handles = executor.start_group(spec("rank"), 2, WAIT_S)
        places = [ask(executor, handle, "where") for handle in handles]
        assert [(rank, size) for rank, size, _ in places] == [(0, 2), (1, 2)]
        (address,) = {address for _, _, address in places}
        host, port = address.rsplit(":", 1)
        assert host and 0 < int(port) < 65536

    def test_resources_name_this_machine(self, executor):
        resources = executor.resources()
        assert resources.cpus >= 1 and all(node.name for node in resources.nodes)

    def test_start_has_a_time_out(self, executor):
        with pytest.raises((CallTimeout, ClusterError), match="0.2 s|asked"):
            executor.start(ServiceSpec("slow", "null_services:SlowToBuild", num_cpus=0.0), 0.2)


def digests_do_not_depend_on(make_rig, executor, expected, editors, sinks=()):
    """Assert that a run on an executor ends with the digest of another run."""
    result = make_rig.go(executor, editors, sinks)
    assert result.table.digest() == expected.table.digest()
    assert result.digest == expected.digest
