"""One line about a run, made of its events."""

import math

import pytest

from i4d.commands.watch import standing, watched
from i4d.store.run_folder import RunFolder


def window(at_s, done, total=12):
    return {"event": "WindowStored", "at_s": at_s, "done": done, "total": total}


START = [
    {"event": "RunStarted", "at_s": 0.0, "rounds": 2},
    {"event": "RoundStarted", "at_s": 1.0, "round": 1, "rounds": 2},
    {"event": "StageStarted", "at_s": 10.0, "stage": "windows", "total": 12},
]


def test_speed_and_time_left_follow_from_what_was_stored():
    now = standing([*START, window(12.0, 1), window(14.0, 2), window(16.0, 3)])
    assert (now.round, now.rounds, now.stage, now.done, now.total) == (1, 2, "windows", 3, 12)
    assert now.speed == pytest.approx(0.5) and now.left_s == pytest.approx(18.0)
    assert now.line() == "round 1 of 2; windows 3/12; 0.5 it/s, about 18 s left in this stage"


def test_the_fit_tells_its_psnr_and_retries_are_counted():
    fit = {"event": "FitProgress", "at_s": 5.0, "step": 40, "total": 100, "psnr_db": 21.26}
    stage = {"event": "StageStarted", "at_s": 3.0, "stage": "fit", "total": 100}
    now = standing([START[0], stage, fit, {"event": "WindowRetried", "at_s": 6.0}])
    assert (
        now.line()
        == "before the edit; fit 40/100; 20 it/s, about 3 s left in this stage; PSNR 21.3 dB; 1 sent again"
    )
    assert math.isnan(standing([START[0], stage, {**fit, "psnr_db": None}]).psnr_db)


def test_only_the_last_attempt_counts_and_ends_are_told():
    failed = [*START, window(12.0, 5), {"event": "RunFailed", "at_s": 13.0, "reason": "the disk is full"}]
    assert standing(failed).line() == "failed: the disk is full"
    assert standing([*failed, *START]).done == 0
    assert standing([*START, {"event": "RunFinished", "at_s": 1}]).line() == "finished"
    assert standing([]).line() == "before the edit; starting 0/0"


def test_watching_tells_changes_until_nobody_drives(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    for event in START:
        folder.append_event(event)
    steps = iter([window(12.0, 1), None, {"event": "RunFinished", "at_s": 20.0}])

    def sleep(seconds):
        event = next(steps)
        if event:
            folder.append_event(event)

    lines = list(watched(folder, lambda: True, sleep))
    assert len(lines) == 3 and "windows 1/12" in lines[1] and lines[-1] == "finished"
    dead = RunFolder.create(tmp_path / "dead", {})
    assert list(watched(dead, lambda: False, sleep))[-1].startswith("nobody drives this run now")
