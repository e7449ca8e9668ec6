"""Two processes that fit one field: the same field in both, and as good per ray as one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i4d.errors import FitError
from i4d.fields.group import Group

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).parent / "group_member.py"


def members(size, steps, *more):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    env = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    )
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(size), address, str(steps), *more],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    out = []
    for process in started:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr[-1500:]
        out.append(json.loads(stdout.splitlines()[-1]))
    return out


def test_two_processes_hold_one_field_and_learn_from_each_others_rays():
    first, second = members(2, 40)
    (alone,) = members(1, 80)
    assert first["digest"] == second["digest"] != alone["digest"]
    assert first["rays"] == alone["rays"] == 80 * 256
    # so short a fit counts its steps as well as its rays: without longer steps for groups it is 4 dB behind
    assert first["db"] > 14 and first["db"] > alone["db"] - 2.5, (first, alone)


def test_two_processes_correct_cameras_alike():
    first, second = members(2, 20, "refined")
    fixed, _ = members(2, 20)
    assert first["digest"] == second["digest"] != fixed["digest"]


def test_a_group_that_cannot_meet_says_where(monkeypatch):
    monkeypatch.setattr("i4d.fields.group.TIMEOUT_S", 0.5)
    with pytest.raises(FitError, match="trainer 1 of 2 did not meet the others at 127.0.0.1:9"):
        Group(1, 2, "127.0.0.1:9", torch.device("cpu"))
