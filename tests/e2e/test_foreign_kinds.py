"""A kind of field in a package of its own goes through the command line; nothing in i4d knows it."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_demo import SMALL, run

from i4d.commands.peaks import CONTEXT_BYTES, trainer_bytes
from i4d.config import Config
from i4d.errors import ConfigError, FitError
from i4d.fields.registry import field_kind, kind_of, peek
from i4d.metrics.registry import all_metrics
from i4d.metrics.table import docs_table
from i4d.report.comparison import Cell, as_csv, markdown, rows_of
from i4d.report.viewing import RunViews
from i4d.store.run_folder import RunFolder

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def options(tmp_path, tiny_editor_folder):
    (tmp_path / "small.yaml").write_text(SMALL.replace("fit_steps: 24", "fit_steps: 60"))
    given = ["--config", tmp_path / "small.yaml", "--weights", tiny_editor_folder, "--device", "cpu"]
    return ["--local", "--data", tmp_path / "data", *given, "--set", "schedule.rounds=1"]


def test_a_foreign_field_is_fitted_edited_refitted_shown_and_started_from(tmp_path, installed, options):
    out = tmp_path / "run"
    words = ["--scene", "demo", "--prompt", "Turn it blue", "--field", "voxels"]
    assert run("edit", *words, "--out", out, *options) == 0
    told = json.loads((out / "metrics.json").read_text())
    assert told["reconstruction"]["psnr_db"] > 12
    assert "toy_kinds" in sys.modules

    views = RunViews(RunFolder.open(out), "cpu")
    assert type(views.field(1)).__name__ == "Voxels"
    picture = views.render(views.scene.cameras[0], 0, 1)
    assert picture.shape == (36, 48, 3) and np.ptp(picture) > 0
    assert run("eval", out) == 0 and run("resume", out, "--local") == 0

    again = tmp_path / "again"
    plain = [*words[:4], "--ckpt", out]
    assert run("edit", *plain, "--out", again, *options) == 0
    assert RunFolder.open(again).config()["field"]["kind"] == "voxels", "the checkpoint says the kind"


def test_a_foreign_field_is_fitted_on_ray(tmp_path, installed, options):
    pytest.importorskip("ray")
    out = tmp_path / "run"
    words = ["train", "--scene", "demo", "--out", str(out), "--set", "field.kind=voxels"]
    given = dict(zip(options[1::2], options[2::2], strict=True))  # pairs behind --local
    by_ray = [str(o) for key in ("--data", "--config", "--device") for o in (key, given[key])]
    done = subprocess.run([sys.executable, "-m", "i4d", *words, *by_ray], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert peek((next((out / "store").rglob("*.safetensors"))).read_bytes()).kind == "voxels"


def test_memory_is_predicted_by_the_kind(installed):
    config = Config()
    config.field.kind = "voxels"
    assert trainer_bytes(config, 50) == CONTEXT_BYTES + 16 * 16**3


def test_kinds_that_are_not_there_are_told(installed):
    with pytest.raises(ConfigError, match=r"field.kind = voxel: .*there are broken, vector_matrix, voxels"):
        field_kind("voxel")
    with pytest.raises(ConfigError, match=r"field.kind = broken: .*toy_kinds.nothing:KIND is broken"):
        field_kind("broken")
    assert field_kind("voxels").name == "voxels"
    assert field_kind("vector_matrix").name == "vector_matrix", "names of the package cannot be taken"
    with pytest.raises(FitError, match="not a field checkpoint"):
        kind_of(b"nothing")


def test_without_its_package_a_checkpoint_names_what_is_missing():
    header = json.dumps({"__metadata__": {"i4d": json.dumps({"format": "toy voxels 1"})}}).encode()
    data = len(header).to_bytes(8, "little") + header
    with pytest.raises(FitError, match="format 'toy voxels 1'.*install the package"):
        kind_of(data)


def test_a_foreign_reader_reads_a_scene_and_its_field_is_fitted(tmp_path, installed):
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (96, 72))
    lines = []
    for index in range(3):
        (tmp_path / "squares" / f"c{index}").mkdir(parents=True)
        lines.append(f"c{index},60,{0.1 * index},0,0\n")
        for frame in range(2):
            seen = texture[10:46, 12 + 2 * index : 60 + 2 * index]
            cv2.imwrite(str(tmp_path / "squares" / f"c{index}" / f"{frame:04d}.png"), seen)
    (tmp_path / "squares" / "poses.csv").write_text("".join(lines))
    scene = tmp_path / "scene.yaml"
    scene.write_text(
        f"scene: {{name: squares, reader: squares, root: {tmp_path / 'squares'}, held_out: [c1], "
        "check: false}\n"
    )
    given = ["--local", "--device", "cpu", "--set", "field.kind=voxels", "--set", "field.fit_steps=80"]
    out = tmp_path / "run"
    assert run("train", "--scene", scene, "--out", out, *given, "--set", "field.rays=128") == 0
    assert json.loads((out / "metrics.json").read_text())["reconstruction"]["psnr_db"] > 12
    assert RunFolder.open(out).needed_json("scene.json")["cameras"][0]["name"] == "c0"


def test_a_reader_that_is_not_there_is_told(tmp_path, capsys):
    scene = tmp_path / "scene.yaml"
    scene.write_text("scene: {name: x, reader: squares, root: .}\n")
    assert run("train", "--scene", scene, "--out", tmp_path / "run", "--local", "--device", "cpu") == 2
    told = capsys.readouterr().err
    assert "scene.reader = squares" in told and "nerfstudio" in told


def test_a_foreign_metric_is_shown_everywhere_by_being_registered(tmp_path, installed, options, capsys):
    out, table = tmp_path / "run", tmp_path / "figures.csv"
    assert run("edit", "--scene", "demo", "--prompt", "Turn it blue", "--out", out, *options) == 0
    told = json.loads((out / "metrics.json").read_text())
    found = told["edit"]["saturation"]
    assert 0 < found["value"] < 1 and found["frames"] == 4
    value = f"{found['value']:.2f}"

    capsys.readouterr()
    assert run("eval", out, "--csv", table) == 0
    shown = capsys.readouterr()
    assert f"  Saturation of the edit {value:>24}" in shown.out
    page = (out / "report" / "index.html").read_text()
    assert "Saturation of the edit<small>Mean saturation" in page and f"<b>{value}</b>" in page
    lines = {line["key"]: line for line in csv.DictReader(table.open())}
    assert float(lines["edit.saturation"]["value"]) == found["value"]
    assert lines["edit.saturation"]["better"] == "higher" and lines["edit.look.contrast"]["value"] == ""

    rows = rows_of([(Cell("blue", "i4d", RunFolder.open(out)), told)])
    assert "Saturation of the edit ↑" in markdown("t", rows)
    (compared,) = csv.DictReader(io.StringIO(as_csv(rows)))
    assert float(compared["saturation"]) == found["value"]
    assert "| `edit.saturation` | *Saturation of the edit*: Mean" in docs_table(all_metrics()[0])

    # those that do not work are named, and cost nothing else
    warned = " ".join(told["warnings"])
    for text in ("Contrast (edit.look.contrast) could not be measured: ZeroDivisionError", "Grain", "gone"):
        assert text in warned and text in shown.err
    assert "metric = taken: key 'edit.temporal' is taken by 'Flicker" in warned and len(told["warnings"]) == 4
    assert "no &lt;contrast&gt;" in page and "no <contrast>" not in page
    assert "failed: ZeroDivisionError" in told["edit"]["look"]["contrast"]["reason"]
    assert told["edit"]["temporal_warp_error"] > 0 and told["edit"]["look"]["sharpness_kept"]["value"] > 0


def test_metrics_of_an_edit_are_not_asked_of_a_run_without_one(tmp_path, installed, options):
    out, at = tmp_path / "run", options.index("--weights")
    plain = options[:at] + options[at + 2 :]
    assert run("train", "--scene", "demo", "--out", out, *plain) == 0
    told = json.loads((out / "metrics.json").read_text())
    assert "edit" not in told and told["reconstruction"]["psnr_db"] > 0
    assert "Saturation" not in (out / "report" / "index.html").read_text()
