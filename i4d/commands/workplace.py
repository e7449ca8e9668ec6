"""Where a run computes: threads of this process, a Ray of its own, or a Ray that is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from i4d.config import ClusterConfig
from i4d.exec.protocol import Executor, Resources

_GRACE_S = 60.0  # for the call in hand of each service when a run on threads ends


@dataclass
class Workplace:
    """An executor (to be wrapped where services run as groups) and a sentence about it. `shared` when its
    nodes may be other machines than this one. `measure` takes events (as JSON) and publishes what they
    tell.
    """

    executor: Executor
    resources: Resources
    sentence: str
    in_process: bool
    shared: bool
    measure: Callable[[dict], None] = lambda event: None

    def device(self, cluster: ClusterConfig) -> str:
        """Return "cuda" or "cpu": where services will run."""
        return "cuda" if self.resources.gpus and cluster.device != "cpu" else "cpu"


@contextmanager
def workplace(cluster: ClusterConfig, label: str = "i4d") -> Iterator[Workplace]:
    """Open the workplace that a configuration asks for; it ends with the context, a joined Ray stays.

    `label`, such as a run's name, is what Ray's dashboard shows.

    ClusterError when nobody answers at the address.
    """
    if cluster.executor == "local":
        from i4d.exec.local import LocalExecutor

        threads = LocalExecutor(_GRACE_S)
        try:
            yield Workplace(threads, threads.resources(), "threads of this process", True, False)
        finally:
            threads.shutdown()
        return
    from i4d.exec.on_ray.executor import RayExecutor
    from i4d.exec.on_ray.metrics import published
    from i4d.exec.on_ray.session import connect

    session = connect(cluster.address, dashboard=cluster.dashboard)
    try:
        executor = RayExecutor(label, cluster.strategy)
        try:
            resources = executor.resources()
            how = (
                "a local Ray"
                if session.started
                else f"Ray at {session.address} ({len(resources.nodes)} nodes)"
            )
            if session.dashboard:
                how += f", dashboard {session.dashboard}"
            yield Workplace(executor, resources, how, False, not session.started, published(label))
        finally:
            executor.shutdown()
    finally:
        session.close()
