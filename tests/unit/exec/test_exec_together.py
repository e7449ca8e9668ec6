"""A group of ranks behind one handle: who is asked, whose answer counts, what a failure and a restart do."""

import pytest
from executor_contract import WAIT_S, ask, spec

from i4d.errors import EditError, WorkerLost
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.exec.together import Together


@pytest.fixture
def group():
    local = LocalExecutor()
    ranks = local.start_group(spec("trainer"), 3, WAIT_S)
    yield Together(local, Handle("trainer"), ranks, frozenset({"where"}))
    local.shutdown()


def test_calls_reach_all_ranks_and_rank_0_answers(group):
    assert [ask(group, group.handle, "count") for _ in range(2)] == [1, 2]
    assert ask(group, group.handle, "where")[:2] == (0, 3)
    assert [ask(group.inner, rank, "count") for rank in group.ranks] == [3, 3, 3]


def test_calls_of_others_pass_through_and_are_waited_for_together(group):
    other = group.start(spec("editor"), WAIT_S)
    tickets = [group.call(group.handle, "count"), group.call(other, "count")]
    done = set()
    while len(done) < 2:
        done |= set(group.wait([t for t in tickets if t not in done], WAIT_S))
    assert [group.result(t) for t in tickets] == [1, 1]


def test_one_failing_rank_fails_the_call(group):
    group.inner.kill(group.ranks[2])
    with pytest.raises(WorkerLost):
        ask(group, group.handle, "count")
    with pytest.raises((EditError, WorkerLost)):
        ask(group, group.handle, "fail", "no")


def test_a_restart_is_a_restart_of_all_while_a_call_hangs(group):
    ask(group, group.handle, "count")
    hanging = group.call(group.handle, "hang")
    assert group.wait([hanging], 0.05) == []
    group.restart(group.handle)
    assert group.wait([hanging], WAIT_S) == [hanging]
    with pytest.raises(WorkerLost):
        group.result(hanging)
    assert ask(group, group.handle, "count") == 1
    assert [ask(group.inner, rank, "count") for rank in group.ranks] == [2, 2, 2]
