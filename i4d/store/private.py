"""Folders that belong to the user alone: caches, and what the user has said before.

A folder that somebody else could have made or can write into is refused: what lies in it may be planted.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from i4d.errors import StorageError
from i4d.store.objects import write_error


def cache_folder(name: str) -> Path:
    """Return this user's cache of a name: XDG_CACHE_HOME/i4d/<name>, else ~/.cache/i4d/<name>, or one under
    the temporary folder where there is no home that can be written. Made where it is missing, mode 0700.

    StorageError where it is not the user's own.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        return own_folder(Path(home) / "i4d" / name)
    except PermissionError:
        return own_folder(Path(tempfile.gettempdir()) / f"i4d-{os.getuid()}" / name)


def config_folder() -> Path:
    """Return where the user's own settings lie: XDG_CONFIG_HOME/i4d, else ~/.config/i4d. Made where it is
    missing; StorageError where it is another user's.
    """
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "i4d"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise write_error(path, err) from err
    _tighten(path)
    return path


def own_folder(path: Path) -> Path:
    """Return a folder and its parent, both made with mode 0700 where they are missing.

    PermissionError where they cannot be made; StorageError where either is a link, another user's, or open to
    others.
    """
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, path):
            folder.mkdir(mode=0o700, exist_ok=True)
    except PermissionError:
        raise
    except OSError as err:
        raise write_error(path, err) from err
    _tighten(path.parent)
    _check_own(path, 0o077)
    return path


def _tighten(path: Path) -> None:
    """Let nobody else write into a folder of the user's; what lies in it is checked by itself."""
    _check_own(path, 0)
    if path.stat().st_mode & 0o022:
        path.chmod(path.stat().st_mode & ~0o022)


def _check_own(path: Path, forbidden: int) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{path} is no folder but a link or a file", "remove it: it may be planted")
    if found.st_uid != os.getuid():
        raise StorageError(f"{path} belongs to another user", "set XDG_CACHE_HOME to a folder of your own")
    if found.st_mode & forbidden:
        raise StorageError(f"{path} is open to other users", f"see what is in it, then: chmod 700 {path}")
