"""Seeds derived from what a piece of work *is*, never from who does it or when."""

from __future__ import annotations

import hashlib


def seed_for(run_seed: int, round_index: int, view: int | None, window: int | None, purpose: str) -> int:
    """Return a 63-bit seed for one piece of work.

    The same ids give the same seed on every machine and in every order, so a window that is sent again
    gives the same pixels. `view` and `window` are None where a piece of work has none: the anchor's noise
    (`purpose="anchor"`) has no window, so that all windows of a (view, round) share it.
    """
    text = f"{run_seed}|{round_index}|{view}|{window}|{purpose}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
