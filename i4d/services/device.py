"""The device a service runs on: choice, threads, memory."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping

import torch

from i4d.errors import ClusterError
from i4d.types import WorkerInfo


def card_of(index: int, environment: Mapping[str, str] = os.environ) -> str:
    """Return which card of the host a process means by CUDA device `index`: a number, or an id where cards go
    by ids.
    """
    visible = [
        entry.strip() for entry in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()
    ]
    return visible[index] if index < len(visible) else str(index)


def card_name(device: torch.device) -> str:
    """Return a CUDA device's number on the host and its name: every process calls its first card cuda:0."""
    return f"card {card_of(device.index or 0)}: {torch.cuda.get_device_name(device)}"


def choose_device(name: str) -> torch.device:
    """Return the device behind auto, cpu or cuda[:i], a GPU with its index: memory statistics refuse a bare
    "cuda".

    ClusterError when a GPU is asked for and the process sees none.
    """
    available = torch.cuda.is_available()
    if name.startswith("cuda") and not available:
        raise ClusterError(
            f"device {name} was asked for, but this process sees no GPU", "set cluster.device to cpu"
        )
    device = torch.device(("cuda" if available else "cpu") if name == "auto" else name)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def measure_peak(device: torch.device) -> None:
    """Start measuring a GPU's peak memory afresh; statistics of a device that nothing has touched yet are an
    error.
    """
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)


class Device:
    """One device of one process. `name` auto, cpu or cuda[:i]; `memory_cap_gb` and `num_threads` 0 mean no
    bound.

    ClusterError when a GPU is asked for and the process sees none.
    """

    def __init__(self, name: str = "auto", num_threads: int = 0, memory_cap_gb: float = 0.0) -> None:
        self.torch = choose_device(name)
        self.num_threads = num_threads
        self.memory_cap_bytes = int(memory_cap_gb * 2**30)

    @property
    def on_gpu(self) -> bool:
        """Whether this is a CUDA device."""
        return self.torch.type == "cuda"

    def prepare(self) -> None:
        """Bound the memory this process may take of a GPU."""
        if self.on_gpu and self.memory_cap_bytes:
            total = torch.cuda.get_device_properties(self.torch).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.memory_cap_bytes / total), self.torch)

    def enter(self) -> None:
        """Begin a call: fix the threads (a setting of the calling thread) and start measuring peak memory."""
        if self.num_threads:
            torch.set_num_threads(self.num_threads)
        measure_peak(self.torch)

    def peak_bytes(self) -> int:
        """Return the peak since `enter` on a GPU, the process's peak resident memory on a CPU (kilobytes on
        Linux).
        """
        if self.on_gpu:
            return torch.cuda.max_memory_reserved(self.torch)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    def info(self, name: str, warm_up_s: float, notes: tuple[str, ...] = ()) -> WorkerInfo:
        """Return who and where this worker is."""
        title = card_name(self.torch) if self.on_gpu else f"{torch.get_num_threads()} threads"
        return WorkerInfo(name, str(self.torch), title, socket.gethostname(), os.getpid(), warm_up_s, notes)
