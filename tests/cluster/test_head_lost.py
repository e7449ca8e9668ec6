"""The head node is lost: the run ends with one line and its code, leaves nothing behind, and goes on on
another cluster.
"""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ray_nodes import ray_nodes

from i4d.exec.on_ray.head import HeadWatch, answers

TESTS = Path(__file__).parents[1]
DRIVE = [sys.executable, str(TESTS / "drive_null.py")]

HANGS = """
import threading
from i4d.exec.on_ray.head import HeadWatch
watch = HeadWatch("127.0.0.1:{port}", gone_s=0.2, last_s=0.2, period_s=0.1)
threading.Event().wait()
"""


def until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)  # another thread or process is waited for


def test_a_head_is_gone_when_it_has_not_answered_for_a_while_and_not_before():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = HeadWatch(f"127.0.0.1:{port}", gone_s=0.5, last_s=60, period_s=0.05)
        assert answers(watch.address) and not watch.gone
    began = time.monotonic()
    until(lambda: watch.gone)
    assert time.monotonic() - began > 0.4 and not answers(watch.address)
    with socket.create_server(("127.0.0.1", port)):
        until(lambda: not watch.gone)  # it came back
    watch.stop()
    assert "has not answered for 0.5 s" in str(watch.error()) and watch.error().exit_code == 5


def test_a_process_that_hangs_in_a_call_to_a_lost_head_is_ended_with_one_line():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-c", HANGS.format(port=port)], capture_output=True, text=True, timeout=120
    )
    (line,) = done.stderr.splitlines()
    assert (
        done.returncode == 5
        and line.startswith(f"error: the cluster's head node at 127.0.0.1:{port}")
        and "i4d resume" in line
    )


def events_of(path):
    file = path / "events.jsonl"
    return (
        [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
        if file.exists()
        else []
    )


@pytest.mark.slow
def test_a_run_that_loses_its_head_goes_on_on_another_cluster(tmp_path):
    path, out = tmp_path / "run", None
    with ray_nodes(tmp_path / "one", workers=2) as nodes:
        threads = subprocess.run(
            [*DRIVE, str(tmp_path / "threads"), "--delay", "0"], env=nodes.env, capture_output=True, text=True
        )
        command = [*DRIVE, str(path), nodes.address, "--editors", "3", "--delay", "12"]
        driver = subprocess.Popen(
            command, env=nodes.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            stored = lambda: sum(e["event"] == "WindowStored" for e in events_of(path))
            until(lambda: stored() >= 2 or driver.poll() is not None, 240)
            pids = [e["pid"] for e in events_of(path) if e["event"] == "WorkerReady"]
            assert len(pids) == 4 and all(map(psutil.pid_exists, pids))
            nodes.head.kill()
            out, err = driver.communicate(timeout=59)  # Ray would end it after 60 s, with a text of its own
        finally:
            driver.kill()
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (
            driver.returncode == 5
            and len(lines) == 1
            and "head node" in lines[0]
            and "i4d resume" in lines[0]
        ), err
        assert events_of(path)[-1]["event"] == "RunFailed" and not out
        until(lambda: not any(map(psutil.pid_exists, pids)))
    done = {e["task"] for e in events_of(path) if e["event"] == "WindowStored"}
    with ray_nodes(tmp_path / "two", workers=2) as nodes:
        command = [*DRIVE, str(path), nodes.address, "--editors", "2", "--delay", "0.2", "--resume"]
        resumed = subprocess.run(command, env=nodes.env, capture_output=True, text=True, timeout=240)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1]) == json.loads(threads.stdout)
    fresh = [e["task"] for e in events_of(path) if e["event"] == "WindowStored" and not e["reused"]]
    assert len(done) >= 2 and len(fresh) == len(set(fresh)) == 9, "no window lost, none computed twice"
