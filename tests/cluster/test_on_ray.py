"""Ray keeps the contract of executors, and the driver's results on it are those on threads."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from executor_contract import WAIT_S, ExecutorContract, ask, digests_do_not_depend_on, spec
from null_rig import NullRig
from together_rig import ALONE, TOGETHER, Remembering, together_rig

from i4d.config import ClusterConfig
from i4d.driver import events
from i4d.errors import ClusterError, FitError, WorkerLost
from i4d.exec.local import LocalExecutor
from i4d.exec.on_ray.executor import RayExecutor
from i4d.exec.on_ray.session import connect, probe, token_file
from i4d.exec.placement import Peaks, place, service_specs
from i4d.exec.protocol import Handle, ServiceSpec
from i4d.exec.together import Together
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.services.trainer import ONLY_FIRST, TrainerScene
from i4d.store.blocks import write_block
from i4d.store.objects import open_store
from i4d.types import Bounds, Camera, TableRun


@pytest.fixture(scope="module")
def session(ray_token):
    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(ray_token)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [os.path.dirname(os.path.dirname(__file__)), before.get("PYTHONPATH", "")]
    )
    session = connect(dashboard=False, num_cpus=4, num_gpus=3)  # GPUs in name only
    yield session
    session.close()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def executor(session):
    executor = RayExecutor()
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def on_threads(tmp_path_factory):
    local = LocalExecutor()
    result = NullRig(tmp_path_factory.mktemp("threads") / "run").go(local, 2)
    local.shutdown()
    return result


class TestRay(ExecutorContract):
    pass


def test_services_are_processes_with_fixed_threads(executor):
    handle = executor.start(ServiceSpec("echo", "null_services:Echo", threads=3), WAIT_S)
    assert ask(executor, handle, "pid") != os.getpid()
    assert ask(executor, handle, "threads") == "3"


@pytest.mark.parametrize("editors", [1, 2, 3])
def test_digests_are_those_of_threads(tmp_path, executor, on_threads, editors):
    digests_do_not_depend_on(NullRig(tmp_path / "run"), executor, on_threads, editors)


def test_digests_survive_the_kill_of_an_editor_process(tmp_path, executor, on_threads):
    rig = NullRig(tmp_path / "run")
    killed = []

    def kill(event):
        if isinstance(event, events.WindowStored) and not killed:
            ready = [e for e in rig.events if isinstance(e, events.WorkerReady) and e.worker == "editor-0"]
            killed.append(ready[-1].pid)
            os.kill(ready[-1].pid, signal.SIGKILL)

    digests_do_not_depend_on(rig, executor, on_threads, 2, [kill])
    assert killed and "WorkerRestarted" in rig.kinds()


class Told(Remembering, RayExecutor):
    """Remembers which windows went together."""


def test_an_editor_that_dies_and_a_window_that_fails_among_others_in_one_call(session, tmp_path):
    on_threads = LocalExecutor()
    alone = together_rig(tmp_path / "alone").go(on_threads, 2, limits=ALONE)
    on_threads.shutdown()
    executor, rig = Told(), together_rig(tmp_path / "together", die_on="r1/v04/w03", fail_on="r1/v09/w05")
    try:
        assert rig.go(executor, 2, limits=TOGETHER).digest == alone.digest
    finally:
        executor.shutdown()
    retried = [e for e in rig.events if isinstance(e, events.WindowRetried)]
    assert {e.attempt for e in retried} == {1} and len(retried) == len({e.task for e in retried})
    assert sum(len(m) > 1 for m in executor.messages) > 10, (
        "most calls carry several windows; which ones is a matter of moments"
    )
    died = next((m for m in executor.messages if "r1/v04/w03" in m), ["r1/v04/w03"])
    lost = {e.task for e in retried if "lost during" in e.reason}
    assert set(died) <= lost and len(lost) <= 6, "its two calls of three windows at most, and no others"
    assert {e.task for e in retried} - lost <= {"r1/v09/w05"} and "r1/v09/w05" in {e.task for e in retried}
    stored = [e.task for e in rig.events if isinstance(e, events.WindowStored)]
    assert len(stored) == len(set(stored)) == 96


def test_more_than_exists_is_refused_before_any_work(executor):
    began = time.monotonic()
    with pytest.raises(ClusterError, match="5 GPUs asked, 3 available"):
        executor.start(ServiceSpec("echo", "null_services:Echo", num_gpus=5), WAIT_S)
    with pytest.raises(ClusterError, match="400 CPUs asked, 4 available"):
        executor.start(ServiceSpec("echo", "null_services:Echo", num_cpus=400), WAIT_S)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("gpus, cards", [(3, 3), (1, 1)])
def test_services_get_the_cards_that_the_placement_says(executor, gpus, cards):
    placement = place(executor.resources(), ClusterConfig(gpus=gpus), Peaks(), 9)
    specs = service_specs(placement, ("null_services:Echo", {}), ("null_services:Echo", {}))
    seen = [ask(executor, handle, "cards") for handle in executor.start_all(specs, WAIT_S)]
    assert len(seen) == max(2, gpus) and len(set(seen)) == cards and all(len(s.split(",")) == 1 for s in seen)


def test_what_is_in_use_is_waited_for_only_so_long(executor):
    executor.start(ServiceSpec("big", "null_services:Echo", num_cpus=3), WAIT_S)
    with pytest.raises(ClusterError, match="did not come free within 1 s: asked .*3"):
        executor.start(ServiceSpec("also", "null_services:Echo", num_cpus=3), 1)


def test_two_runs_on_one_cluster_keep_apart(session, executor):
    other = RayExecutor()
    mine, theirs = executor.start(spec("trainer"), WAIT_S), other.start(spec("trainer"), WAIT_S)
    assert ask(executor, mine, "pid") != ask(other, theirs, "pid")
    other.shutdown()


def test_a_path_that_a_node_cannot_read_is_named(executor, tmp_path):
    executor.require_paths([str(tmp_path)])
    with pytest.raises(ClusterError, match=f"{tmp_path}/gone cannot be read on node"):
        executor.require_paths([str(tmp_path), f"{tmp_path}/gone"])


def test_the_token_is_the_users_alone(session):
    assert token_file().stat().st_mode & 0o777 == 0o600


JOIN = "from i4d.exec.on_ray.session import connect; connect({!r})"


def test_an_address_where_nobody_answers_is_one_line_and_quick():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", JOIN.format(address)], capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - began < 12
    assert f"ClusterError: no Ray answers at {address}" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_an_address_where_somebody_else_listens_is_one_line_and_quick(greeting):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                connection.recv(100)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ClusterError, match="something else than Ray answers"):
            probe(address)


def test_a_head_answers_the_probe(session):
    probe(session.address)


@pytest.mark.parametrize("address", ["nonsense", "host:port"])
def test_an_address_that_is_none_is_refused(address):
    done = subprocess.run(
        [sys.executable, "-c", JOIN.format(address)], capture_output=True, text=True, timeout=60
    )
    assert "is not of the form host:port" in done.stderr.splitlines()[-1]


def test_two_trainers_behind_one_handle_fit_one_field(executor, tmp_path):
    """Processes of their own that meet, a call that reaches both, a rank that dies in the middle, and both
    anew.
    """
    cameras = tuple(
        Camera(f"c{x}", 20, 14, np.array([[20.0, 0, 10], [0, 20.0, 7], [0, 0, 1]]), np.eye(4))
        for x in range(2)
    )
    scene = TrainerScene(cameras, Bounds("box", ((-3.0, -3.0, 1.0), (3.0, 3.0, 5.0)), 0.5, 20.0), 2, (0, 1))
    field = VectorMatrixConfig(
        grid_start=2000,
        grid_end=2000,
        growth_at=[],
        density_components=[2, 1, 1],
        colour_components=[2, 1, 1],
        feature_dim=4,
        mlp_width=8,
        samples=8,
        proposals=16,
        shaded=4,
        rays=64,
    )
    store = open_store(tmp_path)
    rows = np.full((2, 14, 20, 3), 200, np.uint8)
    runs = tuple(TableRun(v, 0, 2, write_block(store, rows).digest) for v in (0, 1))
    kwargs = {"store": store.uri, "scene": scene, "field": field, "device": "cpu", "num_threads": 1}
    spec = ServiceSpec("trainer", "i4d.services.trainer:TrainerService", kwargs, num_cpus=0.1)
    ranks = executor.start_group(spec, 2, WAIT_S)
    together = Together(executor, Handle("trainer"), ranks, ONLY_FIRST)

    def told(method, *args):
        ticket = together.call(together.handle, method, *args)
        assert together.wait([ticket], WAIT_S) == [ticket]
        return together.result(ticket)

    told("start", runs, None, "fit", 8)
    assert told("advance", (), 4).rays == 2 * 64 * 4
    saved = told("save").digest
    assert ask(executor, ranks[1], "save").digest == saved  # both hold the same bits
    os.kill(executor.pid(ranks[1]), signal.SIGKILL)
    with pytest.raises((WorkerLost, FitError)):
        told("advance", (), 2)
    together.restart(together.handle)
    assert told("load", saved) == 4
    assert told("advance", runs, 4).step == 8
