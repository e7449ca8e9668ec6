"""`i4d check`: do the poses fit the pictures, and are the cameras in step."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i4d.commands.layers import layered, settled
from i4d.errors import ConfigError
from i4d.report.calibration import lines_of
from i4d.report.console import Console
from i4d.scenes.calibration.check import looked_at
from i4d.scenes.calibration.picture import picture
from i4d.scenes.load import load_scene

STOPPED = 3


def check(
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Mapping[str, Any],
    sets: Sequence[str],
    as_json: bool,
    drawn: Path | None,
) -> int:
    """Check a scene and print what was found; returns 0, or 3 where a run on it would be stopped."""
    if drawn is not None and drawn.suffix.lower() != ".png":
        raise ConfigError(f"--picture {drawn}: not a .png")
    config = settled(layered(scene, presets, files, options, sets))
    console = Console(sys.stderr)
    loaded = load_scene(config.scene, None, console.making)
    console.begin("check", len(loaded.source_cameras))
    try:
        found, seen = looked_at(loaded, config.scene, console.progress)
    finally:
        console.close()
    print(json.dumps(found.to_json(), indent=1) if as_json else "\n".join(lines_of(found)))
    if drawn is not None and seen is not None:
        from PIL import Image

        drawn.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(found, seen)).save(drawn)
        print(f"picture: {drawn}", file=sys.stderr if as_json else sys.stdout)
    return STOPPED if found.stopping else 0
