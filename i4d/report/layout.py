"""How pictures stand on the page: grids for wide and for tall cameras, what a section says of frames, the
command behind its pictures.
"""

from __future__ import annotations

import shlex
from html import escape

from i4d.types import Camera

_TALLEST = "min(44vh, 420px)"  # of a tall camera's picture on a sheet, so that two rows fit a screen


def is_tall(camera: Camera) -> bool:
    """Return whether a camera's pictures are higher than wide, as a phone held upright films."""
    return camera.height > camera.width


def sheet(columns: int, camera: Camera, least_px: int = 150) -> str:
    """Return the style of a sheet with a column of row names and `columns` of pictures of one camera's shape.

    Wide pictures are at least `least_px` wide and share the width, up to about twice that where they are few;
    tall ones are as wide as two rows of them on a screen allow.
    """
    if not is_tall(camera):
        widest = f"{2 * least_px + 40}px" if columns < 4 else "1fr"
        return (
            f"grid-template-columns: auto repeat({columns}, minmax({least_px}px, {widest}))"
            + "; justify-content: start" * (columns < 4)
        )
    each = f"minmax({round(0.55 * least_px)}px, calc({_TALLEST} * {camera.width / camera.height:.3f}))"
    return f"grid-template-columns: auto repeat({columns}, {each}); justify-content: start"


def abreast(count: int, camera: Camera) -> tuple[str, str]:
    """Return the class and the style that let `count` tall videos stand side by side; empty where the camera
    is wide.
    """
    if not is_tall(camera):
        return "", ""
    return " tall", f' style="--count: {count}; --shape: {camera.width / camera.height:.3f}"'


def which(frame: int, num_frames: int) -> str:
    """Return a frame by its number as the command line counts: from 0."""
    return f"frame {frame} of 0 to {num_frames - 1}"


def again(run: str, *words: str) -> str:
    """Return the line with the command that makes a section's pictures again; `words` stand before the name
    of the run's folder.
    """
    command, *options = words
    return f"<p class='again'>Again: <code>{escape(shlex.join(['i4d', command, run, *options]))}</code></p>"
