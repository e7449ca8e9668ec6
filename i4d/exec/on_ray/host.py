"""What runs inside a Ray actor, and how its calls are named in the dashboard."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from i4d.exec.protocol import ServiceSpec, build

WATCH = "watch"  # the concurrency group that answers while a call is being worked on


class ServiceHost:
    """One service, and the error that kept it from being built."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._spec = spec
        self._service: Any = None
        self._broken: Exception | None = None

    def __repr__(self) -> str:
        return self._spec.name  # what the dashboard and the logs call this actor

    def rendezvous(self) -> str:
        """Return "host:port" where the other ranks of a group can reach this one."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"

    def build(self, extra: Mapping[str, Any], rendezvous: str = "") -> None:
        """Make the service, a rank with the place where its group meets now; what goes wrong is raised here
        and by every later call.
        """
        try:
            self._service = build(self._spec, {**extra, "rendezvous": rendezvous} if rendezvous else extra)
        except Exception as err:
            self._broken = err
            raise

    def invoke(self, method: str, *args: Any) -> Any:
        """Call the service."""
        if self._broken is not None:
            raise self._broken
        return getattr(self._service, method)(*args)

    def invoke_each(self, calls: Sequence[tuple[str, Any]]) -> list[tuple[Any, Exception | None]]:
        """Call the service several times, one after the other, and return (answer, None) or (None, error) of
        each call.
        """
        outcomes: list[tuple[Any, Exception | None]] = []
        for method, argument in calls:
            try:
                outcomes.append((self.invoke(method, argument), None))
            except Exception as err:
                outcomes.append((None, err))
        return outcomes

    @ray.method(concurrency_group=WATCH)
    def end(self) -> None:
        """End this process, whatever it is at: asked for where the cluster's head, which does it otherwise,
        is gone.
        """
        os._exit(0)

    def progress(self) -> int:
        """Return the service's own `progress()`, 0 where it has none or is not built yet; runs beside the
        call in hand.
        """
        told = getattr(self._service, "progress", None)
        return 0 if told is None else told()


def call_name(method: str, args: tuple) -> str:
    """Return what a call is named in the dashboard: `edit_window view=07 window=03 round=1`, `advance 12
    steps`.
    """
    if not args:
        return method
    task = args[0]
    parts = [
        f"{key}={getattr(task, key):02d}"
        for key in ("view", "step", "window")
        if isinstance(getattr(task, key, None), int)
    ]
    if isinstance(getattr(task, "round", None), int):
        parts.append(f"round={task.round}")
    camera = getattr(task, "camera", None)
    if camera is not None:
        frames = task.frames
        parts.append(f"camera={camera.name} frames={frames[0]}-{frames[-1]}")
    if method == "advance":
        parts.append(f"{args[1]} steps")
    return " ".join([method, *parts])
