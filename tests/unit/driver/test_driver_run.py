"""The driver end to end with null services on threads: one digest, whoever computed it and whatever died."""

import json

import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.pool import Limits
from i4d.driver.rounds import run
from i4d.errors import ConfigError, I4DError
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import Handle
from i4d.schedules.key_frame import make_plan
from i4d.store.run_folder import RunFolder


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The digest of an undisturbed run with one editor."""
    executor = LocalExecutor()
    result = NullRig(tmp_path_factory.mktemp("one") / "run").go(executor, editors=1)
    executor.shutdown()
    return result


@pytest.mark.parametrize("editors", [2, 3])
def test_the_result_does_not_depend_on_the_number_of_editors(tmp_path, executor, expected, editors):
    result = NullRig(tmp_path / "run").go(executor, editors)
    assert result.table.digest() == expected.table.digest()
    assert result.digest == expected.digest
    assert result.renders == expected.renders


def test_a_run_edits_every_frame_and_commits_every_round(tmp_path, executor):
    rig = NullRig(tmp_path / "run")
    result = rig.go(executor)
    for view in rig.plan.views:
        for frame in range(rig.scene.num_frames):
            assert result.table.lookup(view, frame) != rig.originals.lookup(view, frame)
    held_out = rig.scene.held_out_views[0]
    assert result.table.lookup(held_out, 0) == rig.originals.lookup(held_out, 0)
    manifests = rig.folder.manifests()
    assert sorted(manifests) == [0, 1, 2]
    assert manifests[2]["checkpoint"]["digest"] == result.checkpoints[2].digest
    ids = {e.task for e in rig.events if isinstance(e, events.WindowStored)}
    assert len(ids) == sum(part.num_windows for part in rig.plan.rounds)
    assert set(manifests[1]["receipts"]) >= {id for id in ids if id.startswith("r1/")}
    assert rig.kinds()[-1] == "RunFinished"
    assert json.loads((rig.folder.path / "plan.json").read_text())["digest"] == rig.plan.digest()
    frames = [f for part in result.renders["held_out_after"] for f in part["frames"]]
    assert frames == list(range(rig.scene.num_frames))
    assert rig.folder.has_checkpoint(result.checkpoints[0].digest)
    assert not rig.folder.has_checkpoint(result.checkpoints[1].digest), "superseded checkpoints are pruned"


@pytest.mark.parametrize("victim", ["editor-0", "trainer"])
@pytest.mark.parametrize("kind, nth", [("WindowStored", 5), ("KeyFrameStepStored", 2), ("FitProgress", 3)])
def test_a_lost_service_changes_nothing(tmp_path, executor, expected, victim, kind, nth):
    seen = []

    def kill(event):
        if type(event).__name__ == kind:
            seen.append(event)
            if len(seen) == nth:
                executor.kill(Handle(victim))

    rig = NullRig(tmp_path / "run")
    result = rig.go(executor, 2, [kill], limits=Limits(20, 60, poll_s=0.05, save_every_s=0.0))
    assert result.digest == expected.digest and result.renders == expected.renders
    assert "WorkerRestarted" in rig.kinds()


class Killed(BaseException):
    """Stands for a driver that dies: nothing catches it."""


@pytest.mark.parametrize(
    "kind, nth",
    [
        ("StageStarted", 1),
        ("FitProgress", 2),
        ("CheckpointSaved", 2),
        ("RoundCommitted", 1),
        ("KeyFrameStepStored", 2),
        ("RestViewsStored", 1),
        ("WindowStored", 1),
        ("WindowStored", 20),
        ("FitProgress", 9),
        ("RoundCommitted", 2),
        ("RenderStored", 20),
        ("RunFinished", 1),
    ],
)
def test_a_killed_driver_resumes_to_the_same_result(tmp_path, expected, kind, nth):
    def die(event, seen=[]):
        seen.append(type(event).__name__)
        if seen.count(kind) == nth and seen[-1] == kind:
            raise Killed

    limits = Limits(20, 60, poll_s=0.05, save_every_s=0.0)
    first, second = LocalExecutor(), LocalExecutor()
    rig = NullRig(tmp_path / "run")
    with pytest.raises(Killed):
        rig.go(first, 2, [die], limits=limits)
    first.shutdown()
    again = NullRig(tmp_path / "run", fresh=False)
    result = again.go(second, 3, limits=limits)
    second.shutdown()
    assert result.digest == expected.digest and result.renders == expected.renders

    stored = {e.task for e in rig.events if isinstance(e, events.WorkDone) and not e.reused}
    redone = {e.task for e in again.events if isinstance(e, events.WorkDone) and not e.reused}
    assert not stored & redone, "what was stored is not done again"


def test_stop_finishes_what_is_in_hand_and_resume_completes(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "run")

    def stop(event):
        if isinstance(event, events.WindowStored) and event.done == 4:
            rig.folder.request_stop()

    result = rig.go(executor, 2, [stop])
    assert result.stopped and rig.kinds()[-1] == "RunStopped"
    again = NullRig(tmp_path / "run", fresh=False)
    assert again.go(executor, 2).digest == expected.digest


def test_taking_turns_gives_the_same_result_and_never_calls_a_parked_service(tmp_path, executor, expected):
    result = NullRig(tmp_path / "run").go(executor, 2, turns=True)
    assert result.digest == expected.digest


def test_overlap_edits_the_same_frames_and_takes_every_step(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "run", make_plan(scene(), config(refit="overlap"), SETTINGS))
    limits = Limits(20, 60, poll_s=0.05, save_every_s=0.0)
    result = rig.go(executor, 2, delay_s=0.01, limits=limits)
    first_round = {k: v for k, v in rig.folder.manifests()[1]["receipts"].items()}
    assert first_round.keys() == {k for k in first_round if k.startswith("r1/")}
    steps = [e for e in rig.events if isinstance(e, events.FitProgress) and e.round == 1]
    assert steps[-1].step == 40 and sum(e.new_frames for e in steps) >= 3 * 7
    landed = [i for i, e in enumerate(rig.events) if isinstance(e, events.WindowStored) and e.round == 1]
    fits = [i for i, e in enumerate(rig.events) if isinstance(e, events.FitProgress) and e.round == 1]
    assert fits[0] < landed[-1], "the trainer works while windows are still outstanding"
    assert result.checkpoints[2].step == 40


@pytest.mark.parametrize("kind, nth", [("WindowStored", 4), ("WindowStored", 12), ("CheckpointSaved", 4)])
def test_a_killed_overlap_run_resumes(tmp_path, executor, kind, nth):
    def die(event, seen=[]):
        seen.append(type(event).__name__)
        if seen.count(kind) == nth and seen[-1] == kind:
            raise Killed

    plan = make_plan(scene(), config(refit="overlap"), SETTINGS)
    limits = Limits(20, 60, poll_s=0.05, save_every_s=0.0)
    first = LocalExecutor()
    with pytest.raises(Killed):
        NullRig(tmp_path / "run", plan).go(first, 2, [die], limits=limits, delay_s=0.005)
    first.shutdown()
    result = NullRig(tmp_path / "run", plan, fresh=False).go(executor, 2, limits=limits)
    assert not result.stopped and sorted(result.checkpoints) == [0, 1, 2]
    assert all(
        receipt.step == steps
        for receipt, steps in zip(result.checkpoints.values(), (60, 40, 40), strict=True)
    )


def test_how_the_fit_is_cut_into_calls_does_not_matter(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "run")
    result = rig.go(executor, 2, limits=Limits(20, 60, poll_s=0.05, call_goal_s=0.0))
    assert result.digest == expected.digest
    assert rig.kinds().count("FitProgress") > 60


def test_a_run_goes_on_from_a_given_checkpoint(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "first")
    first = rig.go(executor, 1)
    other = NullRig(tmp_path / "second")
    data = rig.folder.store.get(f"checkpoints/{first.checkpoints[0].digest}.safetensors")
    other.folder.store.put(f"checkpoints/{first.checkpoints[0].digest}.safetensors", data)
    result = other.go(executor, 1, checkpoint=first.checkpoints[0])
    assert result.digest == expected.digest
    assert not any(isinstance(e, events.FitProgress) and e.phase == "fit" for e in other.events)


def test_reconstruct_only(tmp_path, executor):
    rig = NullRig(tmp_path / "run", make_plan(scene(), config(), SETTINGS, num_rounds=0))
    handle = executor.start(rig.specs(0)[0], 10)
    result = run(rig.plan, rig.originals, rig.folder, executor, [], handle, renders=rig.renders())
    assert sorted(result.checkpoints) == [0] and len(result.renders["held_out_after"]) > 0


def test_another_plan_is_refused(tmp_path, executor):
    rig = NullRig(tmp_path / "run")
    rig.go(executor, 1)
    other = NullRig(tmp_path / "run", make_plan(scene(), config(key_steps=2), SETTINGS), fresh=False)
    with pytest.raises(ConfigError, match="another plan"):
        other.go(executor, 1)


def test_two_drivers_at_once_are_refused(tmp_path, executor):
    rig = NullRig(tmp_path / "run")
    with RunFolder.open(rig.folder.path).lock(), pytest.raises(I4DError, match="is being driven by process"):
        rig.go(executor, 1)


def test_an_editor_that_always_dies_ends_the_run(tmp_path, executor):
    def kill(event):
        if isinstance(event, (events.WorkerReady,)) and event.worker.startswith("editor"):
            executor.kill(Handle(event.worker))

    with pytest.raises(I4DError, match="no editor is left|was lost 4 times"):
        NullRig(tmp_path / "run").go(executor, 2, [kill])


def test_more_editors_than_chains_is_said(tmp_path, executor):
    rig = NullRig(tmp_path / "run")
    rig.go(executor, 8)
    warnings = [e.text for e in rig.events if isinstance(e, events.Warned)]
    assert any("8 editors are asked for, but at most 6" in text for text in warnings)


def test_every_event_survives_json(tmp_path, executor):
    rig = NullRig(tmp_path / "run")
    rig.go(executor, 2)
    for event in rig.events:
        tree = json.loads(json.dumps(event.to_json(), allow_nan=False))
        assert events.from_json(tree).to_json() == tree


@pytest.mark.parametrize("refit", ["barrier", "overlap"])
@pytest.mark.parametrize("num_views, num_frames, key_frame", [(1, 1, 0), (1, 5, 4), (3, 1, 0), (6, 2, 1)])
def test_small_scenes(tmp_path, executor, refit, num_views, num_frames, key_frame):
    small = scene(num_views, num_frames, 0)
    plan = make_plan(small, config(refit=refit, key_frame=key_frame, refit_steps=5, fit_steps=5), SETTINGS)
    result = NullRig(tmp_path / "run", plan, scene=small).go(executor, 2)
    assert sorted(result.checkpoints) == [0, 1, 2]
    assert all(result.table.lookup(v, f) for v in range(num_views) for f in range(num_frames))


def test_no_refit_steps_keep_the_field(tmp_path, executor):
    plan = make_plan(scene(), config(refit="overlap", refit_steps=0), SETTINGS)
    result = NullRig(tmp_path / "run", plan).go(executor, 2)
    assert sorted(result.checkpoints) == [0, 1, 2]


def test_where_nothing_can_overlap_the_refit_waits(tmp_path, executor, expected):
    rig = NullRig(tmp_path / "run", make_plan(scene(), config(refit="overlap"), SETTINGS))
    result = rig.go(executor, 2, overlap=False)
    assert result.table.digest() == expected.table.digest() and result.digest == expected.digest
    assert any("barrier" in e.text for e in rig.events if isinstance(e, events.Warned))
