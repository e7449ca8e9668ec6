"""A run over three Ray nodes; one of them dies in the middle: the digests are those of an undisturbed run on
threads.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_nodes import ray_nodes

TESTS = Path(__file__).parents[1]
DRIVE = [sys.executable, str(TESTS / "drive_null.py")]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ray_nodes(tmp_path_factory.mktemp("nodes"), workers=3) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def expected(nodes, tmp_path_factory):
    command = [*DRIVE, str(tmp_path_factory.mktemp("t") / "threads"), "--delay", "0"]
    out = subprocess.run(command, env=nodes.env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def events_of(path):
    file = path / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(path, process, kind, count, timeout_s=120):
    """Return the events once `count` of a kind are there."""
    until = time.monotonic() + timeout_s
    while True:
        seen = events_of(path)
        if sum(event["event"] == kind for event in seen) >= count:
            return seen
        assert process.poll() is None and time.monotonic() < until, (
            seen[-3:],
            process.stderr.read() if process.poll() else "",
        )
        time.sleep(0.1)  # the driver is another process: its file is all there is to look at


@pytest.mark.slow
def test_a_node_that_dies_in_the_middle_changes_nothing(nodes, expected, tmp_path):
    path = tmp_path / "run"
    command = [*DRIVE, str(path), nodes.address, "--editors", "3", "--delay", "0.5"]
    process = subprocess.Popen(
        command, env=nodes.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        seen = wait_for(path, process, "WindowStored", 2)
        where = {e["worker"]: e["pid"] for e in seen if e["event"] == "WorkerReady"}
        held = {
            name: {service for service, pid in where.items() if pid in node.pids()}
            for name, node in nodes.workers.items()
        }
        assert sum(map(len, held.values())) == 4 and all(held.values()), f"spread over all nodes: {held}"
        victim = next(name for name, services in held.items() if "trainer" in services)
        nodes.kill_worker(victim)
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, err
    told = json.loads(out.splitlines()[-1])  # Ray tells of the dead node before it
    assert told == expected
    seen = events_of(path)
    restarted = {e["worker"] for e in seen if e["event"] == "WorkerRestarted"}
    assert "trainer" in restarted and restarted <= {"trainer", "editor-0", "editor-1", "editor-2"}
    stored = [e["task"] for e in seen if e["event"] == "WindowStored"]
    assert len(stored) == len(set(stored)) == 9, "no window lost, none counted twice"


@pytest.mark.slow
def test_editors_join_when_a_node_comes(nodes, expected, tmp_path):
    path = tmp_path / "run"
    while len(nodes.workers) > 1:
        nodes.kill_worker(sorted(nodes.workers)[-1])
    command = [*DRIVE, str(path), nodes.address, "--editors", "1", "--joining", "2", "--delay", "6"]
    process = subprocess.Popen(
        command, env=nodes.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(path, process, "KeyFrameStepStored", 1)
        nodes.add_worker()
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == expected
    by = [e["worker"] for e in events_of(path) if e["event"] == "WindowStored"]
    assert len(by) == 9 and by[0] == "editor-0" and len(set(by)) > 1, f"the windows went to {by}"
