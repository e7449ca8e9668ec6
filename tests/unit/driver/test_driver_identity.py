"""What results follow from is part of the plan and of every digest, and workers that differ are refused."""

import dataclasses

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver.pool import require_identity
from i4d.driver.retry import Decision, Failure, RetryPolicy, classify
from i4d.driver.training import Phase
from i4d.errors import IdentityError
from i4d.exec.local import LocalExecutor
from i4d.identity import begin_anew
from i4d.plain import inputs_digest
from i4d.schedules.key_frame import make_plan
from i4d.store.run_folder import RunFolder
from i4d.types import Identity, WorkerInfo

OURS = Identity("weights aa", "dis-1", "settings bb")


def info(identity):
    return WorkerInfo("editor-1", "cpu", "null", "node-7", 1, 0.0, identity=identity)


@pytest.fixture
def executor():
    executor = LocalExecutor(grace_s=30)
    yield executor
    executor.shutdown()


@pytest.mark.parametrize("part", ["editor", "flow", "field"])
def test_every_part_is_in_the_plans_digest_and_refused_where_it_differs(part):
    plan = make_plan(scene(), config(), SETTINGS)
    other = dataclasses.replace(OURS, **{part: "another"})
    digests = {dataclasses.replace(plan, identity=i).digest() for i in (Identity(), OURS, other)}
    assert len(digests) == 3
    require_identity(info(OURS), OURS, ("editor", "flow", "field"))
    require_identity(info(Identity()), Identity(), ("editor", "flow", "field"))
    for theirs in (other, Identity()):
        with pytest.raises(IdentityError, match=f"editor-1 on node-7 has another {part}") as caught:
            require_identity(info(theirs), OURS, (part,))
        assert "\n" not in str(caught.value)


def test_tasks_and_fits_that_follow_from_something_else_are_other_work():
    assert inputs_digest(SETTINGS) != inputs_digest(dataclasses.replace(SETTINGS, identity="weights cc"))
    phases = [Phase(0, "fit", (), None, 5, by) for by in ("settings a", "settings b")]
    assert phases[0].inputs() != phases[1].inputs()
    assert phases[0].inputs_of_parts() != phases[1].inputs_of_parts()
    plan = make_plan(scene(), config(), SETTINGS)
    assert dataclasses.replace(plan, trainers=2).fitted_by != plan.fitted_by


def test_another_identity_is_never_tried_again():
    err = IdentityError("editor-1 has other weights")
    assert classify(err) == "user" and err.exit_code == 5
    assert RetryPolicy().decide(Failure(classify(err), "editor", 1)) is Decision.ABORT


@pytest.mark.parametrize("part, who", [("editor", "editor-0"), ("field", "trainer")])
def test_a_run_stops_at_once_where_a_worker_is_not_of_its_identity(part, who, tmp_path, executor):
    plan = make_plan(scene(), config(), SETTINGS)
    plan = dataclasses.replace(plan, identity=Identity(**{part: "weights aa"}))
    rig = NullRig(tmp_path / "run", plan)
    with pytest.raises(IdentityError, match=f"{who} .* has another {part} than the run: it does not say"):
        rig.go(executor, 1)
    assert not RunFolder.open(rig.path).manifests()


def test_edits_begun_anew_keep_the_fit_and_end_as_if_never_done_otherwise(tmp_path, executor):
    plan = make_plan(scene(), config(), SETTINGS)
    other = dataclasses.replace(plan, settings=dataclasses.replace(SETTINGS, identity="weights cc"))
    rig = NullRig(tmp_path / "run", plan)
    rig.go(executor)
    fit = rig.folder.manifests()[0]["checkpoint"]
    begin_anew(rig.folder, "edits")
    assert list(rig.folder.manifests()) == [0] and rig.folder.read_json("plan.json") is None
    again = NullRig(tmp_path / "run", other, fresh=False)
    result = again.go(executor)
    assert again.folder.manifests()[0]["checkpoint"] == fit
    done = [e for e in again.events if type(e).__name__ == "WindowStored"]
    assert done and not any(e.reused for e in done), "no window of the other editor is taken over"
    assert result.digest == NullRig(tmp_path / "fresh", other).go(executor).digest
    begin_anew(again.folder, "fit")
    assert not again.folder.manifests()
