"""Readers of scene folders, one module a layout. A reader is a function `(config, root, progress) -> Scene`;
others come with packages that bring the entry point `i4d.readers`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i4d.config import SceneConfig
from i4d.registry import Registry
from i4d.types import Scene

Progress = Callable[[int, int], None] | None  # (frames made, of all), of scenes that make themselves
Reader = Callable[[SceneConfig, Path, Progress], Scene]

READERS: Registry[Reader] = Registry(
    "i4d.readers",
    "scene.reader",
    {
        "n3dv": "i4d.scenes.readers.n3dv:read",
        "rig": "i4d.scenes.readers.rig:read_rig",
        "nerfstudio": "i4d.scenes.readers.nerfstudio:read_nerfstudio",
        "dycheck": "i4d.scenes.readers.dycheck:read_dycheck",
        "demo": "i4d.scenes.readers.demo:read_demo",
        "demo_mono": "i4d.scenes.readers.demo:read_demo_mono",
    },
)
