"""Several Ray nodes on one machine: separate `ray start`s, where root allows it each in a network namespace
of its own.

The head has no cores: it holds the driver, the workers hold the services. A node dies by SIGKILL of
everything in it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
# a node that is gone is noticed within seconds, one that starts on a busy machine is not taken for dead
QUICK_DEATH = {
    "RAY_health_check_initial_delay_ms": "10000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def namespaces_allowed() -> bool:
    """Return whether this process may make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"i4dprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Node:
    """One `ray start` and all that it started."""

    name: str
    process: subprocess.Popen
    namespace: str = ""

    def pids(self) -> list[int]:
        """Return the processes of this node, as far as they are still children of its first one or in its
        namespace.
        """
        try:
            out = [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            out = []
        if self.namespace:
            told = subprocess.run(
                ["ip", "netns", "pids", self.namespace], capture_output=True, text=True
            ).stdout
            out += [int(pid) for pid in told.split()]
        return [*dict.fromkeys(out), self.process.pid]

    def kill(self) -> None:
        """End everything at once, as when the power fails."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(30)


@dataclass
class Nodes:
    """A head and its workers. `env` is what a driver needs to join."""

    folder: Path
    namespaces: bool
    cpus: int = 2
    env: dict[str, str] = field(default_factory=dict)
    address: str = ""
    workers: dict[str, Node] = field(default_factory=dict)
    head: Node | None = None
    _net: str = ""
    _number: int = 0

    def start_head(self, *extra: str) -> None:
        self._net = f"i4d{os.getpid() % 10000}"
        host = "127.0.0.1"
        if self.namespaces:
            host = f"10.77.{os.getpid() % 250}.1"
            _ip("link", "add", self._net, "type", "bridge")
            _ip("addr", "add", f"{host}/24", "dev", self._net)
            _ip("link", "set", self._net, "up")
        token = self.folder / "token"
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        ours = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": path,
        }
        self.env = {**clean, **QUICK_DEATH, **ours}
        port = free_port()
        self.address = f"{host}:{port}"
        common = ["--head", f"--port={port}", f"--node-ip-address={host}", "--num-cpus=0", *extra]
        if not any("dashboard" in word for word in extra):
            common += ["--include-dashboard=false", f"--dashboard-port={free_port()}"]
        self.head = self._ray("head", common)
        self._wait(port, host)
        for word in extra:
            if word.startswith("--dashboard-port="):
                self._wait(int(word.partition("=")[2]), "127.0.0.1")

    def _ray(self, name: str, arguments: list[str], namespace: str = "") -> Node:
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
        command += [
            "--object-store-memory=100000000",
            f"--dashboard-agent-listen-port={free_port()}",
            *arguments,
        ]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        with open(self.folder / f"{name}.log", "w") as log:
            process = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return Node(name, process, namespace)

    def _wait(self, port: int, host: str) -> None:
        until = time.monotonic() + 90
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, port)) == 0:
                    return
            log = (self.folder / "head.log").read_text()
            assert self.head.process.poll() is None and time.monotonic() < until, log
            time.sleep(0.3)  # between two attempts to connect

    def add_worker(self, prefix: tuple[str, ...] = ()) -> Node:
        """Start a worker node; it joins in its own time. `prefix` is put before its command."""
        self._number += 1
        name, namespace, host = f"node-{self._number}", "", "127.0.0.1"
        if self.namespaces:
            namespace = f"{self._net}n{self._number}"
            host = f"{self.address.rpartition('.')[0]}.{10 + self._number}"
            _ip("netns", "add", namespace)
            _ip(
                "link",
                "add",
                f"{self._net}v{self._number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                namespace,
            )
            _ip("link", "set", f"{self._net}v{self._number}", "master", self._net, "up")
            for command in (
                ["addr", "add", f"{host}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                _ip("-n", namespace, *command)
        arguments = [f"--address={self.address}", f"--num-cpus={self.cpus}", f"--node-ip-address={host}"]
        self.workers[name] = self._ray(name, arguments, namespace)
        return self.workers[name]

    def wait_joined(self, timeout_s: float = 90.0) -> None:
        """Wait until every worker has said that it is part of the cluster."""
        until = time.monotonic() + timeout_s
        for node in list(self.workers.values()):
            log = self.folder / f"{node.name}.log"
            while "Ray runtime started" not in log.read_text():
                if node.process.poll() is not None and "timed out during startup" in log.read_text():
                    self.kill_worker(
                        node.name
                    )  # Ray gives a node 30 s to come up, which a busy machine may need more than
                    node = self.add_worker()
                    log = self.folder / f"{node.name}.log"
                assert node.process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)  # its log is all there is to look at

    def kill_worker(self, name: str) -> None:
        node = self.workers.pop(name)
        node.kill()
        self._forget(node)

    def _forget(self, node: Node) -> None:
        if node.namespace:
            subprocess.run(["ip", "netns", "del", node.namespace], capture_output=True)

    def stop(self) -> None:
        for name in list(self.workers):
            self.kill_worker(name)
        if self.head is not None:
            self.head.kill()
        if self.namespaces:
            subprocess.run(["ip", "link", "del", self._net], capture_output=True)


@contextmanager
def ray_nodes(
    folder: Path, workers: int = 3, cpus: int = 2, namespaces: bool | None = None, head: tuple[str, ...] = ()
) -> Iterator[Nodes]:
    """Start a head and workers; everything is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = Nodes(folder, namespaces_allowed() if namespaces is None else namespaces, cpus)
    try:
        nodes.start_head(*head)
        for _ in range(workers):
            nodes.add_worker()
            nodes.wait_joined()  # side by side they take longer than one after the other on few cores
        yield nodes
    finally:
        nodes.stop()
