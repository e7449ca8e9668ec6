"""The configuration of a command: defaults, scene, presets, files and options, each layer over the one
before.

    defaults <- the scene file's own presets <- the scene file <- --preset <- --config <- options <- --set

`--preset` comes after the scene file because it chooses size and length of a scene (50_2, 300_4).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i4d import config as cfg
from i4d.config import Config
from i4d.errors import ConfigError, WeightsError
from i4d.scenes.load import scene_config, scene_folder
from i4d.scenes.reference import check_reference
from i4d.scenes.where import check_where
from i4d.types import Scene

EXAMPLE_SCENE = "demo"


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or os.sep in name


def _refuse_places(tree: dict, where: str) -> None:
    """Raise ConfigError where a file that may come from anybody says where to compute or to store."""
    for key, flag in (
        ("cluster", "--address or --set cluster..."),
        ("storage_path", "--set storage_path=..."),
    ):
        if isinstance(tree, dict) and key in tree:
            raise ConfigError(
                f"{where}: '{key}' does not belong into a scene file",
                f"say it yourself: {flag}, or in a file of yours given with --config",
            )


def preset_tree(name: str) -> dict:
    """Return the configuration tree of a shipped preset (by name) or of a YAML file (by path)."""
    if _is_file(name):
        return cfg.read_yaml(Path(name))
    path = cfg.shipped("presets") / f"{name}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in cfg.shipped("presets").glob("*.yaml"))
        raise ConfigError(
            f"unknown preset '{name}'", f"shipped: {', '.join(known)}; or give the path of a YAML file"
        )
    return cfg.read_yaml(path)


def layered(
    scene: str = "",
    presets: Sequence[str] = (),
    files: Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> Config:
    """Return the checked configuration. `options` maps dotted keys to values, None where an option was not
    given.

    Without a scene one of the files must describe one. ConfigError or SceneError names the layer.
    """
    config = Config()
    given = [(str(path), cfg.read_yaml(Path(path))) for path in files]
    if not scene and not any("scene" in tree for _, tree in given):
        remedy = (
            f"--scene {EXAMPLE_SCENE} for the bundled one, a name from `i4d scenes`, or your own YAML file"
        )
        raise ConfigError("--scene is missing", remedy)
    if scene:
        tree = dict(scene_config(scene))
        _refuse_places(tree, f"scene {scene}")
        named = tree.pop("preset", [])
        for name in [named] if isinstance(named, str) else named:
            preset = preset_tree(str(name))
            if _is_file(str(name)):  # it came with the scene; what ships with i4d may say where to compute
                _refuse_places(preset, f"preset {name} of scene {scene}")
            cfg.merge(config, preset, f"preset {name}")
        cfg.merge(config, tree, f"scene {scene}")
    for name in presets:
        cfg.merge(config, preset_tree(name), f"preset {name}")
    for path, tree in given:
        cfg.merge(config, tree, path)
    for key, value in (options or {}).items():
        if value is not None:
            cfg.set_key(config, key, value, "option")
    for text in sets:
        key, value = cfg.parse_assignment(text)
        cfg.set_key(config, key, value, "--set")
    _check_strengths(config)
    return config


def _check_strengths(config: Config) -> None:
    """Raise ConfigError where a repaint has more steps than its schedule has timesteps."""
    s = config.schedule
    pairs = (
        ("schedule.refine_diffusion_steps", s.refine_diffusion_steps, s.refine_num_steps),
        (
            "schedule.restview_refine_diffusion_steps",
            s.restview_refine_diffusion_steps,
            s.restview_refine_num_steps,
        ),
    )
    for key, steps, timesteps in pairs:
        if steps > timesteps:
            raise ConfigError(
                f"{key} = {steps} is out of range", f"at most {timesteps}, the timesteps it is spread over"
            )


def fitted_to(config: Config, scene: Scene) -> None:
    """Settle, in place, what the number of edited cameras decides."""
    if config.editor.attention == "auto":
        config.editor.attention = "anchor" if len(scene.train_views) > 1 else "anchor_self"


def settled(config: Config, data: str | None = None) -> Config:
    """Return the configuration with every local path made absolute, in place: what is stored with a run.

    WeightsError where a named flow checkpoint is missing.
    """
    config.scene.root = str(scene_folder(config.scene, data).absolute())
    if config.flow.checkpoint:
        path = Path(config.flow.checkpoint).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"{path}: no RAFT checkpoint there", "set flow.checkpoint to a file, or flow.method to dis"
            )
        config.flow.checkpoint = str(path.absolute())
    weights = Path(config.editor.weights).expanduser()
    if weights.is_dir():
        config.editor.weights = str(weights.absolute())
    check_where(config.local.where, config.local.segmenter)
    check_reference(config.local)
    if config.local.reference:
        config.local.reference = str(Path(config.local.reference).absolute())
    if Path(config.local.where).expanduser().exists() and config.local.where:
        config.local.where = str(Path(config.local.where).expanduser().absolute())
    if config.storage_path and "://" not in config.storage_path:
        config.storage_path = str(Path(config.storage_path).expanduser().absolute())
    return config
