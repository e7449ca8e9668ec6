"""A run that is resumed after something it follows from has changed: refused by name, or begun anew from
there.
"""

import json
import shutil

import pytest
import torch
import yaml

from i4d import cli
from i4d.flow.raft import Raft
from i4d.store.run_folder import RunFolder

SMALL = """
scene: {width: 48, height: 32, num_frames: 3, drop: [cam02, cam03, cam04, cam05, cam06, cam07, cam08, cam09]}
field: {grid_start: 1000, grid_end: 2000, growth_at: [0.5], fit_steps: 8, refit_steps: 4,
        rays: 32, samples: 6, proposals: 12, shaded: 3}
editor: {image_guidance: 1.0}
schedule: {key_frame: 1, key_steps: 1, key_views: 1, diffusion_steps: 1, refine_diffusion_steps: 1,
           restview_refine_diffusion_steps: 1, sequence_length: 1, refit: barrier}
flow: {method: raft, iterations: 1}
"""


def told(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    out = capsys.readouterr()
    errors = [line for line in out.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in out.err and len(errors) <= 1
    return end.value.code or 0, out.out, "".join(errors)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_editor_folder):
    """A finished toy run and the weights that it used, to be copied by each test."""
    home = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_editor_folder, home / "editor")
    torch.manual_seed(3)
    torch.save(Raft(large=False).state_dict(), home / "raft-small.pth")
    (home / "small.yaml").write_text(SMALL)
    words = ["edit", "--scene", "demo", "--prompt", "make it night", "--out", home / "run", "--local"]
    words += ["--data", home / "data", "--config", home / "small.yaml", "--weights", home / "editor"]
    words += ["--set", f"flow.checkpoint={home / 'raft-small.pth'}", "--editors", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    assert not end.value.code
    return home


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run whose weights are copies too, at the places that the run knows."""
    kept = {name: made / name for name in ("editor", "raft-small.pth")}
    for name, place in kept.items():
        copy = tmp_path / name
        shutil.copytree(place, copy) if place.is_dir() else shutil.copy(place, copy)
    shutil.copytree(made / "run", tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text().replace(str(made), str(tmp_path))
    (tmp_path / "run" / "config.yaml").write_text(text)
    return tmp_path / "run"


def with_setting(run, section, **keys):
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree[section].update(keys)
    (run / "config.yaml").write_text(yaml.safe_dump(tree))


def other_editor(run):
    """Change one number of the editor's network, in place."""
    file = next((run.parent / "editor" / "unet").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def other_flow(run):
    torch.manual_seed(4)
    torch.save(Raft(large=False).state_dict(), run.parent / "raft-small.pth")


CHANGES = {
    "editor.weights": (other_editor, "edits"),
    "flow.checkpoint": (other_flow, "edits"),
    "field.lr_grid": (lambda run: with_setting(run, "field", lr_grid=0.03), "fit"),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_is_refused_by_name_or_begun_anew_from_its_stage(key, run, capsys, one_thread):
    change, stage = CHANGES[key]
    before = RunFolder.open(run).manifests()
    change(run)
    code, _, err = told(capsys, "resume", run, "--local", "--device", "cpu", "--editors", 1)
    assert code == 2 and f"{key} was " in err
    assert f"--allow-change begins anew from the {stage}" in err
    assert RunFolder.open(run).manifests() == before, "nothing was touched"

    words = ["resume", run, "--local", "--device", "cpu", "--editors", 1, "--allow-change"]
    code, out, err = told(capsys, *words)
    assert code == 0, err
    after = RunFolder.open(run).manifests()
    same_fit = before[0]["checkpoint"]["digest"] == after[0]["checkpoint"]["digest"]
    assert same_fit == (stage == "edits")
    if stage == "edits":  # edits that do not follow from the fit are taken over where only that has changed
        earlier, later = ({r["started_s"] for r in m[1]["receipts"].values()} for m in (before, after))
        assert later and not earlier & later
    assert told(capsys, *words[:-1])[0] == 0, "from now on it is as it was begun"


def test_a_run_as_it_was_goes_on_and_nothing_is_read_twice(run, capsys, monkeypatch, one_thread):
    from i4d.store import digests

    words = ["resume", run, "--local", "--device", "cpu", "--editors", 1]
    before = RunFolder.open(run).manifests()
    assert told(capsys, *words)[0] == 0
    monkeypatch.setattr(digests, "_known", {})
    monkeypatch.setattr(digests, "_read", lambda path: pytest.fail(f"{path} was read again"))
    assert told(capsys, *words)[0] == 0
    assert RunFolder.open(run).manifests() == before


def test_an_attention_that_was_put_back_to_auto_is_settled_as_at_the_start(run, capsys, one_thread):
    before = RunFolder.open(run).manifests()
    settled = yaml.safe_load((run / "config.yaml").read_text())["editor"]["attention"]
    with_setting(run, "editor", attention="auto")
    code, _, err = told(capsys, "resume", run, "--local", "--device", "cpu", "--editors", 1)
    assert code == 0, err
    assert settled != "auto" and RunFolder.open(run).manifests() == before


def test_what_was_prepared_cannot_be_changed(run, capsys):
    with_setting(run, "scene", width=64)
    code, _, err = told(capsys, "resume", run, "--local", "--device", "cpu", "--allow-change")
    assert code == 2 and "scene.width was 48, is 64" in err and "begin a new run" in err


def test_only_where_it_is_computed_can_be_set_of_a_run_that_goes_on(run, capsys):
    code, _, err = told(capsys, "resume", run, "--local", "--set", "field.rays=64")
    assert code == 2 and "--set field.rays" in err and "only cluster... can be set" in err


def test_nothing_is_left_open_when_the_plan_is_made(made):
    stored = yaml.safe_load((made / "run" / "config.yaml").read_text())
    for section in ("field", "editor", "flow"):
        assert "auto" not in stored[section].values() and None not in stored[section].values(), section
    assert "cluster" not in stored
    plan = json.loads((made / "run" / "plan.json").read_text())
    assert plan["identity"]["flow"].startswith("raft-small-") and "weights " in plan["identity"]["editor"]
    assert plan["settings"]["identity"] == f"{plan['identity']['editor']}; {plan['identity']['flow']}"
