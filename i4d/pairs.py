"""Which frames of a window are laid over each other: plain indices, for who plans flow and for who uses
it.
"""

from __future__ import annotations


def pairs_within(count: int, radius: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of a window's frames that are at most `radius` apart; -1 is the
    reference before the first.
    """
    return [(i, j) for i in range(-1, count) for j in range(max(i + 1, 0), min(count, i + radius + 1))]
