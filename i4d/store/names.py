"""Names that become paths or keys, checked in one place: whoever wrote a run folder or a scene chose them."""

from __future__ import annotations

import re

from i4d.errors import BlockError, SceneError

_FILE_NAME = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f]{1,100}")
_DIGEST = re.compile(r"[0-9a-f]{32}")


def checked_camera(name: object, where: str) -> str:
    """Return a camera's name, which names its videos and masks; SceneError (beginning with `where`) for one
    that could leave its folder.
    """
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        rule = "up to 100 characters, no slash, the first no '.'"
        raise SceneError(f"{where}: a camera cannot be called {name!r}", rule)
    return name


def checked_digest(digest: object) -> str:
    """Return the digest that names a stored object, 32 hexadecimal digits; BlockError for anything else."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BlockError(f"no stored object is called {digest!r}", "32 hexadecimal digits")
    return digest
