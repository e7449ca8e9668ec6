"""What an executor is: it hosts plain classes as named services and calls them.

The driver and the services know only this. A service is named by its import path, so a spec can be pickled,
stored and started again after its process was lost. One service answers its calls one after the other, in
order.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from i4d.errors import ClusterError


@dataclass(frozen=True)
class ServiceSpec:
    """A service to start. `num_gpus` may be a fraction of one card; `threads` fixes its compute threads."""

    name: str  # "trainer", "editor-2"
    import_path: str  # "i4d.services.editor:EditorService"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    num_cpus: float = 0.0
    num_gpus: float = 0.0
    threads: int = 1
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Handle:
    """A started service."""

    name: str


@dataclass(frozen=True)
class Ticket:
    """One call that was sent to a service."""

    number: int
    service: str
    method: str


@dataclass(frozen=True)
class NodeResources:
    """One machine as the executor sees it. `gpu_memory_bytes` is of one card, 0 where unknown."""

    name: str
    cpus: float
    gpus: float = 0.0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    gpu_name: str = ""


@dataclass(frozen=True)
class Resources:
    """All machines."""

    nodes: tuple[NodeResources, ...]

    @property
    def cpus(self) -> float:
        return sum(n.cpus for n in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(n.gpus for n in self.nodes)


class Executor(Protocol):
    """Hosts services. Failures come out of `result` typed: WorkerLost, CallTimeout, or what the service
    raised.
    """

    def resources(self) -> Resources: ...

    def start(self, spec: ServiceSpec, timeout_s: float) -> Handle:
        """Return a service that is constructed and ready; CallTimeout or its constructor's error
        otherwise.
        """
        ...

    def start_all(self, specs: Sequence[ServiceSpec], timeout_s: float) -> list[Handle]:
        """Start several services side by side; none is left running if one fails."""
        ...

    def start_group(self, spec: ServiceSpec, size: int, timeout_s: float) -> list[Handle]:
        """Start `size` ranks of a service; each gets kwargs `rank`, `size` and `rendezvous` ("host:port" of
        rank 0).
        """
        ...

    def call(self, handle: Handle, method: str, *args: Any) -> Ticket:
        """Send a call and return at once."""
        ...

    def call_together(self, handle: Handle, calls: Sequence[tuple[str, Any]]) -> list[Ticket]:
        """Send several short calls, (method, argument) each, as one message: worked on one after the other, a
        ticket each.

        A call that fails does not keep the next ones from being made; the answers may come all at once, after
        the last.
        """
        ...

    def wait(self, tickets: Sequence[Ticket], timeout_s: float) -> list[Ticket]:
        """Return the tickets that are done, as soon as one is or after `timeout_s`."""
        ...

    def result(self, ticket: Ticket) -> Any:
        """Return what a done ticket's call returned, or raise what it raised; a ticket can be asked once."""
        ...

    def progress(self, handle: Handle) -> int | None:
        """Return the number of a service's `progress()` as last heard, 0 where it has no such method.

        None: no sign of life from it since it was started (it waits for a place, or its process is still
        coming up). Returns at once: the number is asked for here and may arrive by the next call.
        """
        ...

    def start_later(self, spec: ServiceSpec) -> Handle:
        """Ask for one more service and return at once: it comes up when there is room, perhaps never."""
        ...

    def take_place(self, handle: Handle, other: Handle) -> None:
        """Start a lost service anew in the place of another one, which is started anew where the first one
        was.
        """
        ...

    def restart(self, handle: Handle) -> None:
        """Kill a service and make it anew; returns at once, a failing constructor shows in the next call's
        result.
        """
        ...

    def restart_group(self, handles: Sequence[Handle]) -> None:
        """Kill all ranks of a group and make them anew, with a new `rendezvous`; returns at once, as
        `restart`.
        """
        ...

    def require_paths(self, paths: Sequence[str]) -> None:
        """Raise ClusterError naming path and node if a local path cannot be read on some node."""
        ...

    def kill(self, handle: Handle) -> None:
        """End a service; its open calls fail with WorkerLost."""
        ...

    def shutdown(self) -> None:
        """End all services and what the executor itself started."""
        ...


def service_class(import_path: str) -> type:
    """Return the class behind `module:Class`; ClusterError names what cannot be imported here."""
    module, _, name = import_path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as err:
        raise ClusterError(
            f"cannot import service {import_path}: {err}", "is i4d installed on this node?"
        ) from err


def build(spec: ServiceSpec, extra: Mapping[str, Any] | None = None) -> Any:
    """Return the service itself, its compute threads fixed; called where the service will live."""
    cls = service_class(spec.import_path)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(max(1, spec.threads))
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(max(1, spec.threads))
    return cls(**{**spec.kwargs, **(extra or {})})
