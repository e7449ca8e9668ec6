"""Fit the field to any scenes and measure it on cameras that were held out, as JSON.

    python scripts/bench_scenes.py data/rig data/demo --seconds 30 60 120 --json rig.json
    python scripts/bench_scenes.py procedural/wide:3 --preset configs/presets/demo.yaml --steps 2600
    python scripts/bench_scenes.py data/rig --rows rows.yaml --seeds 0 1      (an ablation: settings by row)
    python scripts/bench_scenes.py --toy                                      (seconds on two CPU cores)

A scene is a folder (poses_bounds.npy or cameras.json in it), a scene file, a shipped name, or a procedural
world `procedural/LAYOUT:SEED` with the layouts of i4d/scenes/procedural/rigs.py. Figures, over some frames
of the held-out and of some trained cameras: PSNR (of all pixels together), SSIM, LPIPS where its weights
are found, PSNR of the pixels that move and of those that stand still (a pixel moves where it differs from
the median of its video by more than 20 levels), and, where the scene brings exact depth, the share of
pixels whose depth is within 2 %. Seconds are those of fitting alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i4d import config as cfg
from i4d.config import Config, SceneConfig
from i4d.errors import I4DError, WeightsError
from i4d.field.fit import Fitter
from i4d.field.frames import MOTION, FrameBank
from i4d.field.spaces import space_for
from i4d.field.workers import Workers
from i4d.metrics.image import psnr, ssim
from i4d.metrics.perceptual import Lpips, find_lpips
from i4d.scenes.load import load_scene, scene_config
from i4d.scenes.n3dv import NEAR_MARGIN
from i4d.scenes.prepare import working_frames
from i4d.scenes.procedural.rigs import write_rig
from i4d.types import Scene

TRAINED_VIEWS, FRAMES = 2, 10  # looked at


@dataclass
class Footage:
    """A scene's decoded frames: `rows` (view, frame, height, width, 3) uint8 by view, `moving` likewise."""

    scene: Scene
    rows: list[np.ndarray]
    depth: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # exact, by (view, frame)

    def moving(self, view: int, frame: int) -> torch.Tensor:
        """Return which pixels (height, width) of a frame differ from the median of their video."""
        if view not in self._medians:
            self._medians[view] = np.median(self.rows[view][:: max(1, len(self.rows[view]) // 15)], 0)
        away = np.abs(self.rows[view][frame].astype(np.float32) - self._medians[view]).max(-1)
        return torch.from_numpy(away > MOTION)

    def __post_init__(self) -> None:
        self._medians: dict[int, np.ndarray] = {}


def scene_settings(name: str, args: argparse.Namespace, scratch: Path) -> Config:
    """Return the configuration of a scene given by folder, file, name or procedural layout."""
    config = Config()
    if name.startswith("procedural/"):
        layout, _, seed = name.removeprefix("procedural/").partition(":")
        root = scratch / f"{layout}_{seed or 0}"
        width, height = (int(n) for n in args.size.split("x"))
        if not root.exists():
            device = "cuda" if torch.cuda.is_available() else "cpu"
            write_rig(root, layout, int(seed or 0), width, height, args.frames, args.cameras, device)
        config.scene = SceneConfig(name=root.name, reader="n3dv", root=str(root), held_out=["cam00"])
    elif Path(name).is_dir():
        reader = "n3dv" if (Path(name) / "poses_bounds.npy").exists() else "rig"
        config.scene = SceneConfig(name=Path(name).name, reader=reader, root=name)
        config.scene.held_out = ["cam00"] if reader == "n3dv" else []
    else:
        tree = dict(scene_config(name))
        tree.pop("preset", None)
        cfg.merge(config, {"scene": tree["scene"]}, name)
    for preset in args.preset:
        tree = cfg.read_yaml(preset)
        cfg.merge(config, {k: tree[k] for k in ("field", "scene") if k in tree}, str(preset))
    for text in args.set:
        cfg.set_key(config, *cfg.parse_assignment(text), "--set")
    return config


def read(config: Config, data: str | None) -> Footage:
    """Return a scene with all its frames in memory, and exact depth where it lies beside them."""
    scene = load_scene(config.scene, data)
    rows = [np.stack(list(working_frames(scene, config.scene, v))) for v in range(len(scene.cameras))]
    footage, root = Footage(scene, rows), Path(config.scene.root)
    unit = scene_unit(scene, config)
    for view, camera in enumerate(scene.cameras):
        for path in (
            Path(scene.exact or root) / f"{camera.name}.npz",
            root / "gt" / f"depth_{camera.name}.npz",
        ):
            if not path.exists():
                continue
            with np.load(path) as exact:
                depth = exact["depth"]
                frames = exact["frames"] if "frames" in exact else range(len(depth))
                if len(depth) == 2 and "frames" not in exact:
                    frames = (0, scene.num_frames // 2)
            for frame, image in zip(frames, depth, strict=True):
                if image.shape == (camera.height, camera.width):
                    footage.depth[view, int(frame)] = image / unit
    return footage


def scene_unit(scene: Scene, config: Config) -> float:
    """Return the file's length of one unit of the scene: the N3DV reader divides, others do not."""
    if config.scene.reader not in ("n3dv", "demo"):
        return 1.0
    ranges = np.load(Path(scene_root(scene, config)) / "poses_bounds.npy")[:, 15]
    return NEAR_MARGIN * float(ranges.min())


def scene_root(scene: Scene, config: Config) -> str:
    """Return the folder that a scene was read from."""
    return str(Path(scene.exact).parent) if scene.exact else config.scene.root


def measured(
    fitter: Fitter, footage: Footage, views: tuple[int, ...], lpips: Lpips | None
) -> dict[str, float]:
    """Return the figures of some views, over FRAMES frames of each."""
    scene, device = footage.scene, fitter.device
    frames = sorted({round(f) for f in np.linspace(0, scene.num_frames - 1, FRAMES)} | {0})
    shown, truth, moving, likeness, perceived, close = [], [], [], [], [], []
    for view in views:
        for frame in frames:
            image = fitter.image(scene.cameras[view].at(frame), frame)
            rgb = fitter.exposed(image.rgb, view) if view in scene.train_views else image.rgb
            rgb = (rgb.clamp(0, 1) * 255).round() / 255
            original = torch.from_numpy(footage.rows[view][frame]).to(device).float() / 255
            shown.append(rgb.reshape(-1, 3)), truth.append(original.reshape(-1, 3))
            moving.append(footage.moving(view, frame).to(device).reshape(-1))
            likeness.append(ssim(rgb, original))
            if lpips is not None:
                pair = (t.permute(2, 0, 1)[None] for t in (rgb, original))
                perceived.append(float(lpips(*pair)))
            if (view, frame) in footage.depth:
                exact = torch.from_numpy(footage.depth[view, frame]).to(device)
                close.append(((image.depth_z / exact - 1).abs() < 0.02).float().mean().item())
    a, b, moves = torch.cat(shown), torch.cat(truth), torch.cat(moving)
    found = {
        "psnr_db": psnr(a, b),
        "ssim": float(np.mean(likeness)),
        "moving_share": moves.float().mean().item(),
    }
    for name, mask in (("moving_db", moves), ("still_db", ~moves)):
        found[name] = psnr(a, b, mask) if mask.any() else float("nan")
    if perceived:
        found["lpips"] = float(np.mean(perceived))
    if close:
        found["depth_within_2_percent"] = float(np.mean(close))
    return found


def fits(
    footage: Footage, config: Config, seed: int, args: argparse.Namespace, lpips: Lpips | None
) -> Iterator[dict[str, Any]]:
    """Fit once and yield the figures at every budget: seconds of fitting, or the end of the schedule."""
    scene, device = footage.scene, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    workers = Workers(1 if device.type == "cuda" else torch.get_num_threads())
    space = space_for(scene.bounds, scene.cameras)
    fitter = Fitter(config.field, space, scene.num_frames, seed, device, workers, views=scene.train_views)
    bank = FrameBank(scene.cameras, scene.train_views, scene.num_frames, scene.missing)
    for view in scene.train_views:
        bank.put(view, 0, footage.rows[view])
    held_out = tuple(v for v in range(len(scene.cameras)) if v not in scene.train_views)
    steps = args.steps or config.field.fit_steps
    fitter.begin("fit", steps)
    fitter.advance(bank, 1)  # kernels are compiled, and do not count
    spent, budgets = 0.0, sorted(args.seconds)
    every = 10 if device.type == "cpu" else 100
    while fitter.step < steps:
        start = time.perf_counter()
        fitter.advance(bank, every)
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent += time.perf_counter() - start
        due = fitter.step >= steps or (budgets and spent >= budgets[0])
        if not due:
            continue
        budgets = [b for b in budgets if b > spent]
        row = {"seconds": spent, "step": fitter.step, "steps": steps, "grid": list(fitter.field.cells)}
        row["rays_per_s"] = fitter.step * config.field.rays / spent
        if held_out:
            row["held_out"] = measured(fitter, footage, held_out[:TRAINED_VIEWS], lpips)
        chosen = scene.train_views[:: max(1, len(scene.train_views) // TRAINED_VIEWS)][:TRAINED_VIEWS]
        row["trained"] = measured(fitter, footage, chosen, lpips)
        yield row
        if args.seconds and not budgets:
            return


def rows_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the rows of an ablation: settings of `field` and `scene` by the row's name."""
    return cfg.read_yaml(args.rows) if args.rows else {"as set": {}}


def run(args: argparse.Namespace) -> int:
    """Carry out every scene, row and seed; results are written as they come. Returns the exit code."""
    try:
        lpips = find_lpips(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    except WeightsError as err:
        lpips = None
        print(f"no LPIPS: {err.message}", flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    results: dict[str, Any] = {
        "command": sys.argv[1:],
        "device": device,
        "torch": torch.__version__,
        "rows": [],
    }
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.scenes:
            footages: dict[str, Footage] = {}
            for title, settings in rows_of(args).items():
                config = scene_settings(name, args, args.keep or Path(scratch))
                for key, value in settings.items():
                    cfg.set_key(config, key, value, title)
                key = json.dumps(asdict(config.scene))
                try:
                    if key not in footages:
                        footages = {key: read(config, args.data)}
                    for seed in args.seeds:
                        about = {"scene": name, "row": title, "seed": seed, "settings": settings}
                        for row in fits(footages[key], config, seed, args, lpips):
                            results["rows"].append(about | rounded(row))
                            print(brief(about | row), flush=True)
                            if args.json:
                                args.json.write_text(json.dumps(results, indent=1))
                except I4DError as err:  # the other rows are worth their time all the same
                    failed += 1
                    print(f"{name}, {title}: {err}", flush=True)
    return 1 if failed else 0


def rounded(value: Any) -> Any:
    """Return numbers with five digits, also inside dictionaries and lists."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def brief(row: dict[str, Any]) -> str:
    """Return one line of a result."""
    seen = row.get("held_out") or row["trained"]
    depth = seen.get("depth_within_2_percent")
    return (
        f"{Path(row['scene']).name:14.14} {row['row']:28.28} seed {row['seed']} {row['seconds']:6.1f} s "
        f"step {row['step']:6d}: {'held out' if 'held_out' in row else 'trained'} {seen['psnr_db']:5.2f} dB "
        f"(moving {seen['moving_db']:5.2f}, still {seen['still_db']:5.2f}), ssim {seen['ssim']:.3f}, "
        f"trained {row['trained']['psnr_db']:5.2f} (moving {row['trained']['moving_db']:5.2f})"
        + (f", depth {depth:.3f}" if depth is not None else "")
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", help="folders, scene files, names, procedural/LAYOUT:SEED")
    parser.add_argument("--data", help="data root of scenes given by name")
    parser.add_argument("--preset", type=Path, action="append", default=[], help="YAML with a section field")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--rows", type=Path, help="YAML: row name -> {field.key: value, scene.key: value}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=0, help="steps of the schedule; 0: field.fit_steps")
    parser.add_argument("--seconds", type=float, nargs="*", default=[], help="budgets at which to measure")
    parser.add_argument("--size", default="416x312", help="of procedural worlds")
    parser.add_argument("--frames", type=int, default=50, help="of procedural worlds")
    parser.add_argument("--cameras", type=int, default=12, help="of procedural worlds")
    parser.add_argument("--keep", type=Path, help="folder where procedural worlds are written and kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--toy", action="store_true", help="two procedural worlds, everything tiny")
    args = parser.parse_args()
    if args.toy:
        args.scenes, args.size, args.frames, args.cameras = ["procedural/wide:1"], "48x36", 4, 4
        args.steps = args.steps or 40
        args.set += ["field.grid_start=4096", "field.grid_end=8000", "field.rays=128", "field.samples=12"]
        args.set += ["field.proposals=24", "field.growth_at=[0.5]", "scene.bounds=box"]
    if not args.scenes:
        parser.error("name a scene, or --toy")
    return args


if __name__ == "__main__":
    sys.exit(run(parse()))
