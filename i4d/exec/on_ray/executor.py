"""Services as Ray actors. `ray.remote` is applied here and nowhere else.

Actors never restart by themselves: the driver decides, so a service that comes back is always warmed up and
told what it needs. Every request for resources has a time-out, because Ray waits for ever for what does not
exist.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
)
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from i4d.errors import CallTimeout, ClusterError, WorkerLost
from i4d.exec.hardware import gpu_cards
from i4d.exec.on_ray.head import HeadWatch, answers, end_services
from i4d.exec.on_ray.host import WATCH, ServiceHost, call_name
from i4d.exec.protocol import Handle, NodeResources, Resources, ServiceSpec, Ticket

_MOST_NAMES = 2000  # different names of calls
_NAMED = 9  # services spelled out in the name of a placement group
_PROBE_S = 60.0  # a small task on every node, its worker process included


@dataclass
class _Together:
    """Several calls in one message; `outcomes` of those not asked for yet, once the message is answered."""

    tickets: list[Ticket]
    outcomes: dict[Ticket, tuple[Any, Exception | None]] | None = None


@dataclass
class _Actor:
    spec: ServiceSpec
    extra: dict[str, Any]
    group: PlacementGroup | None  # None: wherever there is room
    bundle: int
    actor: Any = None
    generation: int = 0
    asked: Any = None  # an open question for its progress
    heard: int | None = None


class RayExecutor:
    """Hosts services on the cluster that this process is connected to (see session.connect).

    `label` (a run's name) stands before the names of placement groups; `strategy` is Ray's: PACK or SPREAD.
    """

    def __init__(self, label: str = "i4d", strategy: str = "PACK") -> None:
        if not ray.is_initialized():
            raise ClusterError("Ray is not connected", "connect to a cluster first")
        self._label, self._strategy = label, strategy
        self._namespace = f"{label}-{uuid.uuid4().hex[:8]}"
        self._head = HeadWatch(ray.get_runtime_context().gcs_address)
        self._numbers = itertools.count()
        self._names: set[str] = set()
        self._actors: dict[str, _Actor] = {}
        self._ended: dict[str, _Actor] = {}  # killed, and what it takes to start them again
        self._refs: dict[Ticket, Any] = {}
        self._parts: dict[Ticket, _Together] = {}  # of tickets that share a message
        self._groups: list[PlacementGroup] = []

    # ------------------------------------------------------------------------------------------ what there is
    def resources(self) -> Resources:
        nodes = [n for n in ray.nodes() if n["Alive"]]
        cards = self._on_nodes(_gpu_card, [n["NodeID"] for n in nodes if n["Resources"].get("GPU")])
        out = []
        for node in nodes:
            have = node["Resources"]
            name, memory = cards.get(node["NodeID"], ("", 0))
            cpus, gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
            out.append(
                NodeResources(
                    node["NodeManagerHostname"], cpus, gpus, int(have.get("memory", 0)), memory, name
                )
            )
        return Resources(tuple(out))

    def require_paths(self, paths: Sequence[str]) -> None:
        """Raise ClusterError naming path and node if a local path cannot be read on some node of the
        cluster.
        """
        names = {n["NodeID"]: n["NodeManagerHostname"] for n in ray.nodes() if n["Alive"]}
        for node, missing in self._on_nodes(_missing_paths, list(names), list(paths)).items():
            if missing:
                hint = "use a shared folder or a URI that all nodes reach"
                raise ClusterError(f"{missing[0]} cannot be read on node {names[node]}", hint)

    def _on_nodes(self, function: Any, nodes: Sequence[str], *args: Any) -> dict[str, Any]:
        """Return what a function returns on each node, by node id."""
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        here = {n: NodeAffinitySchedulingStrategy(n, soft=False) for n in nodes}
        refs = {n: task.options(scheduling_strategy=here[n]).remote(*args) for n in nodes}
        try:
            return dict(zip(refs, ray.get(list(refs.values()), timeout=_PROBE_S), strict=True))
        except GetTimeoutError as err:
            raise ClusterError(f"the cluster did not run a probe task within {_PROBE_S:g} s") from err
        except RayError as err:
            raise ClusterError(f"a probe task failed on the cluster: {_line(err)}") from err

    # ------------------------------------------------------------------------------------------ starting
    def start(self, spec: ServiceSpec, timeout_s: float) -> Handle:
        return self.start_all([spec], timeout_s)[0]

    def start_all(self, specs: Sequence[ServiceSpec], timeout_s: float) -> list[Handle]:
        return self._start(list(specs), [{} for _ in specs], timeout_s)

    def start_group(self, spec: ServiceSpec, size: int, timeout_s: float) -> list[Handle]:
        members = [replace(spec, name=f"{spec.name}-{rank}") for rank in range(size)]
        return self._start(members, [{"rank": rank, "size": size} for rank in range(size)], timeout_s)

    def _start(
        self, specs: list[ServiceSpec], extras: list[dict[str, Any]], timeout_s: float
    ) -> list[Handle]:
        group = self._reserve(specs, timeout_s)
        handles = [Handle(spec.name) for spec in specs]
        try:
            for bundle, (spec, extra) in enumerate(zip(specs, extras, strict=True)):
                assert spec.name not in self._actors, f"service {spec.name} runs already"
                before = self._ended.pop(spec.name, None)
                generation = before.generation if before else 0
                self._actors[spec.name] = _Actor(spec, extra, group, bundle, generation=generation)
                self._create(self._actors[spec.name])
            if "rank" in extras[0]:
                first = self._actors[specs[0].name]
                address = self._get(first.actor.rendezvous.remote(), specs[0].name, "start", timeout_s)
                for extra in extras:
                    extra["rendezvous"] = address
            refs = [self._actors[h.name].actor.build.remote(self._actors[h.name].extra) for h in handles]
            for handle, ref in zip(handles, refs, strict=True):
                self._get(ref, handle.name, "start", timeout_s)
        except BaseException:
            for handle in handles:
                self.kill(handle)
            self._release(group)
            raise
        return handles

    def _reserve(self, specs: Sequence[ServiceSpec], timeout_s: float) -> PlacementGroup:
        """Return a placement group with one bundle per service, or raise ClusterError: asked beside
        available.
        """
        bundles = [_bundle(spec) for spec in specs]
        for kind in ("CPU", "GPU"):
            asked = sum(b.get(kind, 0.0) for b in bundles)
            there = ray.cluster_resources().get(kind, 0.0)
            if asked > there + 1e-6:
                raise ClusterError(
                    f"{', '.join(s.name for s in specs)}: {asked:g} {kind}s asked, {there:g} available"
                )
        roles = " ".join(spec.name for spec in specs[:_NAMED]) + (
            f" and {len(specs) - _NAMED} more" if len(specs) > _NAMED else ""
        )
        group = placement_group(
            bundles, strategy=self._strategy, name=f"{self._label}: {roles} ({self._namespace[-8:]})"
        )
        try:
            ray.get(group.ready(), timeout=timeout_s)
        except GetTimeoutError:
            remove_placement_group(group)
            wanted = {k: round(sum(b.get(k, 0.0) for b in bundles), 2) for k in ("CPU", "GPU")}
            free = {k: round(ray.available_resources().get(k, 0.0), 2) for k in ("CPU", "GPU")}
            text = f"resources did not come free within {timeout_s:g} s: asked {wanted}, free {free}"
            raise ClusterError(text) from None
        self._groups.append(group)
        return group

    def _create(self, entry: _Actor) -> None:
        spec = entry.spec
        threads = str(max(1, spec.threads))
        env = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            **spec.env,
        }
        entry.asked, entry.heard = None, None
        name = spec.name if not entry.generation else f"{spec.name}.{entry.generation}"
        bundle = _bundle(spec)
        entry.actor = (
            ray.remote(concurrency_groups={WATCH: 1})(ServiceHost)  # type: ignore[call-overload]  # Ray's hints lack it
            .options(
                name=name,
                namespace=self._namespace,
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": env},
                scheduling_strategy=PlacementGroupSchedulingStrategy(entry.group, entry.bundle)
                if entry.group
                else "DEFAULT",
            )
            .remote(spec)
        )

    # ------------------------------------------------------------------------------------------ calling
    def call(self, handle: Handle, method: str, *args: Any) -> Ticket:
        ticket = Ticket(next(self._numbers), handle.name, method)
        entry = self._actors.get(handle.name)
        self._refs[ticket] = (
            None
            if entry is None
            else entry.actor.invoke._remote(args=(method, *args), **self._named(method, args))
        )
        return ticket

    def call_together(self, handle: Handle, calls: Sequence[tuple[str, Any]]) -> list[Ticket]:
        tickets = [Ticket(next(self._numbers), handle.name, method) for method, _ in calls]
        entry, name = self._actors.get(handle.name), {"name": f"{calls[0][0]} x{len(calls)}"}
        ref = None if entry is None else entry.actor.invoke_each._remote(args=(list(calls),), **name)
        together = _Together(list(tickets))
        for ticket in tickets:
            self._refs[ticket], self._parts[ticket] = ref, together
        return tickets

    def _named(self, method: str, args: tuple) -> dict[str, str]:
        """Return the option that names a call; Ray keeps something of every name for ever, so a very long run
        ends without.
        """
        if len(self._names) >= _MOST_NAMES:
            return {}
        name = call_name(method, args)
        self._names.add(name)
        return {"name": name}

    def wait(self, tickets: Sequence[Ticket], timeout_s: float) -> list[Ticket]:
        """See the protocol; ClusterError where the cluster's head is gone."""
        if self._head.gone:
            raise self._head.error()
        lost = [t for t in tickets if self._refs[t] is None]
        refs: dict[Any, list[Ticket]] = {}
        for ticket in tickets:
            if (ref := self._refs[ticket]) is not None:
                refs.setdefault(ref, []).append(ticket)
        if not refs:
            return lost
        ready, _ = ray.wait(list(refs), num_returns=1, timeout=0 if lost else timeout_s, fetch_local=False)
        if ready and len(refs) > 1:
            ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0, fetch_local=False)
        return lost + [ticket for ref in ready for ticket in refs[ref]]

    def result(self, ticket: Ticket) -> Any:
        ref, together = self._refs.pop(ticket), self._parts.pop(ticket, None)
        if ref is None:
            raise WorkerLost(f"{ticket.service} is not running")
        if together is None:
            return self._get(ref, ticket.service, ticket.method, _PROBE_S)
        if together.outcomes is None:
            answers = self._get(ref, ticket.service, ticket.method, _PROBE_S)
            together.outcomes = dict(zip(together.tickets, answers, strict=True))
        value, err = together.outcomes.pop(ticket)
        if err is not None:
            raise err
        return value

    def _get(self, ref: Any, service: str, method: str, timeout_s: float) -> Any:
        try:
            return ray.get(ref, timeout=timeout_s)
        except GetTimeoutError:
            raise CallTimeout(f"{service} did not answer {method} within {timeout_s:g} s") from None
        except RayTaskError as err:
            raise err.cause from None
        except (RayActorError, ObjectLostError, RaySystemError) as err:
            raise WorkerLost(f"{service} was lost during {method}: {_line(err)}") from err

    def progress(self, handle: Handle) -> int | None:
        entry = self._actors.get(handle.name)
        if entry is None:
            return None
        if entry.asked is not None and ray.wait([entry.asked], timeout=0, fetch_local=False)[0]:
            try:
                entry.heard = ray.get(entry.asked, timeout=_PROBE_S)
            except RayError:  # its process is gone, which the call in hand will tell of
                return entry.heard
            entry.asked = None
        if entry.asked is None:
            entry.asked = entry.actor.progress.options(concurrency_group=WATCH).remote()
        return entry.heard

    # ------------------------------------------------------------------------------------------ ending
    def start_later(self, spec: ServiceSpec) -> Handle:
        assert spec.name not in self._actors, f"service {spec.name} runs already"
        entry = self._actors[spec.name] = _Actor(spec, {}, None, 0)
        self._create(entry)
        entry.actor.build.remote(entry.extra)
        return Handle(spec.name)

    def take_place(self, handle: Handle, other: Handle) -> None:
        self.kill(handle)
        self.kill(other)
        mine, theirs = self._ended[handle.name], self._ended[other.name]
        mine.group, mine.bundle, theirs.group, theirs.bundle = (
            theirs.group,
            theirs.bundle,
            mine.group,
            mine.bundle,
        )
        self.restart(handle)
        self.restart(other)

    def restart(self, handle: Handle) -> None:
        self.kill(handle)
        entry = self._actors[handle.name] = self._ended.pop(handle.name)
        self._create(entry)
        entry.actor.build.remote(entry.extra)

    def restart_group(self, handles: Sequence[Handle]) -> None:
        for handle in handles:
            self.kill(handle)
        entries = [self._ended.pop(handle.name) for handle in handles]
        for handle, entry in zip(handles, entries, strict=True):
            self._actors[handle.name] = entry
            self._create(entry)
        address = entries[0].actor.rendezvous.remote()  # where rank 0 is now, once it has found a place
        for entry in entries:
            entry.actor.build.remote(entry.extra, address)

    def kill(self, handle: Handle) -> None:
        entry = self._actors.pop(handle.name, None)
        if entry is not None:
            if entry.actor is not None:
                ray.kill(entry.actor, no_restart=True)
            entry.generation += 1
            self._ended[handle.name] = entry

    def pid(self, handle: Handle) -> int:
        """Return the process id of a service, for tests that kill it from outside."""
        return ray.get(
            self._actors[handle.name].actor.__ray_call__.remote(lambda self: os.getpid()), timeout=_PROBE_S
        )

    def shutdown(self) -> None:
        self._head.stop()
        if not answers(self._head.address):
            end_services([entry.actor for entry in self._actors.values()])
            return
        for name in list(self._actors):
            self.kill(Handle(name))
        for group in list(self._groups):
            self._release(group)

    def _release(self, group: PlacementGroup) -> None:
        self._groups.remove(group)
        remove_placement_group(group)


def _bundle(spec: ServiceSpec) -> dict[str, float]:
    bundle = {"CPU": spec.num_cpus, "GPU": spec.num_gpus}
    return {kind: amount for kind, amount in bundle.items() if amount} or {"CPU": 0.01}


def _line(err: BaseException) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0] if lines else type(err).__name__


def _missing_paths(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.access(path, os.R_OK)]


def _gpu_card() -> tuple[str, int]:
    """Return name and memory in bytes of this node's smallest card; ("", 0) where none is found."""
    return min(gpu_cards(), key=lambda card: card[1], default=("", 0))
