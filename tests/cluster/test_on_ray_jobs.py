"""Submitting runs to a head node that was started by `ray start`: the code travels, the job joins its
cluster.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from i4d.errors import ClusterError, ConfigError

TESTS = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The jobs of a head node of our own, with its dashboard."""
    from i4d.exec.on_ray.jobs import Jobs

    folder = tmp_path_factory.mktemp("head")
    gcs, dashboard, agent = free_port(), free_port(), free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += [
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        f"--ray-client-server-port={free_port()}",
    ]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONPATH"}
    with open(folder / "log", "w") as log:
        env = {**clean, "RAY_AUTH_MODE": "disabled"}
        head = subprocess.Popen(
            command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + 60
        jobs = None
        while jobs is None:
            try:
                jobs = Jobs(f"http://127.0.0.1:{dashboard}")
            except ClusterError:
                if head.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.5)  # between two attempts to connect
        yield jobs
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(30)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in ("null_job.py", "null_services.py"):
        shutil.copy(TESTS / name, folder)
    return folder


def test_a_job_runs_with_our_code_in_its_cluster_and_is_followed(jobs, files):
    id = jobs.submit(["a b", "$HOME"], files, {"scene": "demo"}, module="null_job")
    text = "".join(jobs.follow(id))
    assert "started here: False; the service counts 1; told: ['a b', '$HOME']" in text, text
    job = jobs.get(id)
    assert (job.status, job.ended, job.metadata["scene"]) == ("SUCCEEDED", True, "demo")
    assert sys.executable in job.entrypoint
    assert jobs.logs(id) == text and id in [j.id for j in jobs.list()]
    assert jobs.stop(id) is False


def test_a_failed_job_says_so_and_a_running_one_can_be_stopped(jobs, files):
    failing, hanging = (
        jobs.submit(["fail"], files, module="null_job"),
        jobs.submit(["hang"], files, module="null_job"),
    )
    for _ in jobs.follow(failing):
        pass
    assert jobs.get(failing).status == "FAILED"
    pieces = jobs.follow(hanging)
    assert any("service counts 1" in piece for piece in pieces)
    assert jobs.stop(hanging) is True
    for _ in jobs.follow(hanging):
        pass
    assert jobs.get(hanging).status == "STOPPED"


def test_a_job_that_nobody_knows_is_named(jobs):
    with pytest.raises(ConfigError, match="no job is called 'nobody'"):
        jobs.logs("nobody")


def test_a_dashboard_that_is_not_there_is_one_line():
    from i4d.exec.on_ray.jobs import Jobs

    with pytest.raises(ClusterError, match="no Ray answers at") as caught:
        Jobs(f"http://127.0.0.1:{free_port()}")
    assert "\n" not in str(caught.value)
