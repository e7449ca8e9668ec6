"""What cameras may be called: their names become parts of file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from i4d.errors import SceneError

_CAMERA = re.compile(r"[\w-][\w. -]{0,63}")


def camera_name(name: object, where: str) -> str:
    """Return the name of a camera; SceneError, beginning with `where`, for one that could leave a folder."""
    if not isinstance(name, str) or not _CAMERA.fullmatch(name):
        raise SceneError(
            f"{where}: a camera cannot be called {name!r}",
            "up to 64 letters, digits, '.', '_', '-' and blanks, the first no '.' and no blank",
        )
    return name


def some(names: Iterable[str], most: int = 4) -> str:
    """Return names in a short list: all of a few, else the first and how many more."""
    listed = list(names)
    if len(listed) <= most:
        return ", ".join(listed)
    return f"{', '.join(listed[: most - 1])} and {len(listed) - most + 1} more"


def file_inside(root: Path, name: object, where: str) -> Path:
    """Return root / name, a file; SceneError where that leaves the folder or is none."""
    try:
        file = root / str(name or "")
        inside = bool(name) and file.resolve().is_relative_to(root.resolve())
        there = inside and file.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        inside, there = False, False
    if not inside:
        raise SceneError(f"{where}: {str(name)[:80]!r} is not a file in {root}")
    if not there:
        raise SceneError(f"{file}: missing", f"it is named in {where}; drop its camera with scene.drop")
    return file
