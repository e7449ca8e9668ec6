"""What an editor may keep between calls, within a number of bytes. Losing an entry costs time, never another
result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from i4d.editors.protocol import Conditions, Memory, joined

Key = TypeVar("Key", bound=Hashable)
MEMORY_FRACTION = 0.2  # of a card's memory, or of the cap, that memories of anchors may take


class ConditionCache:
    """Keeps the conditions of the most recently used originals, on the device."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.encoded = 0
        self._rows: OrderedDict[Hashable, Conditions] = OrderedDict()

    def get(self, keys: Sequence[Key], prepare: Callable[[Key], Conditions]) -> Conditions:
        """Return a row per key; `prepare` makes the one row of a key that is not held."""
        found = []
        for key in keys:
            if key not in self._rows:
                self._rows[key] = prepare(key)
                self.encoded += 1
            self._rows.move_to_end(key)
            found.append(self._rows[key])
        while sum(rows.size_bytes for rows in self._rows.values()) > self.max_bytes:
            self._rows.popitem(last=False)
        return joined(found)

    def clear(self) -> None:
        """Forget everything (weights move off the device)."""
        self._rows.clear()


class MemoryCache:
    """Keeps the most recently used memories of anchors."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self._memories: OrderedDict[Hashable, Memory] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Memory]) -> Memory:
        """Return the memory of a key, made if it is not held. Older ones leave before a new one is made."""
        if key in self._memories:
            self.hits += 1
            self._memories.move_to_end(key)
            return self._memories[key]
        if self._memories:
            # the next one will be much like the last
            self._shrink_to(self.max_bytes - next(reversed(self._memories.values())).size_bytes)
        memory = make()
        self._memories[key] = memory
        self._shrink_to(self.max_bytes)
        return memory

    def clear(self) -> None:
        """Forget everything (weights move off the device)."""
        self._memories.clear()

    def _shrink_to(self, max_bytes: int) -> None:
        while self._memories and sum(m.size_bytes for m in self._memories.values()) > max_bytes:
            self._memories.popitem(last=False)
