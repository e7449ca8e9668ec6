"""Time one whole edit at full size: key frame and all windows of a round, by the real planner and the real
pool, on 1 and on N GPUs.

    python scripts/bench_whole_edit.py --editors 2:2,1:1 --seconds 550 --json whole.json
    coffee_martini's size, random weights python scripts/bench_whole_edit.py --editors 2 --executor local
    --weights tiny-ip2p --size 64x48 --views 3 --frames 5 \
        --key-steps 2 --steps 2 --device cpu                                                   a toy, on a CPU

`--editors 2:2,1:1` times two editors with joint edits in two shares, then one editor with whole ones. The
scene is the procedural one, rendered here and kept in `--store` (a second call goes on from there); depth is
the scene's own, so no field is fitted and nothing but editing is timed. The originals' flow is computed
before, by processes on the CPU, and timed apart. When `--seconds` are over the pool finishes what it has in
hand; what is then missing of the windows is estimated from their rate and said to be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulate_pool import Nowhere  # noqa: E402

from i4d.config import Config, FlowConfig  # noqa: E402
from i4d.driver.events import Emitter  # noqa: E402
from i4d.driver.jobs import Job  # noqa: E402
from i4d.driver.journal import Journal  # noqa: E402
from i4d.driver.key_stage import anchors, key_jobs  # noqa: E402
from i4d.driver.pool import EditorPool, Limits  # noqa: E402
from i4d.driver.retry import RetryPolicy  # noqa: E402
from i4d.driver.stages import Look, window_jobs  # noqa: E402
from i4d.driver.windows import EditLoop, Stopped  # noqa: E402
from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig  # noqa: E402
from i4d.exec.protocol import ServiceSpec  # noqa: E402
from i4d.flow.find import find_estimator  # noqa: E402
from i4d.geometry.cameras import camera_tensors  # noqa: E402
from i4d.scenes.procedural.demo import demo_cameras, frame_time, render_frames  # noqa: E402
from i4d.scenes.procedural.render import exact  # noqa: E402
from i4d.scenes.procedural.world import demo_world  # noqa: E402
from i4d.schedules.key_frame import make_plan  # noqa: E402
from i4d.schedules.values import Plan  # noqa: E402
from i4d.services.flow_store import FlowStore  # noqa: E402
from i4d.store.blocks import BlockReader, write_block  # noqa: E402
from i4d.store.objects import open_store  # noqa: E402
from i4d.store.tables import FrameTable  # noqa: E402
from i4d.types import Bounds, EditReceipt, EditSettings, FrameAddress, Scene, TableRun, Turbo  # noqa: E402

EDITOR = "i4d.services.editor:EditorService"
BLOCK = 25  # frames
LIMITS = Limits(timeout_s=300.0, start_timeout_s=300.0)
TURBO = Turbo(
    *(getattr(Config().editor, f"turbo_{switch}") for switch in ("keys", "depth", "guidance", "second_keys"))
)


class Until(Nowhere):
    """A record that keeps nothing and asks for a stop at a time of the monotonic clock."""

    def __init__(self, until: float) -> None:
        self.until = until

    def stop_requested(self) -> bool:
        return time.monotonic() > self.until


class CardWatch:
    """Asks nvidia-smi twice a second which share of the time each card had a kernel running; without it,
    nothing is known.
    """

    def __init__(self, wanted: bool) -> None:
        self.shares: dict[int, list[float]] = {}
        ask = [
            "nvidia-smi",
            "--query-gpu=index,utilization.gpu",
            "--format=csv,noheader,nounits",
            "-lms",
            "500",
        ]
        self._process = subprocess.Popen(ask, stdout=subprocess.PIPE, text=True) if wanted else None
        if self._process is not None:
            threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            card, share = (part.strip() for part in line.split(","))
            if share.isdigit():
                self.shares.setdefault(int(card), []).append(int(share) / 100)

    def busy(self) -> list[float]:
        """Stop, and return each card's mean share."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        return [round(sum(v) / len(v), 3) for _, v in sorted(self.shares.items())]


# ------------------------------------------------------------------------------------------------ what is
# edited
def prepared(args: argparse.Namespace) -> tuple[Scene, FrameTable, str]:
    """Return the scene, the table of its frames and the block of its depths at the key frame; made once per
    store.
    """
    width, height = (int(part) for part in args.size.split("x"))
    cameras = demo_cameras(width, height, args.views)
    scene = Scene(
        "whole",
        cameras,
        args.frames,
        25.0,
        Bounds("box", ((-1.0,) * 3, (1.0,) * 3), 0.1, 10.0),
        (),
        None,
        cameras,
    )
    place = place_of(args)
    if not place.exists():
        began, store = time.perf_counter(), open_store(args.store)
        runs = []
        for view, camera in enumerate(cameras):
            for start in range(0, args.frames, BLOCK):
                stop = min(start + BLOCK, args.frames)
                block = write_block(
                    store,
                    np.stack(list(render_frames(camera, range(start, stop), args.frames, args.device, 1))),
                )
                runs.append((view, start, stop, block.digest))
        depths = [
            depth_of(camera, frame_time(key_frame_of(args), args.frames), args.device) for camera in cameras
        ]
        made = {"runs": runs, "depth": write_block(store, np.stack(depths)).digest}
        place.write_text(json.dumps(made))
        print(f"scene: {args.views * args.frames} frames in {time.perf_counter() - began:.1f} s", flush=True)
    made = json.loads(place.read_text())
    return scene, FrameTable.of([TableRun(*run) for run in made["runs"]]), made["depth"]


def place_of(args: argparse.Namespace) -> Path:
    """Return the file that says where frames and depths of this scene lie in the store."""
    return Path(args.store) / f"scene-{args.size}-{args.views}-{args.frames}-{args.propagation}.json"


def key_frame_of(args: argparse.Namespace) -> int:
    return args.frames // 2 if args.propagation == "bidirectional" else 0


def depth_of(camera: Any, instant: float, device: str) -> np.ndarray:
    """Return a camera's depth (height, width) along its axis at an instant of the procedural scene."""
    K, pose = (t[None] for t in camera_tensors(camera, device))
    seen = exact(demo_world(torch.tensor([instant], device=device)), K, pose, camera.width, camera.height)
    return seen.depth[0].float().cpu().numpy()


def plan_of(args: argparse.Namespace, scene: Scene, editors: int, shares: int) -> Plan:
    """Return the plan of one round; its seed is the number of editors, so that no run finds another one's
    blocks written.
    """
    config = Config()
    config.seed = editors
    config.schedule.key_steps, config.schedule.key_shares, config.schedule.propagation = (
        args.key_steps,
        shares,
        args.propagation,
    )
    config.schedule.refine_diffusion_steps = args.steps
    config.schedule.diffusion_steps = args.key_diffusion_steps
    settings = EditSettings(
        "make it night",
        9.5,
        1.5,
        flow="dis",
        mode=args.mode,
        turbo=TURBO if args.mode == "turbo" else Turbo(),
    )
    return make_plan(scene, config, settings)


# ------------------------------------------------------------------------------------------------ flow
def flow_pairs(plan: Plan, originals: FrameTable) -> Iterator[tuple[FrameAddress, FrameAddress]]:
    """Yield every pair of original frames whose flow the windows look at."""
    for chain in plan.rounds[0].chains:
        for window in chain.windows:
            reference = originals.lookup(chain.view, window.reference_frame)
            yield from ((reference, originals.lookup(chain.view, frame)) for frame in window.frames)


def compute_flow(store: str, pairs: Any) -> None:
    """Compute the flows of pairs that come through a queue, until None does; one of several processes."""
    torch.set_num_threads(1)
    place = open_store(store)
    flows = FlowStore(place, BlockReader(place), *find_estimator("dis"))
    while (pair := pairs.get()) is not None:
        flows.between(*pair)


class FlowProcesses:
    """Processes that compute flow: they start at once, so that they are there when the scene is. None where
    all is stored already.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._done = place_of(args).with_suffix(".flow")
        self._count = 0 if self._done.exists() else args.flow_processes
        self._pairs = context.Queue()
        self._workers = [
            context.Process(target=compute_flow, args=(args.store, self._pairs)) for _ in range(self._count)
        ]
        for worker in self._workers:
            worker.start()

    def compute(self, plan: Plan, originals: FrameTable) -> float:
        """Return the seconds that all flow took, now or when it was computed."""
        if self._count:
            began, pairs = time.perf_counter(), list(flow_pairs(plan, originals))
            for entry in [*pairs, *[None] * self._count]:
                self._pairs.put(entry)
            for worker in self._workers:
                worker.join()
            assert all(worker.exitcode == 0 for worker in self._workers), (
                "a flow process failed: its error stands above"
            )
            took = time.perf_counter() - began
            print(f"flow: {len(pairs)} pairs, {took:.1f} s with {self._count} processes", flush=True)
            self._done.write_text(str(took))
        return float(self._done.read_text())


# ------------------------------------------------------------------------------------------------ editing
class Tally:
    """Hears of every stored job: receipts by kind, and a line now and then."""

    def __init__(self) -> None:
        self.receipts: dict[str, list[EditReceipt]] = {}
        self._said, self._began = 0.0, time.monotonic()

    def __call__(self, job: Job, receipt: EditReceipt, reused: bool, done: int, total: int) -> None:
        self.receipts.setdefault(job.method, []).append(receipt)
        if time.monotonic() - self._said > 10 or done == total:
            self._said = time.monotonic()
            print(
                f"  {self._said - self._began:6.1f} s  {job.id}: {done} of {total}, {receipt.seconds:.2f} s",
                flush=True,
            )

    def busy(self) -> dict[str, float]:
        """Return the seconds that each editor worked."""
        out: dict[str, float] = {}
        for receipt in (r for receipts in self.receipts.values() for r in receipts):
            out[receipt.worker] = out.get(receipt.worker, 0.0) + receipt.seconds
        return out

    def means(self) -> dict[str, float]:
        """Return the mean seconds of each kind of call that there was."""
        return {
            f"mean_{method}_s": sum(r.seconds for r in found) / len(found)
            for method, found in self.receipts.items()
        }


def timed_edit(
    args: argparse.Namespace,
    executor: Any,
    handles: list,
    plan: Plan,
    originals: FrameTable,
    depth: str,
    until: float,
) -> dict:
    """Return the figures of one round's editing on warmed-up editors."""
    began = time.monotonic()
    pool = EditorPool(executor, handles, RetryPolicy(), LIMITS, Emitter(), time.monotonic)
    pool.warm_up()
    figures: dict[str, Any] = {
        "editors": len(handles),
        "key_shares": plan.key_shares,
        "warm_up_s": time.monotonic() - began,
    }
    print(f"{len(handles)} editors warm after {figures['warm_up_s']:.1f} s", flush=True)
    record, tally, part, results = Until(until), Tally(), plan.rounds[0], {}
    look = Look(depth, {}, tuple(originals.lookup(view, plan.key_frame) for view in plan.views))

    def stage(jobs: list[Job]) -> dict[str, EditReceipt]:
        return EditLoop(jobs, pool, Journal(record), record, RetryPolicy(), LIMITS, Emitter(), tally).run()

    watch, began = CardWatch(args.device == "cuda"), time.monotonic()
    key_end = end = None
    try:
        results = stage(key_jobs(plan, part, originals, look))
        key_end = time.monotonic()
        stage(window_jobs(plan, part, originals, look, anchors(plan, part, results)))
    except Stopped:
        print("time is over: what follows is of a part", flush=True)
    end = time.monotonic()
    busy, windows = tally.busy(), len(tally.receipts.get("edit_window", []))
    longest = max(len(chain.windows) for chain in part.chains)
    figures |= {
        "complete": windows == part.num_windows,
        "windows": part.num_windows,
        "windows_done": windows,
        "key_frame_s": (key_end or end) - began,
        "key_frame_done": key_end is not None,
        "windows_s": end - key_end if key_end else 0.0,
        "all_s": end - began,
        "idle_share_of_editors": [round(1 - busy.get(h.name, 0.0) / (end - began), 3) for h in handles],
        "busy_share_of_cards": watch.busy(),
        **tally.means(),
        "bound_of_chains_s": longest * tally.means().get("mean_edit_window_s", 0.0),
        "bound_of_work_s": sum(busy.values()) / len(handles),
        "peak_gb": max((r.peak_bytes for rs in tally.receipts.values() for r in rs), default=0) / 1e9,
    }
    if windows:
        figures["all_estimated_s"] = (
            figures["key_frame_s"] + figures["windows_s"] * part.num_windows / windows
        )
    return figures


def with_editors(
    args: argparse.Namespace, editors: int, plan: Plan, originals: FrameTable, depth: str, until: float
) -> dict:
    """Start so many editors, time an edit on them and end them."""
    cores, on_gpu = len(os.sched_getaffinity(0)), args.device == "cuda"
    width, height = (int(part) for part in args.size.split("x"))
    session = None
    if args.executor == "ray":
        from i4d.exec.on_ray.executor import RayExecutor
        from i4d.exec.on_ray.session import connect

        session = connect(
            dashboard=False, num_cpus=max(cores, editors + 1), num_gpus=editors if on_gpu else None
        )
        executor: Any = RayExecutor("whole")
    else:
        from i4d.exec.local import LocalExecutor

        executor = LocalExecutor()
    common = {
        "store": args.store,
        "editor": InstructPix2PixConfig(weights=args.weights, mode=args.mode),
        "flow": FlowConfig(method="dis"),
        "num_threads": max(1, min(8, cores // editors)),
        "warm_up_size": (height, width),
        "warm_up_batch": plan.batch,
        "settings": plan.settings,
    }
    specs = []
    for i in range(editors):
        device = f"cuda:{i}" if on_gpu and session is None else args.device
        kwargs = {**common, "name": f"editor-{i}", "device": device}
        specs.append(ServiceSpec(f"editor-{i}", EDITOR, kwargs, 1.0, float(on_gpu), common["num_threads"]))
    try:
        return timed_edit(
            args, executor, executor.start_all(specs, LIMITS.start_timeout_s), plan, originals, depth, until
        )
    finally:
        executor.shutdown()
        if session is not None:
            session.close()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--editors",
        default="1:1",
        help="editors:shares of a joint edit, several with commas; empty: prepare only",
    )
    parser.add_argument("--size", default="1352x1014", help="width x height")
    parser.add_argument("--views", type=int, default=17)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--mode", choices=("authors", "plain", "exact", "turbo"), default="exact")
    parser.add_argument("--key-steps", type=int, default=12)
    parser.add_argument("--key-diffusion-steps", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of a window")
    parser.add_argument("--propagation", choices=("outwards", "bidirectional"), default="outwards")
    parser.add_argument(
        "--weights", default="", help="editor folder or tiny-ip2p; default: random weights of the real shapes"
    )
    parser.add_argument("--store", default="", help="folder of blocks; default: a temporary one")
    parser.add_argument("--executor", choices=("ray", "local"), default="ray")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--flow-processes", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="of the whole command, after which it winds up"
    )
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> dict:
    began = time.monotonic()
    args = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if not args.weights:
            from make_random_editor import write

            write(Path(folder) / "editor")
            args.weights = f"{folder}/editor"
        args.store = args.store or f"{folder}/store"
        Path(args.store).mkdir(parents=True, exist_ok=True)
        flow = FlowProcesses(args)
        scene, originals, depth = prepared(args)
        flow_s = flow.compute(plan_of(args, scene, 1, 1), originals)
        asked = {"size": args.size, "views": args.views, "frames": args.frames, "mode": args.mode}
        figures: dict[str, Any] = asked | {"flow_s": flow_s, "runs": []}
        if args.device == "cuda":
            figures["device"] = torch.cuda.get_device_name()
            torch.cuda.empty_cache()
        for entry in filter(None, args.editors.split(",")):
            editors, _, shares = entry.partition(":")
            plan = plan_of(args, scene, int(editors), int(shares or 1))
            run = with_editors(args, int(editors), plan, originals, depth, began + args.seconds)
            figures["runs"].append(run)
            print(
                json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in run.items()}),
                flush=True,
            )
            if args.json:
                args.json.write_text(json.dumps(figures, indent=1))
    return figures


if __name__ == "__main__":
    main()
