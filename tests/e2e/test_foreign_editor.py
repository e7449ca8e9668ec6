"""A kind of editor in a package of its own goes through the command line; nothing in i4d knows it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_demo import SMALL, run

from i4d.commands.peaks import CONTEXT_BYTES, editor_bytes
from i4d.config import Config, EditorConfig
from i4d.editors.registry import editor_kind, kind_of_weights
from i4d.errors import ConfigError, WeightsError
from i4d.report.footage import Footage
from i4d.store.run_folder import RunFolder

LEFT = "-9,-9,0,0,9,99"  # the left half of the demo's room
PLUGINS = Path(__file__).parents[1] / "plugins"
WORDS = ["--scene", "demo", "--prompt", "Turn it red", "--set", "editor.kind=tint", "--weights", "auto"]


@pytest.fixture
def options(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL.replace("fit_steps: 24", "fit_steps: 60"))
    given = ["--config", tmp_path / "small.yaml", "--device", "cpu", "--data", tmp_path / "data"]
    return [*given, "--set", "schedule.rounds=1"]


def redder(out):
    """Return by how much edited frames of a run are redder than their originals, mean of all edited views."""
    footage = Footage(RunFolder.open(out))
    differences = []
    for view in footage.scene.train_views:
        for frame in range(footage.scene.num_frames):
            before, after = footage.original(view, frame), footage.edited_frame(view, frame)
            differences.append((after.astype(float) - before).mean((0, 1)))
    red, green, blue = np.mean(differences, 0)
    return red - max(green, blue)


def test_a_foreign_editor_edits_inside_masks_resumes_and_is_evaluated(tmp_path, installed, options, capsys):
    out = tmp_path / "run"
    assert run("edit", *WORDS, "--out", out, "--local", *options) == 0
    assert "a tint knows red and blue" in capsys.readouterr().err
    assert redder(out) > 10
    told = json.loads((out / "metrics.json").read_text())
    assert told["unet_forwards"] > 0
    before = sorted(p.name for p in (out / "store").rglob("*") if p.is_file())
    assert run("eval", out) == 0 and run("resume", out, "--local") == 0
    assert sorted(p.name for p in (out / "store").rglob("*") if p.is_file()) == before
    identity = json.loads((out / "identity.json").read_text())
    assert identity["editor.kind"] == "tint" and identity["editor.weights"] == "tint"

    again = tmp_path / "again"
    assert run("edit", *WORDS, "--ckpt", out, "--out", again, "--where=" + LEFT, "--local", *options) == 0
    footage = Footage(RunFolder.open(again))
    view = footage.scene.train_views[0]
    changed = np.abs(footage.edited_frame(view, 0).astype(float) - footage.original(view, 0)).max(-1) > 2
    assert 0.05 < changed.mean() < 0.95, "only the box changes"


def test_a_foreign_editor_edits_on_ray(tmp_path, installed, options):
    pytest.importorskip("ray")
    out = tmp_path / "run"
    given = [sys.executable, "-m", "i4d", "edit", *WORDS, "--out", out, "--editors", "2", *options]
    done = subprocess.run([str(part) for part in given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert redder(out) > 10


def test_a_foreign_editor_is_tried_and_doctored(tmp_path, installed, options, capsys):
    sheet = tmp_path / "sheet"
    assert run("try", *WORDS, "--frames", "2", "--out", sheet, *options[:2], *options[4:6]) == 0
    assert (sheet / "sheet.png").exists()
    run(
        "doctor",
        "--scene",
        "demo",
        "--set",
        "editor.kind=tint",
        "--weights",
        "auto",
        "--data",
        tmp_path / "data",
    )
    assert "tint, needs no weights" in capsys.readouterr().out


def test_memory_is_predicted_by_the_kind(installed):
    config = Config()
    config.editor.kind, config.editor.batch = "tint", 3
    assert editor_bytes(config, "tint", 20, 10, 1 << 40) == CONTEXT_BYTES + 12 * 3 * 20 * 10


def test_kinds_and_weights_that_nobody_loads_are_told(tmp_path, installed):
    with pytest.raises(ConfigError, match=r"editor.kind = tin: .*there are broken, instruct_pix2pix, tint"):
        editor_kind(EditorConfig(kind="tin"))
    with pytest.raises(ConfigError, match=r"editor.kind = broken: .*toy_kinds.nothing:KIND is broken"):
        editor_kind(EditorConfig(kind="broken"))
    assert editor_kind(EditorConfig()).name == "instruct_pix2pix", "names of the package cannot be taken"
    with pytest.raises(WeightsError, match="a tint needs none"):
        editor_kind(EditorConfig(kind="tint")).resolve("tiny-ip2p", "cpu")
    (tmp_path / "model_index.json").write_text('{"_class_name": "NobodysPipeline"}')
    with pytest.raises(WeightsError, match="weights of a NobodysPipeline, which no kind of editor here"):
        kind_of_weights(str(tmp_path))
