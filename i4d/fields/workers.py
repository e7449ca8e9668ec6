"""Several CPU cores for one fit: a few threads, each with its own rays or its own parameters.

PyTorch's own threads do not help here: a step is made of many short operations, and the lookup
(`grid_sample`) of one plane runs on one core however many there are. Threads that each take a part of the
rays keep all cores busy. Parts are fixed by their number and results come back in order, so the bits depend
on the number of workers and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """`count` threads with one compute thread each; a count of 1 computes in the calling thread, as it is
    set.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"{count} threads")
        self.count = count
        self._pool = ThreadPoolExecutor(count, "field", torch.set_num_threads, (1,)) if count > 1 else None

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return `work` of every item, in order; raises what the first failing item raised."""
        if self._pool is None or len(items) == 1:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def lead(self, work: Callable[[], Result]) -> Result:
        """Return `work()` of the calling thread, which hands pieces to the others meanwhile: with one compute
        thread as they have. PyTorch's own would wait for cores that the others hold. Set back afterwards.
        """
        threads = torch.get_num_threads()
        if self._pool is None or threads == 1:
            return work()
        torch.set_num_threads(1)
        try:
            return work()
        finally:
            torch.set_num_threads(threads)

    def parts(self, length: int) -> list[slice]:
        """Return `count` slices (fewer if there is less to share) that cover 0..length-1 evenly."""
        count = max(1, min(self.count, length))
        ends = [length * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
