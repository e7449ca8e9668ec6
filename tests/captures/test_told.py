"""What was decided is told by the commands, kept in the run and shown on the page."""

import json

import pytest
import yaml
from capture_inputs import CASES, clean_demo

from i4d import cli
from i4d.commands.doctor import examine
from i4d.config import Config, merge
from i4d.report.capture import capture_section
from i4d.scenes.record import scene_from_dict
from i4d.store.objects import open_store
from i4d.store.run_folder import RunFolder


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return clean_demo(tmp_path_factory.mktemp("demo") / "clean")


def scene_file(case, clean, tmp_path):
    root = tmp_path / "scene"
    root.mkdir()
    case.make(clean, root)
    tree = {"scene": {"name": "kitchen", "root": str(root), **case.settings}}
    (tmp_path / "kitchen.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "kitchen.yaml"


def test_prepare_tells_and_keeps_what_was_decided(clean, tmp_path, capsys):
    path = scene_file(CASES["frames dropped inside a video"], clean, tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["prepare", "--scene", str(path), "--out", str(tmp_path / "run")])
    assert end.value.code == 0
    gap = "cam03: 3 of 24 frames missing (8-9, 15); the nearest stand in for them and are not trained on"
    streams = capsys.readouterr()
    assert f"input: {gap}" in (streams.out + streams.err).splitlines()
    kept = json.loads((tmp_path / "run" / "capture.json").read_text())
    assert gap in kept["notes"] and all("\n" not in note for note in kept["notes"])
    run = RunFolder(tmp_path / "run", open_store(tmp_path / "run" / "store"))
    assert scene_from_dict(run.read_json("scene.json")).missing == ((3, 8, 10), (3, 15, 16))
    section = capture_section(run)
    assert "<h2>Capture</h2>" in section and gap in section
    run.write_json("capture.json", {"notes": ["<script>"]})
    assert "<script>" not in capture_section(run)


def test_runs_that_kept_nothing_have_no_section(tmp_path):
    assert capture_section(RunFolder(tmp_path, open_store(tmp_path / "store"))) == ""


def test_doctor_tells_the_same(clean, tmp_path):
    path = scene_file(CASES["a display rotation of 180 degrees"], clean, tmp_path)
    config = Config()
    merge(config, yaml.safe_load(path.read_text()), "test")
    config.editor.weights, config.cluster.executor = "tiny-ip2p", "local"
    told = [str(finding) for finding in examine(config)]
    assert any("input" in line and "cam03: shown turned by 180 degrees" in line for line in told), told


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.refused or c.mend is not None])
def test_refusals_are_exit_code_3_and_one_line(name, clean, tmp_path, capsys):
    path = scene_file(CASES[name], clean, tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["prepare", "--scene", str(path), "--out", str(tmp_path / "run")])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert end.value.code == 3 and len(told) == 1 and CASES[name].says in told[0]
