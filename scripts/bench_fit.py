"""Measure the field: rays per second, pictures per second, memory, and PSNR of a held-out camera against
seconds.

    python scripts/bench_fit.py --parts speed,render --size 1352x1014 --cameras 17 --frames 8 --json
    bench.json python scripts/bench_fit.py --parts curve --size 1352x1014 --cameras 17 --frames 50 --seconds
    380 python scripts/bench_fit.py --parts curve --preset configs/presets/demo.yaml --size 160x120 --cameras
    10 --frames 24 --seconds 150
    python scripts/bench_fit.py --toy                     (seconds on two CPU cores)

The scene is the procedural one, rendered in memory; camera 0 is held out. `speed` times steps of the same fit
at two grids, every trick against the plain samplers; `equal` fits twice for the same steps, with every trick
and with the dense reference.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_dense import dense_samples, dense_steps, psnr_of_pixels
from bench_rig import rig

from i4d.config import Config, merge, read_yaml
from i4d.fields.frames import FrameBank
from i4d.fields.group import Group
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.factors import factor_size, grow_line, grow_plane
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.image import render_image
from i4d.fields.vector_matrix.kernels import kernels_run_on
from i4d.fields.workers import Workers
from i4d.scenes.procedural.demo import demo_cameras, render_frames

SMALL, LARGE = (141, 157, 94), (706, 786, 471)


class Bench:
    """The scene, the device, and what was measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        rank, size, address = args.group or (0, 1, "")
        self.device = torch.device(f"cuda:{rank}" if torch.cuda.is_available() else "cpu")
        self.workers = Workers(1 if self.device.type == "cuda" else torch.get_num_threads())
        self.group = Group(rank, size, address, self.device) if size > 1 else None
        width, height = (int(n) for n in args.size.split("x"))
        self.cameras, self.space = rig(width, height, args.cameras, str(self.device))
        self.truth: list[np.ndarray] = []
        self.results: dict[str, Any] = {
            "device": torch.cuda.get_device_name()
            if self.device.type == "cuda"
            else f"cpu, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "arguments": {k: str(v) for k, v in vars(args).items()},
        }
        self.config = VectorMatrixConfig()
        self.fitted: Fitter | None = None
        self.bank = self._bank()

    def _bank(self) -> FrameBank:
        start, frames = time.perf_counter(), self.args.frames
        cameras = demo_cameras(self.cameras[0].width, self.cameras[0].height, len(self.cameras))
        views = tuple(range(1, len(cameras)))
        bank = FrameBank(self.cameras, views, frames)
        for view, camera in enumerate(cameras):
            rows = np.stack(list(render_frames(camera, range(frames), frames, str(self.device))))
            if view:
                bank.put(view, 0, rows)
            else:
                self.truth = list(rows)
        self.say("scene", {"seconds": time.perf_counter() - start, "frames": frames * len(cameras)})
        return bank

    def say(self, name: str, values: dict) -> None:
        """Print a result as it comes and keep it."""
        if self.group and self.group.rank:
            return
        values = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}
        self.results.setdefault(name, []).append(values)
        print(name, json.dumps(values), flush=True)
        if self.args.json:
            self.args.json.write_text(json.dumps(self.results, indent=1))

    def fitter(
        self, config: VectorMatrixConfig, steps: int, cells: tuple[int, int, int] | None = None
    ) -> Fitter:
        """Return a fit of the scene about to begin, on a grid of exactly `cells` if given (no growth
        then).
        """
        if cells:
            config = replace(config, growth_at=[], grid_end=int(np.prod(cells)))
        fitter = Fitter(config, self.space, self.bank.num_frames, 0, self.device, self.workers, self.group)
        if cells:
            set_cells(fitter, cells)
        fitter.begin("fit", steps)
        return fitter

    def sync(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self) -> dict[str, float]:
        """Return peak device memory since the last call and peak host memory, GB."""
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        if self.device.type != "cuda":
            return {"host_gb": host}
        peak = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
        return {"device_gb": peak, "host_gb": host}

    def psnr(self, fitter: Fitter, frames: list[int]) -> float:
        """Return PSNR in dB over some frames of the held-out camera."""
        errors = []
        for frame in frames:
            image = render_image(
                fitter.field, fitter.render_settings(), self.cameras[0], frame, fitter.workers
            ).rgb
            truth = torch.from_numpy(self.truth[frame]).to(self.device).float() / 255
            errors.append(((image.clamp(0, 1) * 255).round() / 255 - truth).square().mean())
        return -10 * torch.stack(errors).mean().log10().item()


def set_cells(fitter: Fitter, cells: tuple[int, int, int]) -> None:
    """Resample a field to exactly these vertices along x, y, z."""
    field = fitter.field
    for name, tensor in field.tensors.items():
        if "." in name:
            height, width, length = factor_size(cells, int(name.split(".")[0][-1]))
            grown = grow_plane(tensor, height, width) if name.endswith("plane") else grow_line(tensor, length)
            field.tensors[name] = grown.contiguous()
    field.cells = cells
    fitter.adopt(field)


def speed(bench: Bench, config: VectorMatrixConfig) -> None:
    """Time steps at the small and the large grid: every trick, half-precision network, plain proposals,
    dense.
    """
    grids = [bench.args.cells] if bench.args.cells else [LARGE, SMALL]
    steps = bench.args.steps
    for cells in grids:
        ways: dict[str, tuple[VectorMatrixConfig, int]] = {
            "plain proposals": (replace(config, kernels="off"), max(3, steps // 10))
        }
        if kernels_run_on(bench.device):
            ways = {
                "kernels": (config, steps),
                "kernels, bfloat16 network": (replace(config, dtype="bfloat16"), steps),
                "kernels, 16384 rays": (replace(config, rays=16384), steps // 2),
                **ways,
            }
        for name, (way, count) in ways.items():
            fitter = bench.fitter(way, 10**6, cells)
            fitter.step = 250_000  # past the even intervals of a young fit
            fitter.advance(bench.bank, max(2, count // 10))
            bench.sync()
            bench.peak()
            start = time.perf_counter()
            fitter.advance(bench.bank, count)
            bench.sync()
            report(
                bench,
                name,
                cells,
                way.rays * count,
                fitter.render_settings().samples,
                time.perf_counter() - start,
            )
            del fitter
        fitter = bench.fitter(replace(config, kernels="off"), 10**6, cells)
        samples, count = dense_samples(cells), 2 if bench.args.toy else 3
        dense_steps(bench.bank, fitter, 1, samples, bench.args.chunk)
        bench.sync()
        bench.peak()
        start = time.perf_counter()
        dense_steps(bench.bank, fitter, count, samples, bench.args.chunk)
        bench.sync()
        report(bench, "dense reference", cells, config.rays * count, samples, time.perf_counter() - start)
        del fitter


def report(
    bench: Bench, name: str, cells: tuple[int, int, int], rays: int, samples: int, seconds: float
) -> None:
    """Say how fast something was."""
    values = {"way": name, "cells": "x".join(map(str, cells)), "rays_per_s": rays / seconds}
    bench.say(
        "speed",
        {**values, "samples_per_s": rays / seconds * samples, "samples_a_ray": samples, **bench.peak()},
    )


def pictures(bench: Bench, config: VectorMatrixConfig) -> None:
    """Time whole images of the held-out camera from a field that has seen some steps."""
    fitter = bench.fitter(config, bench.args.steps * 4, (24, 24, 16) if bench.args.toy else LARGE)
    fitter.advance(bench.bank, bench.args.steps)
    for kernels in (True, False) if kernels_run_on(bench.device) else (False,):
        settings, frames = fitter.render_settings(), range(min(bench.bank.num_frames, 20 if kernels else 2))
        render_image(fitter.field, settings, bench.cameras[0], 0, fitter.workers, kernels)
        bench.sync()
        bench.peak()
        start = time.perf_counter()
        for frame in frames:
            render_image(fitter.field, settings, bench.cameras[0], frame, fitter.workers, kernels)
        bench.sync()
        rate = len(frames) / (time.perf_counter() - start)
        bench.say(
            "render", {"kernels": kernels, "pictures_per_s": rate, "size": bench.args.size, **bench.peak()}
        )


def curve(bench: Bench, config: VectorMatrixConfig) -> None:
    """Fit for some seconds; PSNR of four held-out frames at growing intervals (their renders are not
    counted).
    """
    steps = bench.args.fit_steps or config.fit_steps
    fitter = bench.fitted = bench.fitter(config, steps)
    checks = sorted({round(i * (bench.bank.num_frames - 1) / 3) for i in range(4)})
    spent, pause, worth = 0.0, 4.0, time.perf_counter()
    points: list[tuple[float, float]] = []
    while fitter.step < steps and spent < bench.args.seconds:
        start, before, earlier = time.perf_counter(), fitter.step, spent
        seen = 0.0
        while seen < pause and fitter.step < steps:
            told = fitter.advance(bench.bank, 20 if bench.device.type == "cpu" else 200)
            seen = time.perf_counter() - start
        bench.sync()
        spent += time.perf_counter() - start
        pause = min(20.0, pause * 1.3)
        psnr = bench.psnr(fitter, checks)
        points.append((spent, psnr))
        cells = "x".join(map(str, fitter.field.cells))
        rate = (fitter.step - before) * config.rays / (spent - earlier)
        values = {"seconds": spent, "step": fitter.step, "cells": cells, "rays_per_s": rate}
        bench.say("curve", {**values, "held_out_db": psnr, "train_db": told.psnr_db})
    final = points[-1][1]
    first = {goal: next((s for s, db in points if db >= goal), None) for goal in (30.0, final - 0.5)}
    whole = bench.psnr(fitter, list(range(bench.bank.num_frames)))
    bench.say(
        "curve_summary",
        {
            "final_db": final,
            "all_frames_db": whole,
            "seconds_to_30_db": first[30.0],
            "seconds_to_final_minus_0.5_db": first[final - 0.5],
            "steps": fitter.step,
            "fit_s": spent,
            "wall_s": time.perf_counter() - worth,
            **bench.peak(),
        },
    )


def equal(bench: Bench, config: VectorMatrixConfig) -> None:
    """The same steps with every trick and with the dense reference, from one state that `--warm-steps` led to
    (0: from the beginning); PSNR of the held-out camera, each rendered in its own way and both by every
    trick.
    """
    steps, warm = bench.args.equal_steps, bench.args.warm_steps
    checks = sorted({round(i * (bench.bank.num_frames - 1) / 3) for i in range(4)})
    fitter = bench.fitter(config, warm + steps, bench.args.cells)
    fitter.advance(bench.bank, warm)
    state = fitter.save()
    for name in ("every trick", "dense reference"):
        if name == "dense reference":
            fitter = bench.fitter(replace(config, kernels="off"), warm + steps, bench.args.cells)
            fitter.load(state)
        bench.sync()
        start = time.perf_counter()
        if name == "every trick":
            fitter.advance(bench.bank, steps)
        else:
            dense_steps(bench.bank, fitter, steps, dense_samples(fitter.field.cells), bench.args.chunk)
        bench.sync()
        seconds = time.perf_counter() - start
        dense = dense_samples(fitter.field.cells) if name == "dense reference" else 0
        truth = {frame: bench.truth[frame] for frame in checks}
        own, tricks = psnr_of_pixels(fitter, bench.cameras[0], truth, dense), bench.psnr(fitter, checks)
        found = {"own_way_db": own, "held_out_db": tricks, "seconds": seconds, **bench.peak()}
        bench.say("equal", {"way": name, "steps": steps, "after": warm, "rays": config.rays, **found})


def tune(bench: Bench, config: VectorMatrixConfig) -> None:
    """Fit shortly with other rates and weights of total variation; the parts that follow take the best."""
    steps, best = bench.args.tune_steps, -1.0
    for rate, variation in ((0.02, 1.0), (0.05, 1.0), (0.02, 0.1), (0.05, 0.1)):
        way = replace(config, lr_grid=rate, tv_weight=variation)
        fitter = bench.fitter(way, steps)
        start = time.perf_counter()
        while fitter.step < steps:
            fitter.advance(bench.bank, 200)
        psnr = bench.psnr(fitter, [0, bench.bank.num_frames // 2])
        seconds = time.perf_counter() - start
        bench.say(
            "tune",
            {
                "lr_grid": rate,
                "tv_weight": variation,
                "steps": steps,
                "held_out_db": psnr,
                "seconds": seconds,
            },
        )
        if psnr > best:
            best, bench.config = psnr, way
        del fitter


def profile(bench: Bench, config: VectorMatrixConfig) -> None:
    """Print where the time of steps at the large grid goes, by torch's profiler; on the field of `curve` if
    that went before.
    """
    fitter = bench.fitted or bench.fitter(config, 10**6, (24, 24, 16) if bench.args.toy else LARGE)
    fitter.step, fitter.total_steps = 250_000, 10**6
    fitter.advance(bench.bank, 10)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as seen:
        fitter.advance(bench.bank, 10)
        bench.sync()
    key = "self_cuda_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    print(seen.key_averages().table(sort_by=key, row_limit=45, max_name_column_width=60), flush=True)


def group(bench: Bench, config: VectorMatrixConfig) -> None:
    """Speed at a fixed grid, and PSNR after some steps, of this process alone or of a group (`--group`, one
    command each).
    """
    size, cells = bench.group.size if bench.group else 1, bench.args.cells or LARGE
    for rays in (config.rays, 4 * config.rays):
        fitter = bench.fitter(replace(config, rays=rays), 10**6, cells)
        fitter.step = 250_000
        fitter.advance(bench.bank, 10)
        bench.sync()
        start = time.perf_counter()
        fitter.advance(bench.bank, bench.args.steps)
        bench.sync()
        rate = rays * size * bench.args.steps / (time.perf_counter() - start)
        bench.say(
            "group_speed",
            {"members": size, "rays_each": rays, "rays_per_s": rate, "cells": "x".join(map(str, cells))},
        )
        del fitter
    fitter = bench.fitter(config, bench.args.group_steps // size, SMALL if not bench.args.toy else cells)
    start = time.perf_counter()
    fitter.advance(bench.bank, bench.args.group_steps)
    bench.sync()
    seconds, psnr = time.perf_counter() - start, bench.psnr(fitter, [0, bench.bank.num_frames - 1])
    seen = fitter.step * config.rays * size
    bench.say("group_psnr", {"members": size, "rays_seen": seen, "held_out_db": psnr, "seconds": seconds})


def member(text: str) -> tuple[int, int, str]:
    """Return rank, size and address of `rank,size,host:port`."""
    rank, size, address = text.split(",")
    return int(rank), int(size), address


PARTS = {
    "speed": speed,
    "render": pictures,
    "equal": equal,
    "profile": profile,
    "tune": tune,
    "curve": curve,
    "group": group,
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="speed,render", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--size", default="1352x1014", help="width x height of the rendered scene")
    parser.add_argument("--cameras", type=int, default=17)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument(
        "--preset", type=Path, help="YAML file whose `field` section is laid over the defaults"
    )
    parser.add_argument(
        "--kernels", default="auto", choices=("auto", "eager", "off"), help="field.kernels of the fast fits"
    )
    parser.add_argument("--steps", type=int, default=200, help="steps timed")
    parser.add_argument(
        "--fit-steps", type=int, default=0, help="steps of the curve's schedule; 0: the preset's"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="longest fit of the curve")
    parser.add_argument("--tune-steps", type=int, default=3000)
    parser.add_argument("--equal-steps", type=int, default=200)
    parser.add_argument(
        "--warm-steps", type=int, default=1500, help="steps with every trick before those of `equal`"
    )
    parser.add_argument("--group-steps", type=int, default=1600)
    parser.add_argument(
        "--cells", type=lambda t: tuple(map(int, t.split("x"))), help="one fixed grid for speed, equal, group"
    )
    parser.add_argument("--chunk", type=int, default=256, help="rays at once in the dense reference")
    parser.add_argument(
        "--group",
        type=member,
        metavar="RANK,SIZE,HOST:PORT",
        help="this process is one of a group, one a GPU",
    )
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--toy", action="store_true", help="everything tiny, for tests and CPUs")
    args = parser.parse_args()
    if args.toy:
        args.size, args.cameras, args.frames, args.steps, args.cells = "32x24", 4, 3, 10, (24, 24, 16)
        args.equal_steps, args.warm_steps, args.group_steps = 10, 5, 10
        args.tune_steps, args.fit_steps, args.seconds = 10, 60, 5.0
    return args


def main() -> None:
    args = parse()
    if unknown := set(args.parts.split(",")) - set(PARTS):
        sys.exit(f"--parts: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    config = VectorMatrixConfig()
    if args.preset:
        whole = Config()
        merge(whole, {"field": read_yaml(args.preset)["field"]}, str(args.preset))
        config = whole.field
    config = replace(config, kernels=args.kernels)
    if args.toy:
        config = replace(
            config, rays=64, grid_start=2000, grid_end=9000, samples=12, proposals=24, shaded=6, fit_steps=60
        )
    bench = Bench(args)
    bench.config = config
    bench.results["field"] = asdict(config)
    failed = []
    for part in args.parts.split(","):
        try:
            PARTS[part](bench, bench.config)
        except Exception:  # the other parts are worth their time all the same
            traceback.print_exc()
            failed.append(part)
    if bench.group:
        bench.group.leave()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
