"""Metrics as kinds: what becomes of needs, failures and numbers, and the example of the guide."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reported_run import build, rig, videos

from i4d.errors import BlockError, ConfigError, StorageError
from i4d.metrics.measure import measure
from i4d.metrics.protocol import COST, GROUPS, Derived, Metric, Need, Places, Shared, at, merge, put
from i4d.metrics.registry import METRICS, all_metrics, refused
from i4d.report.evaluate import evaluate
from i4d.report.in_words import as_csv, summary, table

GUIDE = Path(__file__).parents[3] / "docs" / "extending.md"
TWO = Metric("edit.two", "Two", "", "higher", "Always 2.", "own", (Need.EDIT,), lambda run: 2)


def run(**lacking):
    return SimpleNamespace(why_not=lambda need: lacking.get(need.name, ""))


def test_a_number_becomes_a_cell_and_a_cell_stays_what_it_is():
    cell = {"value": 3.0, "frames": 5, "interval": [2.0, 4.0], "more": "kept"}
    other = replace(TWO, key="speed.of.all", column="", places=(), compute=lambda run: cell)
    tree, told = measure(run(), [TWO, other])
    assert tree == {"edit": {"two": {"value": 2.0}}, "speed": {"of": {"all": cell}}} and not told
    found = other.read(tree)
    assert (found.value, found.interval, found.frames) == (3.0, [2.0, 4.0], 5)
    assert TWO.value(tree) == 2 and TWO.column == "two" and other.column == "speed_of_all"


def test_what_is_lacking_is_a_reason_and_nothing_is_computed():
    def never(run):
        raise AssertionError("computed without what it needs")

    needy = replace(TWO, needs=(Need.EDIT, Need.LPIPS, Need.CLIP), compute=never)
    tree, told = measure(run(LPIPS="no weights", CLIP="no CLIP"), [needy])
    assert tree["edit"]["two"] == {"value": None, "reason": "no weights"} and not told
    assert needy.read(tree).reason == "no weights"
    assert measure(run(EDIT="nothing edited"), [needy]) == ({}, []) and needy.read({}) is None


def test_metrics_that_share_a_pass_are_measured_once_and_fail_together():
    calls = []

    def both(run):
        calls.append(1)
        return {"edit": {"one": 1.0, "part": {"error": 0.5}}}

    def fails(run):
        calls.append(1)
        raise OSError("a lost block")

    places = (Places("edit.part.error", reason="edit.part.reason"),)
    one = replace(TWO, key="edit.one", column="", places=(Places("edit.one"),), compute=Shared(both))
    part = replace(TWO, key="edit.part", column="", places=places, compute=Shared(both))
    tree, told = measure(run(), [one, part])
    assert len(calls) == 1 and not told and (one.value(tree), part.value(tree)) == (1.0, 0.5)
    failing = [replace(metric, compute=Shared(fails)) for metric in (one, part)]
    tree, told = measure(run(), [*failing, TWO])
    assert len(calls) == 2 and len(told) == 2 and all("OSError: a lost block" in line for line in told)
    assert tree["edit"]["one"] is None and tree["edit"]["part"]["error"] is None and TWO.value(tree) == 2
    assert "lost block" in part.read(tree).reason


@pytest.mark.parametrize("error", [StorageError, BlockError, ConfigError])
def test_a_run_that_cannot_be_read_ends_the_evaluation(error):
    def unreadable(run):
        raise error("the bucket does not answer")

    with pytest.raises(error):
        measure(run(), [replace(TWO, compute=unreadable)])


@pytest.mark.parametrize("found", [float("nan"), float("inf"), "fast", None])
def test_what_is_no_finite_number_is_a_failure(found):
    tree, told = measure(run(), [replace(TWO, compute=lambda run: found)])
    assert tree["edit"]["two"]["value"] is None and len(told) == 1 and "Two (edit.two)" in told[0]


@pytest.mark.parametrize(
    "key",
    ["edit", "edit.name", "edit.temporal", "edit.object.inside_db.more", "edit.known_answer_is", "scene"],
)
def test_a_key_that_is_taken_is_refused(key):
    own = [METRICS[name] for name in METRICS.built_in]
    assert "is taken" in refused(replace(TWO, key=key, column="free", places=()), own)
    assert "is taken" in refused(replace(TWO, column="temporal_error"), own)
    assert refused(TWO, own) == "" and "not an i4d" in refused("two", own)


def test_wrong_words_are_refused():
    for wrong in ({"group": "Elsewhere"}, {"better": "up"}, {"key": "edit..two"}):
        with pytest.raises(ValueError, match="Elsewhere|up|edit..two"):
            replace(TWO, **wrong)


def test_paths_and_parts():
    tree = {"a": {"b": 1}, "n": None}
    put(tree, "a.c.d", 2)
    merge(tree, {"a": {"c": {"e": 3}}, "n": {"x": 4}})
    assert tree == {"a": {"b": 1, "c": {"d": 2, "e": 3}}, "n": {"x": 4}}
    assert (
        at(tree, "a.c.e") == 3
        and at(tree, "a.b.c") is None
        and at(tree, "a.x", 5) == 5
        and at(tree, "") is None
    )


def test_every_metric_of_the_package_says_all_of_it():
    own = [METRICS[name] for name in METRICS.built_in]
    for metric in own:
        assert metric.title and metric.meaning.endswith((".", "?")) and metric.source, metric.key
        assert metric.group == COST or metric.needs, metric.key
        assert len(metric.meaning) < 300 and metric.limits[0] < metric.limits[1], metric.key
    assert [m.group for m in all_metrics()[0]] == sorted((m.group for m in own), key=list(GROUPS).index)
    derived = {m.key for m in own if isinstance(m.compute, Derived)}
    assert derived == {
        "timing.own_s",
        "edit.temporal.each_frame_by_itself",
        "edit.cross_view.each_frame_by_itself",
    }


def test_the_example_of_the_guide_is_a_metric_that_is_shown(tmp_path, monkeypatch):
    section = GUIDE.read_text().split("## A metric")[1]
    code, entry = (re.search(rf"```{kind}\n(.*?)```", section, re.S)[1] for kind in ("python", "toml"))
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "darkness.py").write_text(code)
    group = re.search(r'entry-points\."(.*?)"', entry)[1]
    name, place = re.search(r'^(\w+) = "(.*?)"', entry, re.M).groups()
    about = tmp_path / "my_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {place}\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    scene = rig()
    shown = videos(scene)
    edited = np.full_like(shown[0], 51)
    renders = {"before/cam00": shown[0], "after/cam00": edited}
    made = build(tmp_path / "run", scene, shown, renders, {v: shown[v] for v in scene.train_views})
    metrics = evaluate(made)
    assert metrics["edit"]["darkness"]["value"] == 0.8 and metrics["edit"]["darkness"]["frames"] == 4
    assert "warnings" not in metrics and metrics == json.loads((made.path / "metrics.json").read_text())
    assert any(line.startswith("  Darkness of the edit") and "0.80" in line for line in table(metrics))
    assert "edit.darkness,Darkness of the edit,0.8" in as_csv(metrics)
    assert not any("Darkness" in line for line in summary(metrics)), "it has no headline"
