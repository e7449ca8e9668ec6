"""`i4d --help` answers at once: nothing heavy is imported before a command's body."""

import subprocess
import sys

import pytest

from i4d import cli

COMMANDS = (
    "edit",
    "train",
    "prepare",
    "resume",
    "render",
    "eval",
    "report",
    "submit",
    "jobs",
    "status",
    "logs",
    "stop",
    "scenes",
    "doctor",
    "compare",
    "ablate",
    "locate",
)
HEAVY = ("torch", "ray", "numpy", "diffusers", "transformers", "yaml", "rich.progress")


def test_help_is_quick_and_imports_nothing_heavy():
    code = f"""
import sys, i4d.cli
try:
    i4d.cli.main(["--help"])
except SystemExit as end:
    assert end.code in (0, None), end.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


def test_no_summary_is_cut_off_in_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out.split("Commands:")[1].strip().splitlines()
    assert len(listed) > len(COMMANDS) and not [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_example(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code in (0, None)
    assert f"i4d {command}" in capsys.readouterr().out.split("Example:")[1]


def test_the_names_of_the_authors_code_are_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["edit", "--help"])
    text = capsys.readouterr().out
    for name in (
        "--guidance-scale",
        "--image-guidance-scale",
        "--diffusion-steps",
        "--refine-num-steps",
        "--refine-diffusion-steps",
        "--restview-refine-num-steps",
        "--restview-refine-diffusion-steps",
        "--sequence-length",
        "--ckpt",
    ):
        assert name in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["edit"],
        ["edit", "--nonsense"],
        ["nonsense"],
        ["edit", "--prompt", "x", "--out", "y", "--editors", "many"],
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_exit_2(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    told = capsys.readouterr().err.strip()
    assert end.value.code == 2 and told.startswith("error: ") and "\n" not in told
