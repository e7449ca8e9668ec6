"""The command line on Ray: a local one by itself, and a job on a head node that was there before."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i4d import cli
from i4d.store.run_folder import RunFolder

SMALL = """
scene: {width: 48, height: 36, num_frames: 3, drop: [cam02, cam03, cam04, cam05, cam06, cam07, cam08]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 16, refit_steps: 8, rays: 64, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 1, key_views: 2, diffusion_steps: 2, refine_diffusion_steps: 1,
  restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
cluster: {threads: 1, dashboard: false}
"""


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code or 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray-e2e")
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def common(place, tiny_editor_folder):
    data = ["--data", place / "data", "--config", place / "small.yaml"]
    return [*data, "--prompt", "make it night", "--set", f"editor.weights={tiny_editor_folder}", "--device", "cpu"]


@pytest.fixture(scope="module")
def on_threads(place, common):
    out = place / "threads"
    assert run("edit", "--scene", "demo", "--out", out, "--local", *common) == 0
    return digests(out)


def digests(out):
    return {index: (m["table"], m["checkpoint"]["digest"]) for index, m in RunFolder.open(out).manifests().items()}


def test_a_local_ray_gives_what_threads_give(place, common, on_threads, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place / "token"))
    out = place / "ray"
    assert run("edit", "--scene", "demo", "--out", out, "--editors", "2", *common) == 0
    assert digests(out) == on_threads
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"trainer", "editor-0", "editor-1"} == {worker["name"] for worker in metrics["workers"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def dashboard(place):
    """The dashboard's address of a head node of our own."""
    gcs, port, agent = free_port(), free_port(), free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={gcs}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={agent}"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats", f"--ray-client-server-port={free_port()}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONPATH"}
    with open(place / "head.log", "w") as log:
        head = subprocess.Popen(
            command, env={**env, "RAY_AUTH_MODE": "disabled"}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert head.poll() is None and time.monotonic() < until, (place / "head.log").read_text()
            time.sleep(0.5)  # between two attempts to connect
        yield f"http://127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(30)


def test_a_submitted_edit_is_followed_to_its_end(place, common, on_threads, dashboard, capfd):
    out = place / "submitted"
    assert run("submit", "--address", dashboard, "--scene", "demo", "--out", out, "--follow", *common) == 0
    told = capfd.readouterr().out
    assert "SUCCEEDED" in told and f"report: {out}/report/index.html" in told
    assert digests(out) == on_threads
    id = next(line.split()[1] for line in told.splitlines() if line.startswith("job: "))
    assert run("jobs", "--address", dashboard) == 0
    assert "make it night" in capfd.readouterr().out
    assert run("status", id, "--address", dashboard) == 0 and run("logs", id, "--address", dashboard) == 0
    told = capfd.readouterr().out
    assert f"{id}: SUCCEEDED" in told and "round 1 of 1" in told
    assert run("stop", id, "--address", dashboard) == 0


def test_a_path_that_the_cluster_cannot_read_is_named_with_its_node(place, common, dashboard, capfd):
    elsewhere = ["--scene", "pose2sim", "--set", "scene.root=/nowhere/at/all"]
    code = run("submit", "--address", dashboard, *elsewhere, "--out", place / "x", *common)
    told = capfd.readouterr().err
    assert code == 5 and "/nowhere/at/all cannot be read on node" in told and not (place / "x").exists()
