"""The two bundled scenes, which make themselves where they are not there yet."""

from __future__ import annotations

from pathlib import Path

from i4d.config import SceneConfig
from i4d.scenes.procedural import mono
from i4d.scenes.procedural.demo import HEIGHT, NUM_FRAMES, WIDTH, write_demo
from i4d.scenes.readers import Progress
from i4d.scenes.readers.dycheck import read_dycheck
from i4d.scenes.readers.n3dv import read
from i4d.types import Scene


def read_demo(config: SceneConfig, root: Path, progress: Progress = None) -> Scene:
    """Return the procedural room seen by a rig, in the size and length that are asked for."""
    frames = config.num_frames or NUM_FRAMES
    width, height = config.width or WIDTH, config.height or HEIGHT
    root = root / f"{width}x{height}x{frames}"
    if not (root / "scene.json").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        write_demo(root, width, height, frames, progress=progress)
    return read(config, root)


def read_demo_mono(config: SceneConfig, root: Path, progress: Progress = None) -> Scene:
    """Return the same room seen by one camera that moves."""
    size = config.width or mono.WIDTH, config.height or mono.HEIGHT, config.num_frames or mono.NUM_FRAMES
    root = root / "x".join(map(str, size))
    if not (root / "scene.json").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        mono.write_mono(root, *size, progress=progress)
    return read_dycheck(config, root)
