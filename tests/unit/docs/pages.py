"""What the tests of the documents share: the repository's pages, and scripts as modules."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[3]


def script(name):
    """Return scripts/`name`.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def markdown():
    """Return every Markdown page of the repository."""
    folders = [ROOT / "docs", ROOT / "cluster", ROOT / "i4d", ROOT / "configs"]
    return sorted(ROOT.glob("*.md")) + sorted(path for folder in folders for path in folder.rglob("*.md"))
