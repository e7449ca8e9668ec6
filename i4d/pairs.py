"""Which frames of a window are laid over each other: plain indices, for who plans flow and for who uses
it.
"""

from __future__ import annotations

REFERENCE, ANCHOR = -1, -2  # what a window of frames 0, 1, ... looks at besides


def pairs_within(count: int, radius: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of a window's frames that are at most `radius` apart; -1 is the
    reference before the first.
    """
    return [(i, j) for i in range(-1, count) for j in range(max(i + 1, 0), min(count, i + radius + 1))]


def flows_of_window(
    count: int, references: str, blend: int, anchor_is_reference: bool
) -> list[tuple[int, int]]:
    """Return the pairs (i, j) whose flows a window of so many frames takes, each once: those that are pulled
    along (`references` of `EditSettings`), then those of neighbours up to `blend` apart that are averaged.
    """
    from_where = {"none": (), "last": (REFERENCE,), "both": (REFERENCE, ANCHOR)}[references]
    pulled = [
        (source, frame)
        for source in from_where
        if source == REFERENCE or not anchor_is_reference
        for frame in range(count)
    ]
    return list(dict.fromkeys(pulled + pairs_within(count, blend)))
