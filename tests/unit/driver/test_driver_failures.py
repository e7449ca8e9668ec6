"""Staged failures: hanging and lying editors, vanished blocks, a fit that turns to NaN. The run recovers or
says why.
"""

import math

import pytest
from null_rig import NullRig

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.driver.retry import RetryPolicy
from i4d.errors import ClusterError, EditError, FitError, StorageError, WeightsError
from i4d.exec.local import LocalExecutor
from i4d.store.blocks import block_key

QUICK = Limits(timeout_s=10.0, start_timeout_s=60, poll_s=0.02)  # a busy machine is slow, not hung


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    executor = LocalExecutor()
    result = NullRig(tmp_path_factory.mktemp("one") / "run").go(executor, editors=1)
    executor.shutdown()
    return result


def faulty(rig, service, **faults):
    """Let one service of the rig go wrong: see faulty_services."""
    plain = rig.specs

    def specs(editors, delay_s=0.0):
        out = plain(editors, delay_s)
        for i, spec in enumerate(out):
            if spec.name == service:
                kind = "FaultyTrainer" if service == "trainer" else "FaultyEditor"
                kwargs = {**spec.kwargs, "marks": str(rig.path), **faults}
                out[i] = type(spec)(spec.name, f"faulty_services:{kind}", kwargs)
        return out

    rig.specs = specs
    return rig


def retried(rig):
    return [e for e in rig.events if isinstance(e, events.WindowRetried)]


def test_a_hanging_editor_is_replaced(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", hang_on="r1/v02/w01")
    assert rig.go(executor, 1, limits=QUICK).digest == expected.digest
    assert any("has not got on for 10 s" in e.reason for e in retried(rig))


def test_a_slow_editor_that_gets_on_is_left_alone(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", slow_on="r1/v02/w01")
    assert rig.go(executor, 1, limits=QUICK).digest == expected.digest
    assert not retried(rig) and "WorkerRestarted" not in rig.kinds(), (
        "12 s of work with a time-out of 10 s, in small steps"
    )


def test_a_disk_that_is_full_for_a_moment_costs_a_retry(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", full_on="r1/v02/w01", times=1)
    assert rig.go(executor, 1).digest == expected.digest
    assert [(e.task, e.decision) for e in retried(rig)] == [("r1/v02/w01", "retry")]


def test_a_disk_that_stays_full_stops_the_run_in_one_line_and_it_resumes(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", full_on="r1/v02/w01", times=9)
    with pytest.raises(StorageError, match="cannot write block: the disk is full"):
        rig.go(executor, 1)
    failed = rig.events[-1]
    assert (
        isinstance(failed, events.RunFailed) and failed.kind == "storage" and "disk is full" in failed.reason
    )
    again = NullRig(tmp_path / "run", fresh=False)
    assert again.go(executor, 1).digest == expected.digest
    assert any(e.reused for e in again.events if isinstance(e, events.WorkDone))


def test_a_hanging_trainer_is_replaced(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "trainer", hang_at=20)
    assert rig.go(executor, 2, limits=QUICK).digest == expected.digest
    assert "TrainerReloaded" in rig.kinds()


@pytest.mark.parametrize("lie", ["rows", "seconds", "kept", "none"])
def test_a_receipt_that_cannot_be_true_is_asked_for_again(tmp_path, executor, expected, lie):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", lie_on="r1/key01", lie=lie, times=1)
    assert rig.go(executor, 1).digest == expected.digest
    assert [e.task for e in retried(rig)] == ["r1/key01"]


def test_an_editor_that_keeps_lying_ends_the_run(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", lie_on="r1/key01", lie="rows", times=9)
    with pytest.raises(Exception, match="editor-0 answered r1/key01 with 1 rows in place of 3"):
        rig.go(executor, 1)


def test_an_edit_that_fails_for_good_is_named_and_nothing_half_written_is_committed(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", fail_on="r1/v02/w01", times=9)
    with pytest.raises(EditError, match="r1/v02/w01: as asked"):
        rig.go(executor, 1)
    assert sorted(rig.folder.manifests()) == [0]


def test_an_unforeseen_error_is_tried_once_more_and_then_named(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", crash_on="r1/v02/w01", times=9)
    with pytest.raises(EditError, match="r1/v02/w01 failed 2 times, last on editor-0: ZeroDivisionError"):
        rig.go(executor, 1)


def test_a_user_error_is_not_tried_again(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", no_weights=True)
    with pytest.raises(WeightsError, match="no weights"):
        rig.go(executor, 1)
    assert not retried(rig)


def test_a_block_that_vanishes_is_made_again(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "run")

    def vanish(event):
        if (
            isinstance(event, events.KeyFrameStepStored)
            and event.task == "r1/key01"
            and not rig.kinds().count("Warned")
        ):
            entry = [r for r in rig.folder.records() if r["id"] == "r1/key01"]
            if len(entry) == 1:
                rig.folder.store.delete(block_key(entry[0]["receipt"]["block"]["digest"]))

    assert rig.go(executor, 2, [vanish]).digest == expected.digest
    assert [(e.task, e.decision) for e in retried(rig)][0] == ("r1/key02", "reread")


def test_a_fit_that_turns_to_nan_goes_back_to_its_checkpoint(tmp_path, executor, expected):
    rig = faulty(NullRig(tmp_path / "run"), "trainer", nan_at=30, times=1)
    limits = Limits(20, 60, poll_s=0.05, save_every_s=0.0)
    assert rig.go(executor, 1, limits=limits).digest == expected.digest
    reloaded = next(e for e in rig.events if isinstance(e, events.TrainerReloaded))
    assert 0 < reloaded.step < 30


def test_a_fit_that_stays_nan_ends_the_run(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "trainer", nan_at=30, times=99)
    with pytest.raises(FitError, match="r0/fit: the fit is not finite"):
        rig.go(executor, 1)


def test_a_service_that_never_warms_up_is_a_cluster_error(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", cold=True)
    with pytest.raises(ClusterError, match="editor-0 did not warm up within 0.3 s"):
        rig.go(executor, 1, limits=Limits(5, 0.3, poll_s=0.02))


def test_patience_is_configurable(tmp_path, executor):
    rig = faulty(NullRig(tmp_path / "run"), "editor-0", fail_on="r1/key00", times=1)
    with pytest.raises(EditError):
        rig.go(executor, 1, policy=RetryPolicy(max_repeats=0))
    assert math.isfinite(sum(e.at_s for e in rig.events))
