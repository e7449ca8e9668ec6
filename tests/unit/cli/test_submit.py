"""`submit` takes what `edit` takes, and sends it: settings in the job's file, places as the cluster must find
them.
"""

import inspect
from pathlib import Path

import pytest
import yaml

from i4d import cli
from i4d import config as cfg
from i4d.commands import jobs
from i4d.commands.options import EDITING
from i4d.commands.run_request import Request
from i4d.config import Config
from i4d.store.run_folder import RunFolder


class Sent:
    """Jobs of a cluster that is not there: remembers what it was sent."""

    url = "http://127.0.0.1:8265"
    jobs = []

    def __init__(self, address):
        type(self).jobs = []

    def submit(self, arguments, files=None, metadata=None, env=None, python="", module="i4d", id=None):
        config = yaml.safe_load((files / "run.yaml").read_text()) if files else {}
        self.jobs.append((list(arguments), config, dict(metadata or {})))
        return "job-1"

    def follow(self, id):
        yield ""

    def get(self, id):
        return jobs.Job(id, "SUCCEEDED", "", "", 0.0, 0.0, {})


@pytest.fixture
def submitted(monkeypatch, tmp_path):
    """Run `i4d submit` in an empty folder and return what was sent."""
    monkeypatch.setattr(jobs, "Jobs", Sent)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(
                ["submit", "--scene", "demo", "--prompt", "make it night", "--out", "runs/night", *arguments]
            )
        assert end.value.code in (0, None)
        return Sent.jobs

    return run


def test_submit_and_edit_take_the_same_options():
    edit, submit = (set(inspect.signature(command).parameters) for command in (cli.edit, cli.submit))
    assert set(EDITING) < edit and edit - submit == {"local"}, "all but threads of this process"


def test_settings_travel_in_the_jobs_file(submitted):
    guidance = ("--guidance-scale", "8.5", "--image-guidance-scale", "1.25")
    options = (*guidance, "--rounds", "3", "--sequence-length", "7", "--diffusion-steps", "11")
    ((arguments, config, about),) = submitted("--no-probe", *options)
    assert arguments[:3] == ["edit", "--config", "run.yaml"] and "--ckpt" not in arguments
    assert (config["editor"]["text_guidance"], config["editor"]["image_guidance"]) == (8.5, 1.25)
    assert [config["schedule"][key] for key in ("rounds", "sequence_length", "diffusion_steps")] == [3, 7, 11]
    assert about["run"] == "night" and about["prompt"] == "make it night"


def test_places_travel_as_the_cluster_finds_them_and_are_looked_for_there(
    submitted, tiny_editor_folder, tmp_path
):
    Path("weights").symlink_to(tiny_editor_folder)
    Path("field.safetensors").touch()
    (probe, _, _), (arguments, config, _) = submitted("--weights", "weights", "--ckpt", "field.safetensors")
    assert config["editor"]["weights"] == str(tmp_path / "weights")
    assert arguments[arguments.index("--ckpt") + 1] == str(tmp_path / "field.safetensors")
    assert probe[0] == "readable" and {str(tmp_path / "weights"), str(tmp_path / "field.safetensors")} < set(
        probe
    )


def test_many_prompts_and_a_trained_field_exclude_each_other(submitted, capsys, tmp_path):
    Path("prompts.txt").write_text("make it night\nmake it gold\n")
    with pytest.raises(SystemExit) as end:
        cli.main(
            [
                "submit",
                "--scene",
                "demo",
                "--prompts-file",
                "prompts.txt",
                "--ckpt",
                "f.safetensors",
                "--out",
                "runs/x",
            ]
        )
    assert end.value.code == 2 and "--prompts-file and --ckpt exclude each other" in capsys.readouterr().err


def test_a_run_that_goes_on_as_a_job_is_looked_for_there_first(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "Jobs", Sent)
    config = Config()
    config.scene.root, config.local.where = "/data/kitchen", "/data/masks"
    run = RunFolder.create(tmp_path / "run", cfg.to_dict(config))
    Request("edit", "make it night").write(run)
    for options, commands in (((), ["readable", "resume"]), (("--no-probe",), ["resume"])):
        with pytest.raises(SystemExit) as end:
            cli.main(["resume", str(run.path), "--job", Sent.url, *options])
        assert not end.value.code and [arguments[0] for arguments, *_ in Sent.jobs] == commands
    assert jobs._places(config, run.path) == ["/data/kitchen", "/data/masks", str(run.path)]
