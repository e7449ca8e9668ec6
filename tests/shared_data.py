"""Where the data lie that tests share and the project does not ship."""

import os
from pathlib import Path

import pytest


def shared_folder(inside: str) -> Path:
    """Return a folder or file of the shared data (I4D_SHARED, else ../shared/data), or skip."""
    root = Path(os.environ.get("I4D_SHARED", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / inside).exists():
        pytest.skip(f"shared data absent: {root / inside}")
    return root / inside
