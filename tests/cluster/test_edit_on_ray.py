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

PLUGINS = Path(__file__).parents[1] / "plugins"
SMALL = """
scene: {width: 48, height: 36, num_frames: 3, drop: [cam02, cam03, cam04, cam05, cam06, cam07, cam08]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 16, refit_steps: 8,
         rays: 64, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 1, key_views: 2, diffusion_steps: 2, refine_diffusion_steps: 1,
  restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
cluster: {threads: 1, dashboard: false}
"""


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code or 0


def run_apart(*arguments, **env):
    """Run a command in a process of its own: Ray keeps the first token that a process uses, other tests have
    others.
    """
    here = Path(cli.__file__).parents[1]
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "i4d", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path, **env}, capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray-e2e")
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def common(place, tiny_editor_folder):
    data = ["--data", place / "data", "--config", place / "small.yaml"]
    return [
        *data,
        "--prompt",
        "make it night",
        "--set",
        f"editor.weights={tiny_editor_folder}",
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="module")
def on_threads(place, common):
    out = place / "threads"
    assert run("edit", "--scene", "demo", "--out", out, "--local", *common) == 0
    return digests(out)


def digests(out):
    return {
        index: (m["table"], m["checkpoint"]["digest"]) for index, m in RunFolder.open(out).manifests().items()
    }


def test_a_local_ray_gives_what_threads_give(place, common, on_threads):
    out, token = place / "ray", str(place / "token")
    code, _, told = run_apart(
        "edit", "--scene", "demo", "--out", out, "--editors", "2", *common, RAY_AUTH_TOKEN_PATH=token
    )
    assert code == 0, told
    assert digests(out) == on_threads
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"trainer", "editor-0", "editor-1"} == {worker["name"] for worker in metrics["workers"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def dashboard(place):
    """The dashboard's address of a head node of our own, on which a package with more kinds is installed."""
    gcs, port, agent = free_port(), free_port(), free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={gcs}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={agent}"]
    command += [
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        f"--ray-client-server-port={free_port()}",
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONPATH"}
    with open(place / "head.log", "w") as log:
        head = subprocess.Popen(
            command,
            env={**env, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(PLUGINS)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
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


def test_a_submitted_edit_is_followed_to_its_end(place, common, on_threads, dashboard):
    out, at = place / "submitted", ("--address", dashboard)
    code, told, err = run_apart("submit", *at, "--scene", "demo", "--out", out, "--follow", *common)
    assert code == 0, err
    assert "SUCCEEDED" in told and f"report: {out}/report/index.html" in told
    assert digests(out) == on_threads
    id = next(line.split()[1] for line in told.splitlines() if line.startswith("job: "))
    code, told, err = run_apart("jobs", *at)
    assert code == 0 and "make it night" in told, err
    code, told, err = run_apart("status", id, *at)
    assert code == 0 and f"{id}: SUCCEEDED" in told, err
    code, told, err = run_apart("logs", id, *at)
    assert code == 0 and "round 1 of 1" in told, err
    assert run_apart("stop", id, *at)[0] == 0


def test_kinds_of_another_package_go_through_a_job(place, dashboard):
    out, at = place / "foreign", ("--address", dashboard)
    words = ["--scene", "demo", "--prompt", "Turn it red", "--field", "voxels", "--weights", "auto"]
    given = ["--data", place / "data", "--config", place / "small.yaml", "--device", "cpu"]
    more = ["--set", "editor.kind=tint", "--set", "schedule.rounds=1"]
    path = os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])
    code, told, err = run_apart(
        "submit", *at, *words, *given, *more, "--out", out, "--follow", PYTHONPATH=path
    )
    assert code == 0 and "SUCCEEDED" in told, err
    assert "a tint knows red and blue" in told
    identity = json.loads((out / "identity.json").read_text())
    assert identity["editor.kind"] == "tint" and identity["field.kind"] == "voxels"


def test_a_path_that_the_cluster_cannot_read_is_named_with_its_node(place, common, dashboard):
    elsewhere = ["--scene", "pose2sim", "--set", "scene.root=/nowhere/at/all"]
    code, _, told = run_apart("submit", "--address", dashboard, *elsewhere, "--out", place / "x", *common)
    assert code == 5 and "/nowhere/at/all cannot be read on node" in told and not (place / "x").exists()
