"""From a scene's configuration to a Scene: shipped names, user's paths, data root, and the demo that makes
itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from i4d import config as cfg
from i4d.errors import ConfigError, SceneError
from i4d.scenes.readers import READERS
from i4d.scenes.readers.n3dv import LARGEST
from i4d.types import Scene


def data_root(given: str | None = None) -> Path:
    """Return where scenes lie: --data, else I4D_DATA, else ./data."""
    return Path(given or os.environ.get("I4D_DATA") or "data")


def scene_config(name: str) -> dict:
    """Return the configuration tree of a shipped scene (by name) or of a user's YAML file (by path)."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name)
        if not path.exists():
            raise SceneError(f"{path}: no such scene file", "give a YAML file, or a name from `i4d scenes`")
        tree = cfg.read_yaml(path)
    else:
        path = cfg.shipped("scenes") / f"{name}.yaml"
        if not path.exists():
            known = sorted(p.stem for p in cfg.shipped("scenes").glob("*.yaml"))
            raise SceneError(
                f"unknown scene '{name}'",
                f"shipped: {', '.join(known)}; or give the path of your own YAML file",
            )
        tree = cfg.read_yaml(path)
    if not isinstance(tree, dict) or "scene" not in tree:
        raise ConfigError(f"{path}: has no section 'scene'")
    return tree


def scene_folder(config: cfg.SceneConfig, data: str | None = None) -> Path:
    """Return the folder of a scene: `scene.root` where given, else <data root>/<name>."""
    return Path(config.root) if config.root else data_root(data) / config.name


def check_lists(config: cfg.SceneConfig) -> None:
    """Raise ConfigError where a list of a scene's configuration holds what it cannot."""
    for key, listed in (("drop", config.drop), ("held_out", config.held_out)):
        if not all(isinstance(name, str) for name in listed):
            raise ConfigError(f"scene.{key}: {str(listed)[:80]} is no list of names", "write names in quotes")
    if not config.aabb:
        return
    try:
        box = np.array(config.aabb, dtype=float)
    except (TypeError, ValueError, OverflowError):
        box = np.zeros(0)
    if box.shape != (2, 3) or not (np.abs(box) < LARGEST).all() or not (box[0] < box[1]).all():
        raise ConfigError(
            f"scene.aabb: {str(config.aabb)[:80]} is no box",
            "[[x0,y0,z0],[x1,y1,z1]], each x0 < x1 and so on",
        )


def load_scene(
    config: cfg.SceneConfig, data: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Scene:
    """Return the scene that a configuration describes; makes the demo where it is not there yet (`progress`:
    frames).
    """
    check_lists(config)
    root = scene_folder(config, data)
    return READERS[config.reader](config, root, progress)
