"""Digests of large files, such as weights: every byte counts, and each file is read once as long as it stays
as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from i4d.errors import I4DError, WeightsError
from i4d.store.objects import write_atomically
from i4d.store.private import cache_folder

_known: dict[str, list] = {}  # of this process: path to [size, mtime in ns, digest]
_CHUNK = 1 << 22


def file_digest(path: Path) -> str:
    """Return the 128-bit digest of a file's bytes; WeightsError where it cannot be read.

    What was read before is remembered in the user's cache by path, size and time of change.
    """
    path = path.resolve()
    try:
        found = path.stat()
        stamp = [found.st_size, found.st_mtime_ns]
        known = _known.get(str(path)) or _remembered().get(str(path))
        if known is None or known[:2] != stamp:
            known = [*stamp, _read(path)]
            _remember(str(path), known)
    except OSError as err:
        raise WeightsError(f"{path}: cannot be read: {err.strerror or err}") from err
    _known[str(path)] = known
    return known[2]


def folder_digest(folder: Path, parts: Iterable[str]) -> str:
    """Return the digest of all files below some sub-folders, their names included."""
    files = sorted(file for part in parts for file in (folder / part).rglob("*") if file.is_file())
    names = [[file.relative_to(folder).as_posix(), file_digest(file)] for file in files]
    return hashlib.blake2b(json.dumps(names).encode(), digest_size=16).hexdigest()


def _read(path: Path) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def _remembered() -> dict[str, list]:
    try:
        tree = json.loads((cache_folder("digests") / "files.json").read_text())
    except (OSError, ValueError, I4DError):  # a cache that cannot be used costs time, nothing else
        return {}
    return {str(k): v for k, v in tree.items() if isinstance(v, list) and len(v) == 3}


def _remember(path: str, entry: list) -> None:
    try:
        place = cache_folder("digests") / "files.json"
        write_atomically(place, json.dumps({**_remembered(), path: entry}).encode())
    except (OSError, I4DError):
        return
