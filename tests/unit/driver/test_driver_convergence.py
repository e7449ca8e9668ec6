"""Rounds end when nothing moves, the best one is kept, and a resumed run decides alike."""

import numpy as np
import pytest
from null_rig import SETTINGS, NullRig, config, scene

from i4d.driver import events
from i4d.driver.journal import receipt_from
from i4d.driver.key_stage import key_jobs
from i4d.driver.renders import RenderJob, Shot
from i4d.driver.stages import Look, window_jobs
from i4d.exec.local import LocalExecutor
from i4d.report.footage import kept_round
from i4d.report.judging import RoundJudge, likened_frames
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.key_frame import make_plan
from i4d.schedules.values import weakened
from i4d.store.blocks import write_block
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, Strength, TableRun


class Script:
    """A judge that says what it was told to say, round by round."""

    def __init__(self, changes, disagreements):
        self.likened = ((1, 0), (2, 3))
        likened = (Shot(scene().cameras[view], (frame,)) for view, frame in self.likened)
        self.probes = RenderJob("probe", (Shot(scene().cameras[0], (0, 1)), *likened))
        self.changes, self.disagreements, self.asked = list(changes), list(disagreements), 0

    def change(self, before, now):
        assert len(before) == len(now) and before != now
        self.asked += 1
        return self.changes[(self.asked - 1) // 2]

    def disagreement(self, probes, keys, full):
        self.full = getattr(self, "full", full)
        assert len(probes) == 4 and len(keys) == 3 and full == self.full, (
            "what was edited first, in every round"
        )
        return {"temporal": self.disagreements.pop(0)}


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


def rounds_plan(**keys):
    return make_plan(
        scene(),
        config(**{"rounds": 5, "stop_change": 0.05, "refit_steps": 8, "fit_steps": 8, **keys}),
        SETTINGS,
    )


def test_rounds_end_when_nothing_moves_and_the_best_is_kept(tmp_path, executor):
    rig = NullRig(tmp_path / "run", rounds_plan())
    result = rig.go(executor, judge=Script([0.3, 0.1, 0.04], [0.9, 0.5, 0.4, 0.6]))
    assert sorted(rig.folder.manifests()) == [0, 1, 2, 3, 4], "round 5 is not needed"
    ended = next(e for e in rig.events if isinstance(e, events.RoundsEnded))
    assert (ended.round, ended.kept) == (4, 3) and "under 0.05" in ended.reason
    assert kept_round(rig.folder, 4) == 3
    story = rig.folder.read_json("rounds.json")
    assert [r["change_renders"] for r in story["rounds"]] == [None, 0.3, 0.1, 0.04]
    kept = result.checkpoints[3].digest
    assert rig.folder.has_checkpoint(kept) and not rig.folder.has_checkpoint(result.checkpoints[4].digest)
    receipts = rig.folder.records()
    shown = [r for r in receipts if r["kind"] == "render" and r["id"].startswith("held_out_after")]
    assert shown, "renders are made"
    again = NullRig(tmp_path / "run", rounds_plan(), fresh=False)
    other = again.go(executor, judge=Script([0.3, 0.1, 0.04], [0.9, 0.5, 0.4, 0.6]))
    assert other.digest == result.digest and other.renders == result.renders
    assert not any(isinstance(e, events.WindowStored) for e in again.events)


def test_without_rest_all_rounds_are_done_and_a_late_best_is_kept(tmp_path, executor):
    rig = NullRig(tmp_path / "run", rounds_plan(rounds=3))
    rig.go(executor, judge=Script([0.3, 0.2], [0.9, 0.5, 0.4]))
    story = rig.folder.read_json("rounds.json")
    assert (story["kept"], story["reason"]) == (3, "all 3 rounds are done")


def test_rounds_end_when_one_is_no_better_than_the_best(tmp_path, executor):
    rig = NullRig(tmp_path / "run", rounds_plan())
    rig.go(executor, judge=Script([0.3, 0.2, 0.2], [0.9, 0.5, 0.6]))
    story = rig.folder.read_json("rounds.json")
    assert (story["kept"], len(story["rounds"])) == (2, 3)
    assert story["reason"] == "round 3 is no better than round 2 (0.600 against 0.500)"


def test_a_threshold_of_zero_means_all_rounds(tmp_path, executor):
    rig = NullRig(tmp_path / "run", rounds_plan(rounds=3, stop_change=0.0))
    rig.go(executor, judge=Script([0.0, 0.0], [0.9, 0.95, 0.97]))
    story = rig.folder.read_json("rounds.json")
    assert (story["kept"], story["reason"]) == (1, "all 3 rounds are done")


def test_a_stop_between_rounds_resumes_to_the_same_round(tmp_path, executor):
    def script():
        return Script([0.3, 0.01], [0.9, 0.5, 0.7])

    expected = NullRig(tmp_path / "one", rounds_plan()).go(executor, judge=script())
    rig = NullRig(tmp_path / "two", rounds_plan())

    def stop(event):
        if isinstance(event, events.RoundCommitted) and event.round == 2:
            rig.folder.request_stop()

    assert rig.go(executor, sinks=[stop], judge=script()).stopped
    result = NullRig(tmp_path / "two", rounds_plan(), fresh=False).go(executor, judge=script())
    assert result.digest == expected.digest and result.renders == expected.renders
    assert sorted(rig.folder.manifests()) == [0, 1, 2, 3]


class Latest(Script):
    """As Script, for rounds that accumulate: what counts as edited is that of this round."""

    def disagreement(self, probes, keys, full):
        self.seen = [*getattr(self, "seen", []), full]
        return {"temporal": self.disagreements.pop(0)}


def test_rounds_that_accumulate_edit_at_full_strength_and_join_what_was_before(tmp_path, executor):
    plan = rounds_plan(accumulate=True, rounds=3, stop_change=0.0, key_views=2)
    assert {part.strength_share for part in plan.rounds} == {1.0} and plan.rounds[0].rest
    rig = NullRig(tmp_path / "run", plan)
    judge = Latest([0.3, 0.2], [0.9, 0.5, 0.4])
    result = rig.go(executor, judge=judge)
    assert len(set(judge.seen[0] + judge.seen[1] + judge.seen[2])) == 6, (
        "the mean so far, not the first round's edits"
    )
    manifest = rig.folder.manifests()[1]
    table = rig.originals.override(TableRun(*run) for run in manifest["overrides"])
    second, key = plan.rounds[1], plan.key_frame
    look = Look("d" * 64, {}, tuple(rig.originals.lookup(view, key) for view in plan.views))
    edited = {view: table.lookup(view, key) for view in plan.views}
    receipts = {
        r["id"]: receipt_from("edit", r["receipt"]) for r in rig.folder.records() if r["kind"] == "edit"
    }
    for jobs in (
        key_jobs(plan, second, rig.originals, look, table),
        window_jobs(plan, second, rig.originals, look, edited, table),
    ):
        for task in (job.make(receipts) for job in jobs):
            places = (
                [(v, key) for v in task.views]
                if hasattr(task, "views")
                else [(task.view, f) for f in task.frames]
            )
            last = getattr(task, "step", 2) == 2 and getattr(task, "share", None) is None
            assert task.earlier == (tuple(table.lookup(*place) for place in places) if last else ()), task
    assert not any(
        job.make(receipts).earlier for job in window_jobs(plan, plan.rounds[0], rig.originals, look, edited)
    )
    again = NullRig(tmp_path / "run", plan, fresh=False)
    assert again.go(executor, judge=Latest([0.3, 0.2], [0.9, 0.5, 0.4])).digest == result.digest


def test_strengths_fall_from_round_to_round():
    plan = rounds_plan(round_share=0.5, diffusion_steps=8)
    first, second = plan.rounds[:2]
    for a, b in zip(first.key_steps, second.key_steps, strict=True):
        assert b.strength.T == pytest.approx(a.strength.T / 2, abs=1) and b.strength.n < a.strength.n
    assert weakened(Strength(600, 4), second.strength_share) == Strength(300, 2) and weakened(
        Strength(600, 1), 0.05
    ) == Strength(30, 1)
    five, one = predicted_forwards(plan), predicted_forwards(rounds_plan(rounds=1, diffusion_steps=8))
    assert one < five < 3 * one


def test_the_judge_knows_still_pictures_from_moving_ones(tmp_path):
    """Known answers: identical pictures change by 0, shifted grey levels by their difference; a flickering
    video disagrees more.
    """
    rig = NullRig(tmp_path / "run", scene=scene(width=32, height=24))
    smooth = np.tile(np.linspace(0, 200, 32, dtype=np.uint8)[None, None, :, None], (8, 24, 1, 3))
    flicker = smooth + (20 * (np.arange(8) % 2)).astype(np.uint8)[:, None, None, None]
    a, b = (write_block(rig.folder.store, block).digest for block in (smooth, flicker))
    rows = {name: [FrameAddress(digest, i) for i in range(8)] for name, digest in (("a", a), ("b", b))}
    still = FrameTable.of([TableRun(0, 0, 8, a)])
    judge = RoundJudge(rig.folder, rig.scene, still, 3, 0.05)
    assert judge.change(rows["a"], rows["a"]) == 0.0
    assert judge.change(rows["a"], rows["b"]) == pytest.approx(10 / 255)
    calm, restless = (judge.disagreement(rows[name], [], [])["temporal"] for name in ("a", "b"))
    assert calm < 1e-6 and restless > 0.5, "20 grey levels against a gradient of 6.5"
    likened = [rows["b"][1]] * len(judge.likened), [rows["a"][0]] * len(judge.likened)
    parts = judge.disagreement(rows["a"] + likened[0], [], likened[1])
    steps = np.abs(np.diff(smooth[0, 0, :, 0].astype(float))).mean()
    assert parts["from_full_edit"] == pytest.approx(20 / steps, rel=0.05), (
        "20 grey levels against the mean gradient"
    )


def test_likened_frames_are_of_edited_cameras_and_of_the_beginning_the_key_instant_and_the_end():
    assert likened_frames((1, 2, 3, 4, 5, 6, 7, 8, 9), 24, 12) == ((1, 12), (4, 0), (6, 23), (9, 12))
    assert likened_frames((3,), 5, 2) == ((3, 2),)
    assert likened_frames((1, 2), 5, 2) == ((1, 2), (2, 0))
