"""How a command ends: as programs do, unless what lies below could not be closed and would not let it."""

from __future__ import annotations

import os
import sys

_broken: list[str] = []  # what cannot be closed


def cannot_close(what: str) -> None:
    """Note that something (such as Ray without its head) would hang or crash while the interpreter takes its
    leave of it.
    """
    _broken.append(what)


def leave(code: int) -> None:
    """End this process with an exit code."""
    if not _broken:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
