"""Lines that fit the terminal they are read on, and stay whole where a program reads them."""

from __future__ import annotations

import shutil
import sys
import textwrap


def wrapped(text: str, indent: str) -> str:
    """Return a line broken at words to the terminal's width, later parts behind `indent`; as it is where
    stdout is no terminal.
    """
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
