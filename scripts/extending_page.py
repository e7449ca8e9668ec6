"""Put the programs of docs/extending.md into the page: each block behind a mark `<!-- file: PATH -->` becomes
that file, which the tests run.

    python scripts/extending_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "extending.md"
BLOCK = re.compile(r"(<!-- file: (?P<path>\S+) -->\n```python\n)(.*?)(```\n)", re.DOTALL)


def page(text: str) -> str:
    """Return the page with every marked block as its file is now."""
    return BLOCK.sub(lambda found: found[1] + (TOP / found["path"]).read_text() + found[4], text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
