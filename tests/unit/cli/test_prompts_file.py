"""Several prompts in one go: one fit, one flow, one set of editors; each run as if it had been made alone."""

import json

import pytest

from i4d import cli
from i4d.commands.prompts import read_prompts, run_name
from i4d.errors import ConfigError
from i4d.store.run_folder import RunFolder

SMALL = """
scene: {width: 48, height: 36, num_frames: 3, drop: [cam02, cam03, cam04, cam05, cam06, cam07, cam08]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 16, refit_steps: 8,
         rays: 64, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 1, key_views: 2, diffusion_steps: 2, refine_diffusion_steps: 1,
  restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
cluster: {threads: 1}
"""


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code or 0


def test_prompts_are_read_one_a_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("make it night\n\n# not this\n  turn the ball gold  \n")
    assert read_prompts(file) == ["make it night", "turn the ball gold"]
    for text, reason in (("\n# nothing\n", "holds no prompt"), ("a\na\n", "says twice")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=reason):
            read_prompts(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_runs_are_named_by_number_and_words():
    assert run_name(3, "What if it was painted by Van Gogh?") == "03-what-if-it-was-painted-by-van-gogh"
    assert run_name(11, "../../etc") == "11-etc" and run_name(1, "雪") == "01"


def test_a_prompt_and_a_file_exclude_each_other(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("make it night\n")
    assert run("edit", "--prompt", "x", "--prompts-file", tmp_path / "p.txt", "--out", tmp_path / "o") == 2
    assert "exclude each other" in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_runs_share_the_fit_and_equal_those_made_alone(tmp_path, tiny_editor_folder, one_thread, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "prompts.txt").write_text("make it night\nmake it sepia\n")
    common = [
        "--scene",
        "demo",
        "--data",
        tmp_path / "data",
        "--config",
        tmp_path / "small.yaml",
        "--local",
        "--device",
        "cpu",
    ]
    common += ["--weights", tiny_editor_folder]
    assert run("edit", "--prompts-file", tmp_path / "prompts.txt", "--out", tmp_path / "many", *common) == 0
    assert run("edit", "--prompt", "make it sepia", "--out", tmp_path / "alone", *common) == 0
    places = [tmp_path / "many" / "01-make-it-night", tmp_path / "many" / "02-make-it-sepia"]
    first, second = (RunFolder.open(place).manifests() for place in places)
    alone = RunFolder.open(tmp_path / "alone").manifests()
    assert first[0]["checkpoint"] == second[0]["checkpoint"] and first[1]["table"] != second[1]["table"]
    assert {r: m["table"] for r, m in second.items()} == {r: m["table"] for r, m in alone.items()}
    fits = [
        e for e in RunFolder.open(places[1]).events() if e["event"] == "FitProgress" and e["phase"] == "fit"
    ]
    assert not fits, "the second run fits nothing anew"
    assert all(json.loads((place / "metrics.json").read_text()) for place in places)
    there = sorted(p.name for p in (tmp_path / "many").iterdir())
    assert there == ["01-make-it-night", "02-make-it-sepia", "lock", "prompts.json", "store"]
    capsys.readouterr()
    assert run("status", places[1], "--watch") == 0 and "finished" in capsys.readouterr().out
