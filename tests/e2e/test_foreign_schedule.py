"""A schedule in a package of its own is planned, edited and resumed by its name; nothing in i4d knows it."""

import itertools
import json
from pathlib import Path

import pytest
from null_rig import SETTINGS, config, scene
from test_demo import SMALL, run

from i4d.errors import ConfigError
from i4d.report.footage import Footage
from i4d.schedules.cost import predicted_forwards, useful_editors
from i4d.schedules.registry import schedule_method, scheduled_plan
from i4d.store.run_folder import RunFolder

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def words(tmp_path, tiny_editor_folder):
    (tmp_path / "small.yaml").write_text(SMALL)
    given = ["--config", tmp_path / "small.yaml", "--weights", tiny_editor_folder, "--device", "cpu"]
    more = ["--set", "schedule.rounds=1", "--set", "schedule.method=star"]
    at = ["--scene", "demo", "--prompt", "Turn it blue", "--data", tmp_path / "data", "--local"]
    return ["edit", *at, *given, *more]


def windows_of(folder):
    return [entry["id"] for entry in folder.records() if "/w" in entry["id"]]


def stored(out):
    return sorted(p.name for p in (out / "store").rglob("*") if p.is_file())


def test_a_foreign_schedule_is_planned(installed):
    plan = scheduled_plan(scene(), config(method="star", rounds=1), SETTINGS)
    (part,) = plan.rounds
    assert plan.method == "star" and plan.batch == 2 and part.num_windows == 3 * 7
    assert useful_editors(plan) == 3 * 7, "no window waits for another"
    plain = scheduled_plan(scene(), config(rounds=1), SETTINGS)
    assert plain.method == "key_frame" and useful_editors(plain) == 6, "names of i4d cannot be taken"
    assert predicted_forwards(plan) != predicted_forwards(plain)


def test_a_foreign_schedule_edits_every_frame_and_resumes(tmp_path, installed, words, monkeypatch, capsys):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert run(*words, "--out", whole) == 0
    told = json.loads((whole / "plan.json").read_text())
    windows = [window for chain in told["rounds"][0]["chains"] for window in chain["windows"]]
    assert told["method"] == "star" and len(windows) == 2 * 3
    assert all(
        w["sources"]["pulled"][0]["frame"] == told["key_frame"] == w["reference_frame"] for w in windows
    )
    footage = Footage(RunFolder.open(whole))
    for view, frame in itertools.product(told["views"], range(told["num_frames"])):
        assert (footage.edited_frame(view, frame) != footage.original(view, frame)).any()

    before = RunFolder.stop_requested
    monkeypatch.setattr(RunFolder, "stop_requested", lambda f: len(windows_of(f)) > 1 or before(f))
    assert run(*words, "--out", out) != 0 and f"i4d resume {out}" in capsys.readouterr().err
    monkeypatch.setattr(RunFolder, "stop_requested", before)
    assert 1 < len(windows_of(RunFolder.open(out))) < 6
    assert run("resume", out, "--local", "--device", "cpu", "--set", "cluster.threads=1") == 0
    assert stored(out) == stored(whole)


def test_methods_that_are_not_there_are_told_before_anything_is_loaded(tmp_path, installed, words, capsys):
    out = tmp_path / "run"
    assert run(*words, "--out", out, "--set", "schedule.method=stars") == 2
    told = capsys.readouterr().err
    assert "schedule.method = stars" in told and "adaptive, each_frame, gone, in2n, key_frame" in told
    assert not out.exists() and not (tmp_path / "data").exists()
    with pytest.raises(ConfigError, match=r"schedule.method = gone: .*toy_kinds.nothing:plan is broken"):
        schedule_method("gone")


def test_a_plan_that_cannot_be_carried_out_is_refused(installed):
    with pytest.raises(ConfigError, match="schedule.method = twice: .*round 1, windows of a view"):
        scheduled_plan(scene(), config(method="twice"), SETTINGS)
