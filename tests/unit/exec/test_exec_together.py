"""A group of ranks behind one handle: who is asked, whose answer counts, what a failure and a restart do."""

import pytest
from executor_contract import WAIT_S, ask, spec

from i4d.errors import ClusterError, EditError, WorkerLost
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


def test_a_restart_meets_at_a_new_place(group):
    before = {ask(group.inner, rank, "where") for rank in group.ranks}
    group.restart(group.handle)
    after = {ask(group.inner, rank, "where") for rank in group.ranks}
    assert {rank for rank, *_ in after} == {0, 1, 2}
    (old,), (new,) = ({address for *_, address in places} for places in (before, after))
    assert old != new, "the old one may be gone with its node, or its port be taken"


def test_ranks_that_wait_for_one_that_failed_are_out_of_step_until_a_restart(group):
    group.inner.kill(group.ranks[1])
    hanging = group.call(group.handle, "hang_for", "ever")
    assert group.wait([hanging], WAIT_S) == [hanging]
    with pytest.raises(WorkerLost, match="trainer-1"):
        group.result(hanging)
    with pytest.raises(WorkerLost, match="trainer-1 failed at hang_for"):
        ask(group, group.handle, "count")
    group.restart(group.handle)
    assert ask(group, group.handle, "count") == 1


def test_what_a_rank_sees_of_another_that_is_gone_counts_as_lost(group):
    group.inner.restart(group.ranks[0])
    with pytest.raises(WorkerLost, match="ZeroDivisionError|failed at"):
        ask(group, group.handle, "crash")


def test_a_lost_rank_takes_an_editors_place_and_the_group_meets_again(group):
    editor = group.start(spec("editor"), WAIT_S)
    old = ask(group.inner, group.ranks[0], "where")[2]
    group.inner.kill(group.ranks[2])
    assert group.progress(group.handle) is None
    group.take_place(group.handle, editor)
    assert ask(group, group.handle, "count") == 1 and ask(group, editor, "count") == 1
    assert ask(group.inner, group.ranks[2], "where")[2] != old
    group.require_paths([__file__])
    with pytest.raises(ClusterError, match="cannot be read"):
        group.require_paths(["/no/such/place"])
