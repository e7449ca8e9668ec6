"""Fit the field to any scenes and measure it on cameras that were held out, as JSON.

    python scripts/bench_scenes.py data/rig data/demo --seconds 30 60 120 --json rig.json
    python scripts/bench_scenes.py procedural/wide:3 --preset configs/presets/demo.yaml --steps 2600
    python scripts/bench_scenes.py data/rig --rows rows.yaml --seeds 0 1      (an ablation: settings by row)
    python scripts/bench_scenes.py --toy                                      (seconds on two CPU cores)

A scene is a folder (poses_bounds.npy or cameras.json in it), a scene file, a shipped name, or a procedural
world `procedural/LAYOUT:SEED` with the layouts of i4d/scenes/procedural/rigs.py. The field's space is settled
as a run settles it (`scene.bounds: auto` is tried). Figures of the held-out and of some trained cameras: PSNR
and SSIM as a run's report has them (i4d/metrics/image.py: mean over images, all frames unless --measured says
how many), LPIPS of LPIPS_FRAMES frames where its weights are found, and PSNR of the pixels that move and of
those that stand still, all such pixels together (a pixel moves where it differs from the median of its video
by more than 20 levels). Seconds are those of fitting alone.

Where the scene brings exact depth (i4d/metrics/depth.py): the share of pixels whose depth is within 2 %; near
depth edges the share within 5 % and the median relative error; and the matches between cameras that the depth
of the field makes, by the test of the key frame's warps at 0.05 of the median depth, from each camera with
exact depth to MATCHED_VIEWS trained ones: `matched` is the share of its pixels (counted once for each camera
that they fall into) that pass the test, `correct_matches` the share of those that show the same surface.
Cameras without exact depth of their own cannot tell that a point is hidden from them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i4d import config as cfg
from i4d.config import Config, SceneConfig
from i4d.errors import I4DError, WeightsError
from i4d.fields.frames import MOTION, FrameBank
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.fields.workers import Workers
from i4d.metrics.depth import View, edge_figures, matches
from i4d.metrics.image import as_uint8, image_psnr, image_ssim
from i4d.metrics.perceptual import Lpips, find_lpips
from i4d.scenes.load import load_scene, scene_config
from i4d.scenes.prepare import working_frames
from i4d.scenes.procedural.rigs import write_rig
from i4d.scenes.readers.n3dv import NEAR_MARGIN
from i4d.scenes.space_trial import settle_space
from i4d.types import MATCH_SHARE, Scene

TRAINED_VIEWS, LPIPS_FRAMES, MATCHED_VIEWS = 2, 16, 6  # looked at


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
    scene = settle_space(load_scene(config.scene, data), config)
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
                frames = exact["frames"] if "frames" in exact else depth_frames(root, len(depth))
            for source, image in zip(frames, depth, strict=True):
                frame, between = divmod(int(source) - config.scene.start, config.scene.stride)
                if between or not 0 <= frame < scene.num_frames:
                    continue
                footage.depth[view, frame] = sampled(image, camera.height, camera.width) / unit
    return footage


def depth_frames(root: Path, count: int) -> Sequence[int]:
    """Return which frames of the videos `count` depth images are of: what scene.json says, else the first."""
    path = root / "scene.json"
    told = json.loads(path.read_text()).get("depth", {}).get("frames", ()) if path.exists() else ()
    return told if len(told) == count else range(count)


def sampled(depth: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a depth image at another size: the nearest of its pixels at every new centre, nothing mixed."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip((height, width), depth.shape, strict=True)
    )
    return depth[np.ix_(rows, columns)].astype(np.float32)


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
    fitter: Fitter, footage: Footage, views: tuple[int, ...], lpips: Lpips | None, most: int = 0
) -> dict[str, float]:
    """Return the figures of some views over all frames that they took, or `most` of them evenly spread."""
    scene, device = footage.scene, fitter.device
    error, pixels, each, alike, perceived, close = [0.0, 0.0], [0, 0], [], [], [], []
    edges: dict[str, list[float]] = {}
    for view in views:
        gone = {f for v, a, b in scene.missing if v == view for f in range(a, b)}
        frames = [f for f in spread(scene.num_frames, most) if f not in gone]
        perceive = [frames[i] for i in spread(len(frames), LPIPS_FRAMES)] if lpips is not None else []
        for frame in frames:
            image = fitter.image(fitter.corrected(scene.cameras[view], view).at(frame), frame)
            rgb = fitter.exposed(image.rgb, view) if view in scene.train_views else image.rgb
            shown, original = as_uint8(rgb), footage.rows[view][frame]
            each.append(image_psnr(shown, original))
            if (likeness := image_ssim(shown, original, device)) is not None:
                alike.append(likeness)
            squared, moves = ((shown / 255.0 - original / 255.0) ** 2).mean(-1), footage.moving(view, frame)
            for kind, mask in enumerate((~moves.numpy(), moves.numpy())):
                error[kind] += float(squared[mask].sum())
                pixels[kind] += int(mask.sum())
            if lpips is not None and frame in perceive:
                pair = (
                    torch.from_numpy(np.array(x)).to(device).permute(2, 0, 1)[None].float() / 255
                    for x in (shown, original)
                )
                perceived.append(float(lpips(*pair)))
            if (view, frame) in footage.depth:
                exact = torch.from_numpy(footage.depth[view, frame]).to(device)
                close.append(((image.depth_z / exact - 1).abs() < 0.02).float().mean().item())
                for name, value in edge_figures(image.depth_z, exact).items():
                    edges.setdefault(name, []).append(value)
    found = {"psnr_db": float(np.mean(each)), "ssim": float(np.mean(alike)) if alike else float("nan")}
    found["moving_share"] = pixels[1] / sum(pixels)
    for kind, name in enumerate(("still_db", "moving_db")):
        mean = error[kind] / pixels[kind] if pixels[kind] else float("nan")
        found[name] = -10 * float(np.log10(max(mean, 1e-12)))
    if perceived:
        found["lpips"] = float(np.mean(perceived))
    if close:
        found["depth_within_2_percent"] = float(np.mean(close))
    return (
        found
        | {name: float(np.mean(values)) for name, values in edges.items()}
        | matched(fitter, footage, views)
    )


def spread(count: int, most: int) -> list[int]:
    """Return all of 0 .. count - 1, or `most` of them evenly spread; `most` 0: all."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most or count))})


def matched(fitter: Fitter, footage: Footage, views: tuple[int, ...]) -> dict[str, float]:
    """Return the shares of pixels that match in other cameras and of matches that are right, over at most two
    instants of the views that have exact depth; empty where none has.
    """
    scene = footage.scene
    others = [scene.train_views[i] for i in spread(len(scene.train_views), MATCHED_VIEWS)]
    threshold = scene.bounds.within(MATCH_SHARE, MATCH_SHARE)

    def seen(view: int, frame: int) -> View:
        camera, exact = scene.cameras[view].at(frame), footage.depth.get((view, frame))
        there = None if exact is None else torch.from_numpy(exact).to(fitter.device)
        return View(camera, fitter.image(camera, frame).depth_z, there)

    total = np.zeros(3, np.int64)
    for view in views:
        known = sorted(f for v, f in footage.depth if v == view)
        for frame in {known[0], known[len(known) // 2]} if known else ():
            sources = [seen(v, frame) for v in others if v != view]
            total += matches(seen(view, frame), sources, threshold)
    looked_up, passed, right = total.tolist()
    if not looked_up:
        return {}
    share = right / passed if passed else float("nan")
    return {"matched": passed / looked_up, "correct_matches": share}


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
            row["held_out"] = measured(fitter, footage, held_out, lpips, args.measured)
        chosen = scene.train_views[:: max(1, len(scene.train_views) // TRAINED_VIEWS)][:TRAINED_VIEWS]
        row["trained"] = measured(fitter, footage, chosen, lpips, args.measured)
        yield row
        if args.seconds and not budgets:
            return


def rows_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the rows of an ablation: settings of `field` and `scene` by the row's name."""
    return {str(k): v for k, v in cfg.read_yaml(args.rows).items()} if args.rows else {"as set": {}}


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
        + (f", correct matches {seen['correct_matches']:.3f}" if "correct_matches" in seen else "")
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
    parser.add_argument(
        "--measured", type=int, default=0, help="frames of a camera that are measured; 0: all"
    )
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
