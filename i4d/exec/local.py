"""Services as threads of this process: for tests, debuggers and laptops without Ray.

Arguments and results pass through the same door as between processes (read-only arrays, no shared mutable
values), so code that runs here runs on a cluster.
"""

from __future__ import annotations

import itertools
import os
import pickle
import queue
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from i4d.errors import CallTimeout, ClusterError, WorkerLost
from i4d.exec.hardware import visible_cards
from i4d.exec.protocol import Handle, NodeResources, Resources, ServiceSpec, Ticket, build


def handed_over(value: Any) -> Any:
    """Return the value as another process would see it: its own objects, arrays read-only (and not
    copied).
    """
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[memoryview(b).toreadonly() for b in buffers])


class _Worker:
    """One service on one thread. A killed worker's thread finishes its call unheard."""

    def __init__(self, spec: ServiceSpec, extra: Mapping[str, Any], answer: Any) -> None:
        self.alive = True
        self.calls: queue.SimpleQueue = queue.SimpleQueue()
        self._answer = answer
        self._extra = dict(extra)
        self._spec = spec
        self.service: Any = None
        self.thread = threading.Thread(target=self._serve, name=spec.name, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        broken = None
        try:
            self.service = build(self._spec, self._extra)
        except Exception as err:
            broken = err
        while (item := self.calls.get()) is not None:
            ticket, method, args = item
            if not self.alive:
                continue
            try:
                if broken is not None:
                    raise broken
                value = None if method == "" else getattr(self.service, method)(*handed_over(args))
                self._answer(self, ticket, handed_over(value), None)
            except Exception as err:
                self._answer(self, ticket, None, err)


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class LocalExecutor:
    """Threads behind the executor's protocol. It offers the cores and visible GPUs of this machine.

    `grace_s`: how long `shutdown` waits for calls in hand; a process that ends in the middle of one is
    aborted by torch.
    """

    def __init__(self, grace_s: float = 0.0) -> None:
        self._grace_s = grace_s
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._workers: dict[str, _Worker] = {}
        self._ending: list[threading.Thread] = []  # of killed workers, perhaps still in a call
        self._specs: dict[str, tuple[ServiceSpec, Mapping[str, Any]]] = {}
        self._open: dict[Ticket, str] = {}
        self._done: dict[Ticket, tuple[Any, BaseException | None]] = {}

    def resources(self) -> Resources:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        cpus = len(os.sched_getaffinity(0))
        cards = visible_cards()
        name, card_bytes = min(cards, key=lambda card: card[1], default=("", 0))
        return Resources((NodeResources(socket.gethostname(), cpus, len(cards), memory, card_bytes, name),))

    def start(self, spec: ServiceSpec, timeout_s: float) -> Handle:
        return self.start_all([spec], timeout_s)[0]

    def start_all(self, specs: Sequence[ServiceSpec], timeout_s: float) -> list[Handle]:
        return self._start(specs, [{}] * len(specs), timeout_s)

    def start_group(self, spec: ServiceSpec, size: int, timeout_s: float) -> list[Handle]:
        rendezvous = _free_address()
        members = [replace(spec, name=f"{spec.name}-{rank}") for rank in range(size)]
        extras = [{"rank": rank, "size": size, "rendezvous": rendezvous} for rank in range(size)]
        return self._start(members, extras, timeout_s)

    def _start(
        self, specs: Sequence[ServiceSpec], extras: Sequence[Mapping[str, Any]], timeout_s: float
    ) -> list[Handle]:
        for spec, extra in zip(specs, extras, strict=True):
            self._spawn(spec, extra)
        handles = [Handle(spec.name) for spec in specs]
        try:
            for handle in handles:
                self._wait_ready(handle, timeout_s)
        except BaseException:
            for handle in handles:
                self.kill(handle)
            raise
        return handles

    def _spawn(self, spec: ServiceSpec, extra: Mapping[str, Any]) -> None:
        assert spec.name not in self._workers, f"service {spec.name} runs already"
        self._specs[spec.name] = (spec, extra)
        self._workers[spec.name] = _Worker(spec, extra, self._answer)

    def _wait_ready(self, handle: Handle, timeout_s: float) -> None:
        ticket = self.call(handle, "")
        if not self.wait([ticket], timeout_s):
            raise CallTimeout(f"{handle.name} did not start within {timeout_s:g} s")
        self.result(ticket)

    def call(self, handle: Handle, method: str, *args: Any) -> Ticket:
        ticket = Ticket(next(self._numbers), handle.name, method)
        worker = self._workers.get(handle.name)
        with self._changed:
            if worker is None:
                self._done[ticket] = (None, WorkerLost(f"{handle.name} is not running"))
            else:
                self._open[ticket] = handle.name
                worker.calls.put((ticket, method, args))
        return ticket

    def call_together(self, handle: Handle, calls: Sequence[tuple[str, Any]]) -> list[Ticket]:
        return [self.call(handle, method, argument) for method, argument in calls]

    def _answer(self, worker: _Worker, ticket: Ticket, value: Any, err: BaseException | None) -> None:
        with self._changed:
            if worker.alive and self._open.pop(ticket, None) is not None:
                self._done[ticket] = (value, err)
                self._changed.notify_all()

    def wait(self, tickets: Sequence[Ticket], timeout_s: float) -> list[Ticket]:
        until = time.monotonic() + timeout_s
        with self._changed:
            while True:
                done = [t for t in tickets if t in self._done]
                left = until - time.monotonic()
                if done or left <= 0:
                    return done
                self._changed.wait(left)

    def result(self, ticket: Ticket) -> Any:
        with self._changed:
            assert ticket in self._done, f"{ticket} is not done, or was asked before"
            value, err = self._done.pop(ticket)
        if err is not None:
            raise err
        return value

    def progress(self, handle: Handle) -> int | None:
        worker = self._workers.get(handle.name)
        if worker is None:
            return None
        told = getattr(worker.service, "progress", None)
        return 0 if told is None else told()

    def start_later(self, spec: ServiceSpec) -> Handle:
        self._spawn(spec, {})
        return Handle(spec.name)

    def take_place(self, handle: Handle, other: Handle) -> None:
        self.restart(other)
        self.restart(handle)

    def restart(self, handle: Handle) -> None:
        self.kill(handle)
        spec, extra = self._specs[handle.name]
        self._workers[handle.name] = _Worker(spec, extra, self._answer)

    def restart_group(self, handles: Sequence[Handle]) -> None:
        rendezvous = _free_address()
        for handle in handles:
            self.kill(handle)
        for handle in handles:
            spec, extra = self._specs[handle.name]
            self._specs[handle.name] = spec, {**extra, "rendezvous": rendezvous}
            self._workers[handle.name] = _Worker(*self._specs[handle.name], self._answer)

    def require_paths(self, paths: Sequence[str]) -> None:
        for path in paths:
            if not os.access(path, os.R_OK):
                raise ClusterError(f"{path} cannot be read here")

    def kill(self, handle: Handle) -> None:
        with self._changed:
            worker = self._workers.pop(handle.name, None)
            if worker is None:
                return
            worker.alive = False
            worker.calls.put(None)
            self._ending = [t for t in self._ending if t.is_alive()] + [worker.thread]
            for ticket in [t for t, name in self._open.items() if name == handle.name]:
                del self._open[ticket]
                self._done[ticket] = (
                    None,
                    WorkerLost(f"{handle.name} was lost during {ticket.method or 'start'}"),
                )
            self._changed.notify_all()

    def shutdown(self) -> None:
        for name in list(self._workers):
            self.kill(Handle(name))
        until = time.monotonic() + self._grace_s
        for thread in self._ending:
            thread.join(max(0.0, until - time.monotonic()))
