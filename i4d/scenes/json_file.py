"""Reading the JSON files that describe captures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from i4d.errors import SceneError


def read_json(path: Path, hint: str) -> Any:
    """Return what a JSON file holds (UTF-8, -16 or -32); SceneError where it is missing, with the `hint`, or
    no JSON.
    """
    try:
        return json.loads(path.read_bytes(), parse_int=_integer)
    except FileNotFoundError:
        raise SceneError(f"{path}: missing", hint) from None
    except OSError as err:
        raise SceneError(f"{path}: cannot be read ({err.strerror})", hint) from None
    except (ValueError, RecursionError) as err:
        raise SceneError(f"{path}: not valid JSON ({str(err)[:120]})") from None


def _integer(digits: str) -> int | float:
    """Return an integer, or a float where no machine integer holds it: range checks speak of it then."""
    return int(digits) if len(digits) < 19 else float(digits)
