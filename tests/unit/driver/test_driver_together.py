"""Short windows that share a call: the same results, and each window's failure its own."""

from collections import Counter

import pytest
from null_rig import NullRig, scene
from together_rig import ALONE, TOGETHER, Remembering, together_rig

from i4d.driver import events
from i4d.errors import EditError
from i4d.exec.local import LocalExecutor


class Told(Remembering, LocalExecutor):
    """Threads that remember which windows went together."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    executor = Told()
    result = together_rig(tmp_path_factory.mktemp("alone") / "run").go(executor, 2, limits=ALONE)
    executor.shutdown()
    assert not executor.messages
    return result


@pytest.fixture
def executor():
    executor = Told()
    yield executor
    executor.shutdown()


def test_windows_that_go_together_give_the_same_digests(tmp_path, executor, alone):
    run = together_rig(tmp_path / "run")
    assert run.go(executor, 2, limits=TOGETHER).digest == alone.digest
    assert Counter(map(len, executor.messages)).most_common(1)[0][0] == 3, (
        "twelve chains over two calls of two editors"
    )
    assert all(len({id.split("/")[1] for id in message}) == len(message) for message in executor.messages), (
        "of different chains"
    )
    stored = [e.task for e in run.events if isinstance(e, events.WindowStored)]
    assert len(stored) == len(set(stored)) == 96


@pytest.mark.parametrize("fault", ["fail_on", "lie_on"])
def test_one_that_fails_in_the_middle_is_sent_again_by_itself(tmp_path, executor, alone, fault):
    run = together_rig(tmp_path / "run", **{fault: "r1/v05/w03"})
    assert run.go(executor, 2, limits=TOGETHER).digest == alone.digest
    assert [(e.task, e.attempt) for e in run.events if isinstance(e, events.WindowRetried)] == [
        ("r1/v05/w03", 1)
    ]
    assert sum("r1/v05/w03" in message for message in executor.messages) == 1, "then alone"


def test_one_that_fails_again_stops_the_run_and_is_named_and_its_neighbours_are_kept(
    tmp_path, executor, alone
):
    with pytest.raises(EditError, match="r1/v05/w03"):
        together_rig(tmp_path / "run", fail_on="r1/v05/w03", times=2).go(executor, 2, limits=TOGETHER)
    (message,) = [m for m in executor.messages if "r1/v05/w03" in m]
    again = NullRig(
        tmp_path / "run", together_rig(tmp_path / "other").plan, fresh=False, scene=scene(13, 9, 1)
    )
    assert again.go(executor, 2, limits=TOGETHER).digest == alone.digest
    reused = {e.task for e in again.events if isinstance(e, events.WorkDone) and e.reused}
    assert set(message) - {"r1/v05/w03"} <= reused
