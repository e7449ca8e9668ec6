"""Names that become keys of a store: whoever wrote a run folder chose them. Cameras: scenes/names.py."""

from __future__ import annotations

import re

from i4d.errors import BlockError

_DIGEST = re.compile(r"[0-9a-f]{32}")


def checked_digest(digest: object) -> str:
    """Return the digest that names a stored object, 32 hexadecimal digits; BlockError for anything else."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BlockError(f"no stored object is called {digest!r}", "32 hexadecimal digits")
    return digest
