"""The order of cameras and of pictures whose names hold numbers.

Two readings of a list of names are common: by name (cam1, cam10, cam2) and by number (cam1, cam2, cam10).
They differ where numbers are written with different widths. Where rows of a file belong to cameras by their
order, the wrong reading pairs every camera with another one's pose, so it is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from i4d.errors import SceneError
from i4d.scenes.names import some

Decide = Callable[[list[str], list[str]], str | None]
NUMBERS = re.compile(r"(\d+)")


def by_number(name: str) -> tuple:
    """Return a sorting key that takes runs of digits as numbers."""
    parts = NUMBERS.split(name)
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def camera_order(
    names: Sequence[str], how: str, where: str, decide: Decide | None = None
) -> tuple[list[str], str]:
    """Return camera names in the order of their poses, and one line about the choice (empty: there was none).

    `how` is `scene.order`. Under "auto", where the two readings differ, `decide(by name, by number)` may
    answer "name" or "number"; SceneError naming both orders where nobody decides.
    """
    orders = {"name": sorted(names), "number": sorted(names, key=by_number)}
    if orders["name"] == orders["number"]:
        return orders["name"], ""
    told = "asked for by scene.order"
    if how == "auto":
        how = (decide(orders["name"], orders["number"]) if decide else None) or ""
        told = "found by the calibration check"
    if how not in orders:
        raise SceneError(
            f"{where}: cameras may be ordered by name ({_begin(orders['name'])}) or by number "
            f"({_begin(orders['number'])}), and the poses follow one of them",
            "set scene.order: name or number",
        )
    return orders[how], f"cameras are ordered by {how} ({_begin(orders[how])}), {told}"


def _begin(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:4])} ..."


def numbered(files: Sequence[Path], where: str) -> tuple[list[Path], list[int]]:
    """Return pictures sorted by the one number that tells their names apart, and those numbers.

    SceneError where names have no number, more than one that changes, or share one.
    """
    if len(files) == 1:
        return list(files), [0]
    split = [NUMBERS.split(f.stem) for f in files]
    words = {tuple(parts[::2]) for parts in split}
    hint = "number the pictures of a camera: 00001.png, 00002.png, ..."
    if len(words) > 1 or len(split[0]) == 1:
        odd = next((f.name for f, p in zip(files, split, strict=True) if p[::2] != split[0][::2]), "")
        names = some([files[0].name, odd] if odd else [f.name for f in files])
        raise SceneError(f"{where}: no common numbering of the pictures ({names})", hint)
    changing = [i for i in range(1, len(split[0]), 2) if len({int(parts[i]) for parts in split}) > 1]
    if len(changing) != 1:
        raise SceneError(
            f"{where}: the names of the pictures hold {len(changing) or 'no'} numbers that change "
            f"({files[0].name}, {files[-1].name})",
            hint,
        )
    found = sorted((int(parts[changing[0]]), file) for file, parts in zip(files, split, strict=True))
    numbers = [number for number, _ in found]
    for (number, before), (again, after) in zip(found, found[1:], strict=False):
        if number == again:
            raise SceneError(f"{where}: {before.name} and {after.name} have the same number", hint)
    return [file for _, file in found], numbers
