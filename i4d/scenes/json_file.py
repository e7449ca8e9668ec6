"""Reading the JSON files that describe captures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from i4d.errors import SceneError


def read_json(path: Path, hint: str) -> Any:
    """Return what a JSON file holds; SceneError where it is missing, with the `hint`, or no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise SceneError(f"{path}: missing", hint) from None
    except (ValueError, UnicodeDecodeError) as err:
        raise SceneError(f"{path}: not valid JSON ({err})") from None
