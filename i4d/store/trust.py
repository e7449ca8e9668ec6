"""Whose word counts: a run folder may come from anybody, so it cannot say where to store or to write.

A storage that the user has named once, with a run of his own or by --storage-path, is remembered in
~/.config/i4d/storage.txt, one a line.
"""

from __future__ import annotations

import os
from pathlib import Path

from i4d.errors import ConfigError, I4DError
from i4d.store.objects import write_atomically
from i4d.store.private import config_folder

FILE = "storage.txt"
_said: set[str] = set()  # in this process, for homes that cannot be written


def is_inside(storage: str, folder: Path) -> bool:
    """Return whether a storage (folder or URI, empty: the run's own) lies inside a folder."""
    return not storage or ("://" not in storage and Path(storage).resolve().is_relative_to(folder.resolve()))


def absolute_storage(storage: str) -> str:
    """Return a storage as it is compared and remembered: folders absolute, URIs as they are."""
    return storage if "://" in storage else str(Path(storage).expanduser().absolute())


def storage_is_known(storage: str, run: Path) -> bool:
    """Return whether a run's storage needs no word of the user's: it lies inside the run, or was named
    before.
    """
    return is_inside(storage, run) or storage in _said or storage in _known()


def remember_storage(storage: str) -> None:
    """Keep that the user has named a storage; one inside a run needs no keeping. Where the home cannot be
    written it is kept for this process only.
    """
    if not storage or storage in _known():
        return
    _said.add(storage)
    try:
        lines = "".join(f"{line}\n" for line in [*_known(), storage])
        write_atomically(config_folder() / FILE, lines.encode())
    except (OSError, I4DError):
        return


def _known() -> list[str]:
    try:
        return (config_folder() / FILE).read_text().splitlines()
    except (OSError, I4DError):
        return []


def check_links(run: Path) -> None:
    """Raise ConfigError where a run folder holds a link that leads out of it: what is written there would
    land elsewhere. Its store is not looked through: objects are written under names of their own.
    """
    for folder, folders, files in os.walk(run):
        here = Path(folder)
        for name in [*folders, *files]:
            path = here / name
            if path.is_symlink() and not path.resolve().is_relative_to(run.resolve()):
                raise ConfigError(
                    f"{path} is a link that leads out of the run",
                    "remove it; --storage-path names another store",
                )
        if here == run and "store" in folders:
            folders.remove("store")
