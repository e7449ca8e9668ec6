"""The demonstration editor that comes with the package."""

from __future__ import annotations

from pathlib import Path

BUNDLED_NAME = "tiny-ip2p"
BUNDLED = Path(__file__).resolve().parents[1] / "assets" / BUNDLED_NAME
