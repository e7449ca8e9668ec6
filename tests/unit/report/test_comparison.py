"""Comparisons: tables of known figures in three formats, the grid of pictures, and studies that go on where
they stopped.
"""

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest
from reported_run import build, noise, rig, videos

from i4d import config as cfg
from i4d.commands import ablate
from i4d.commands import compare as module
from i4d.commands.compare import METHODS, Layers, Method, Study, chosen, sentences
from i4d.errors import ConfigError
from i4d.report.comparison import Cell, as_csv, differences, grid, latex, markdown, rows_of
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.registry import scheduled_plan
from i4d.types import EditSettings


def metrics(temporal, psnr, interval=None, forwards=100, **edit):
    figures = {"temporal_warp_error": temporal, "cross_view_error": None}
    figures |= {"known_answer_psnr_db": psnr, "known_answer_interval_db": interval}
    return {
        "cameras": ["cam00"],
        "held_out": True,
        "edit": {**figures, "look": {}, **edit},
        "unet_forwards": forwards,
        "timing": {"total_s": 60.0, "prepare_s": 5.0, "fit_s": 15.0},
    }


def each(values, camera=0):
    return {"values": list(values), "times": list(range(len(values))), "cameras": [[camera]] * len(values)}


CALM, LIVELY = [24.0, 24.1, 23.9, 24.0, 24.05, 23.95], [22.0, 22.1, 21.9, 22.2, 21.8, 22.0]
CELLS = [
    (Cell("50 % & more", "i4d", None), metrics(0.3004, 24.0, [23.5, 24.5], known_answer_each_db=each(CALM))),
    (Cell("50 % & more", "in2n", None), metrics(0.3001, 22.0, known_answer_each_db=each(LIVELY))),
    (Cell("night", "i4d", None), metrics(None, 20.0)),
]
ROWS = rows_of(CELLS)


def test_markdown_marks_what_is_better_beyond_the_interval_of_the_difference():
    lines = markdown("title", ROWS).splitlines()
    assert lines[4] == "| 50 % & more | i4d | 0.300 | **24.00 [23.50, 24.50]** | 100 | 40 |", (
        "nothing tells whether 0.3004 and 0.3001 differ"
    )
    assert lines[5] == "| 50 % & more | in2n | 0.300 | 22.00 | 100 | 40 |"
    assert lines[6] == "| night | i4d | - | 20.00 | 100 | 40 |", "alone, nothing is best"
    assert "Not measured here" in lines[8] and "cross-view error" in lines[8] and "1 seed of" in lines[8]


def test_differences_are_of_the_same_frames_and_bold_where_they_are_sure():
    drift = [24.0, 26.0, 22.0, 25.0, 23.0]
    moved = {"per-frame": 0, "in2n": (1, -1, 1, -1, 0.2)}
    rows = [
        (Cell("p", "i4d", None), metrics(0.3, 24.0, known_answer_each_db=each(np.add(drift, 0.1)))),
        *(
            (Cell("p", name, None), metrics(0.3, 24.0, known_answer_each_db=each(np.add(drift, by))))
            for name, by in moved.items()
        ),
        (Cell("p", "other camera", None), metrics(0.3, 24.0, known_answer_each_db=each(drift, 1))),
        (Cell("p", "authors", None), metrics(0.3, 24.0)),
    ]
    lines = differences(rows_of(rows))
    assert lines[2] == "| p | i4d - per-frame | **+0.10 [+0.10, +0.10]** |", (
        "beyond what the frames differ by among themselves"
    )
    assert lines[3].startswith("| p | i4d - in2n | +0.06 [-") and lines[5] == "| p | i4d - authors | - |"
    assert lines[4] == "| p | i4d - other camera | - |", "not the same frames"
    assert differences(rows_of(rows[:1])) == []
    assert "Differences of the same frames" in markdown("title", rows_of(rows))


def test_a_method_that_wins_with_one_seed_only_is_not_bold():
    """In frames alone the difference is sure; between seeds it is not."""
    better = {0: 1.0, 1: -0.9, 2: 0.2}
    cells = [
        (Cell("p", name, None, seed), metrics(0.3, 24.0, known_answer_each_db=each(np.add(CALM, by * ours))))
        for name, ours in (("i4d", 1), ("other", 0))
        for seed, by in better.items()
    ]
    one = rows_of([cell for cell in cells if cell[0].seed == 0])
    assert differences(one)[2].startswith("| p | i4d - other | **+1.00")
    all_ = rows_of(cells)
    assert differences(all_)[2].startswith("| p | i4d - other | +0.10 [-")
    assert [len(row.runs) for row in all_] == [3, 3] and "3 seeds" in markdown("t", all_)


def test_latex_escapes_and_csv_keeps_what_latex_rounds():
    text = latex(ROWS)
    assert (
        r"50 \% \& more & in2n" in text
        and text.count(r"\\") == 4
        and r"\textbf{24.00 [23.50, 24.50]}" in text
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert (
        rows[0]["temporal_error"] == "0.3004"
        and rows[0]["known_answer_psnr_db_low"] == "23.5"
        and rows[2]["temporal_error"] == ""
    )


def test_the_grid_has_a_column_per_method_and_a_row_per_prompt(tmp_path):
    scene = rig()
    made = {name: noise((4, 16, 20, 3), seed) for seed, name in enumerate(("a", "b", "c"))}
    runs = {
        n: build(tmp_path / n, scene, videos(scene), {"after/cam00": x, "before/cam00": x}, {1: x, 2: x})
        for n, x in made.items()
    }
    clip = grid(
        [Cell("one", "i4d", runs["a"]), Cell("one", "in2n", runs["b"]), Cell("two", "i4d", runs["c"])]
    )
    assert clip.labels == ("original", "i4d", "in2n") and clip.num_frames == 4
    columns = [read(2) for read in clip.panels]
    height = columns[0].shape[0] // 2
    assert {c.shape for c in columns} == {columns[0].shape}
    assert np.array_equal(columns[0][:height], columns[0][height:]), "the original stands in every row"
    assert (columns[2][height:] == 255).all(), "what was not run is white"
    assert not np.array_equal(columns[1][:height], columns[1][height:])


def test_lists_are_checked():
    assert [m.name for m in chosen("i4d, in2n,i4d", METHODS, "--methods")] == ["i4d", "in2n"]
    with pytest.raises(ConfigError, match="--methods: 'ours' is not known"):
        chosen("ours", METHODS, "--methods")
    with pytest.raises(ConfigError, match="one of them"):
        sentences([], None)


def test_every_row_of_the_ablation_and_every_method_is_a_configuration_of_its_own(monkeypatch):
    monkeypatch.setenv("I4D_DATA", "/nowhere")
    layers = Layers("demo", (), (), {}, ())
    trees = [str(cfg.to_dict(layers.of(method))) for method in (*ablate.ROWS.values(), METHODS["authors"])]
    assert len(set(trees)) == len(trees)
    authors = layers.of(METHODS["authors"])
    assert (authors.schedule.key_steps, authors.schedule.refine_num_steps, authors.editor.norm) == (
        12,
        600,
        "joint",
    )


def test_baselines_spend_what_the_method_would(monkeypatch):
    monkeypatch.setenv("I4D_DATA", "/nowhere")
    from null_rig import scene as null_scene

    layers, scene, settings = Layers("demo", (), (), {}, ()), null_scene(10, 24), EditSettings("x", 1.0, 1.0)
    spent = {
        n: predicted_forwards(scheduled_plan(scene, layers.of(METHODS[n]), settings))
        for n in ("i4d", "per-frame", "in2n")
    }
    assert (
        0.75 * spent["i4d"] < spent["per-frame"] <= spent["i4d"]
        and 0.99 * spent["i4d"] < spent["in2n"] <= spent["i4d"]
    )


class Stub(Study):
    """A study whose runs are made by hand."""

    ran: list = []
    stop_at = ""

    def _run(self, place, request, config, start, asked=None):
        if place.parent.name.endswith(self.stop_at) and self.stop_at:
            return SimpleNamespace(stopped=True)
        self.ran.append(place.name)
        scene = rig()
        pictures = {"after/cam00": noise((4, 16, 20, 3)), "before/cam00": noise((4, 16, 20, 3), 1)}
        run = build(
            place,
            scene,
            videos(scene),
            pictures,
            {1: noise((4, 16, 20, 3)), 2: noise((4, 16, 20, 3))},
            request=request,
        )
        run.write_json("asked.json", asked)
        return SimpleNamespace(stopped=False)


def test_a_study_goes_on_where_it_stopped_and_refuses_other_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("I4D_DATA", "/nowhere")
    monkeypatch.setattr(Stub, "ran", [])

    def study(sets=()):
        found = Stub(tmp_path / "out", Layers("demo", (), (), {}, sets), None)
        found.add_all(
            ["night", "snow"], [METHODS["i4d"], Method("other", settings={"schedule.key_steps": 1})]
        )
        return found

    monkeypatch.setattr(Stub, "stop_at", "snow")
    assert study().carry_out("comparison", "t") == module.STOPPED
    assert Stub.ran == ["field", "i4d", "other"]
    assert (tmp_path / "out" / "comparison.md").read_text().count("| night |") == 3, (
        "two rows and their difference"
    )
    monkeypatch.setattr(Stub, "stop_at", "")
    assert study().carry_out("comparison", "t") == 0
    assert Stub.ran == ["field", "i4d", "other", "i4d", "other"], (
        "finished cells and the reconstruction stand"
    )
    assert (
        tmp_path / "out" / "comparison.mp4"
    ).stat().st_size > 0 and "comparison.tex" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="another prompt, field or settings"):
        study(["schedule.key_steps=3"])
