"""Services that misbehave on purpose, for the contract of executors."""

from __future__ import annotations

import os
import threading

import numpy as np

from i4d.errors import EditError


class Echo:
    """Answers what it is told to; `broken` makes its constructor raise."""

    def __init__(
        self, broken: str = "", rank: int = 0, size: int = 1, rendezvous: str = "", **place: object
    ) -> None:
        if broken:
            raise EditError(broken, "as asked")
        self.calls = 0
        self.place = (rank, size, rendezvous)

    def where(self) -> tuple[int, int, str]:
        return self.place

    def pid(self) -> int:
        return os.getpid()

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def add(self, more: int) -> int:
        self.calls += more
        return self.calls

    def hang_for(self, long: str) -> None:
        threading.Event().wait()

    def threads(self) -> str:
        return os.environ.get("OMP_NUM_THREADS", "")

    def cards(self) -> str:
        return os.environ.get("CUDA_VISIBLE_DEVICES", "")

    def double(self, array: np.ndarray) -> np.ndarray:
        return array * 2

    def write_into(self, array: np.ndarray) -> None:
        array[0] = 1

    def fail(self, message: str) -> None:
        raise EditError(message, "a hint")

    def crash(self) -> None:
        raise ZeroDivisionError("not one of ours")

    def hang(self) -> None:
        threading.Event().wait()


class SlowToBuild:
    """Never finishes its constructor."""

    def __init__(self) -> None:
        threading.Event().wait()
