"""Time the editor at the real shapes of timbrooks/instruct-pix2pix (random weights): its modes side by side
in one run.

    python scripts/bench_edit.py --size 1352x1014 --window 5 --steps 4 --json bench.json        all modes on
    one GPU
    python scripts/bench_edit.py --modes exact --gpus 2 --json pool.json                        windows/s of 1
    and of 2 processes
    python scripts/bench_edit.py --weights tiny-ip2p --size 96x64 --device cpu --compile off    a toy, on a
    CPU

A window is `--window` new frames: VAE encode, `--steps` denoising steps with three guidance branches, VAE
decode. `authors` and `plain` carry the anchor as one more image and encode the originals in every window, as
the authors' code does. `exact` and `turbo` have the anchor's keys and values from its own pass and the
originals' latents from a cache: both are timed apart (`anchor_s` per view and round, `condition_s` once per
frame). Flow and storage are not counted. TFLOP/s count the arithmetic of the plain network with heads of 40
and one set of anchor keys, whatever a kernel multiplies; the card's rate is that of an 8192 x 8192 x 8192
product in the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from i4d.editors.instruct_pix2pix.attention import Recording, WindowContext, install  # noqa: E402
from i4d.editors.instruct_pix2pix.load import load_editor  # noqa: E402
from i4d.editors.instruct_pix2pix.model import EditorModel  # noqa: E402
from i4d.editors.instruct_pix2pix.weights import resolve_weights  # noqa: E402
from i4d.editors.protocol import EditCost  # noqa: E402
from i4d.editors.repaint import conditions_of, remember, repaint  # noqa: E402
from i4d.types import EditSettings, Strength, Turbo  # noqa: E402

MODES = ("authors", "plain", "exact", "turbo")
GUIDANCE = (9.5, 1.5)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(action: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Return the median of several timings in seconds."""
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        action()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[len(seconds) // 2]


def matrix_rate(device: torch.device) -> float:
    """Return the device's rate on one large half-precision product, in TFLOP/s."""
    size, dtype = (8192, torch.float16) if device.type == "cuda" else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / timed(lambda: a @ b, device, 10) / 1e12


def pictures(count: int, width: int, height: int, device: torch.device) -> torch.Tensor:
    """Return smooth random images (count, 3, height, width) in [0, 1]."""
    coarse = torch.rand(count, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").to(device)


class Bench:
    """One size, window and number of steps, with the editor's weights in a folder."""

    def __init__(self, args: argparse.Namespace, weights: str, device: torch.device) -> None:
        self.width, self.height = (int(part) for part in args.size.split("x"))
        self.window, self.strength = args.window, Strength(600, args.steps)
        self.args, self.weights, self.device = args, weights, device
        self.images = pictures(self.window + 1, self.width, self.height, device)
        self.turbo = Turbo(args.turbo_keys, args.turbo_depth, args.turbo_guidance, args.turbo_second_keys)

    def settings(self, mode: str) -> EditSettings:
        norm, turbo = (
            ("joint" if mode == "authors" else "frame"),
            (self.turbo if mode == "turbo" else Turbo()),
        )
        return EditSettings("make it night", *GUIDANCE, norm=norm, mode=mode, turbo=turbo)

    def model(self, mode: str) -> EditorModel:
        """Return a fresh editor: as it is for `authors` and `plain`, laid out for speed for the others."""
        fast = mode in ("exact", "turbo")
        model = load_editor(self.weights, self.device, fast=fast)
        if fast and self.args.compile == "on":
            model.compile(self.window, self.height, self.width)
        return model

    def measure(self, mode: str, model: EditorModel) -> dict:
        """Return the figures of one mode; the first window, which compiles, is timed apart."""
        settings, cost, repeats = self.settings(mode), EditCost(), self.args.repeats
        figures: dict[str, Any] = {"mode": mode}
        if mode in ("exact", "turbo"):
            condition = conditions_of(model, self.images)

            def trace() -> Any:
                return remember(
                    model, *[self.images[:1]] * 2, self.strength, settings, 0, cost, condition[:1]
                )

            anchor = trace()
            figures["condition_s"] = (
                timed(lambda: conditions_of(model, self.images[1:]), self.device, repeats) / self.window
            )
            figures["anchor_s"] = timed(trace, self.device, repeats)
            figures["anchor_gb"] = anchor.size_bytes / 1e9

            def edit() -> Any:
                current, seeds = self.images[1:], [0] * self.window
                return repaint(
                    model,
                    current,
                    current,
                    self.strength,
                    settings,
                    seeds,
                    cost,
                    memory=anchor,
                    conditions=condition[1:],
                )
        else:

            def edit() -> Any:
                return repaint(
                    model, self.images, self.images, self.strength, settings, [0] * (self.window + 1), cost
                )

        figures["first_window_s"] = timed(edit, self.device, 1)
        edit()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        figures["window_s"] = timed(edit, self.device, repeats)
        if self.device.type == "cuda":
            figures["peak_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            figures["reserved_gb"] = torch.cuda.max_memory_reserved(self.device) / 1e9
        if self.args.profile:
            figures["kernels_ms"] = kernels_of(edit)
            print(
                "\n".join(f"{ms:8.1f} ms  {kernel[:100]}" for kernel, ms in figures["kernels_ms"].items()),
                flush=True,
            )
        figures["s_per_new_frame"] = figures["window_s"] / self.window
        figures["windows_per_s"] = 1 / figures["window_s"]
        return figures


def kernels_of(action: Callable[[], Any]) -> dict[str, float]:
    """Return the milliseconds of the 30 kernels that take most of an action, by name."""
    from torch.profiler import ProfilerActivity, profile

    with profile(
        activities=[ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU]
    ) as found:
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    attribute = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    spent = {entry.key[:120]: getattr(entry, attribute) / 1e3 for entry in found.key_averages()}
    return dict(sorted(spent.items(), key=lambda item: -item[1])[:30])


def count_flops(bench: Bench) -> dict[str, float]:
    """Return the operations of one plain window in units of 1e12: `window` with a given anchor, `anchored`
    with it in the batch.
    """
    unet, vae, context = _parts_without_weights(bench.weights)
    factor, tokens = 2 ** (len(vae.config.block_out_channels) - 1), unet.config.cross_attention_dim
    height, width = -(-bench.height // factor), -(-bench.width // factor)
    recording, steps, frames = Recording(), bench.strength.n, bench.window

    def unet_flops(images: int, attention: str, **how: Any) -> float:
        inputs, states = (
            torch.empty(3 * images, *s, device="meta") for s in ((8, height, width), (77, tokens))
        )
        with FlopCounterMode(display=False) as counter, context.call(attention, "frame", 3, **how):
            unet(inputs, torch.empty(1, device="meta"), encoder_hidden_states=states)
        return counter.get_total_flops() / 1e12

    unet_flops(1, "own", record=recording)
    with FlopCounterMode(display=False) as encode:
        vae.encoder(torch.empty(1, 3, height * factor, width * factor, device="meta"))
    with FlopCounterMode(display=False) as decode:
        vae.decoder(torch.empty(1, 4, height, width, device="meta"))
    enc, dec = encode.get_total_flops() / 1e12, decode.get_total_flops() / 1e12
    window = steps * unet_flops(frames, "anchor", anchor=recording) + frames * (enc + dec)
    anchored = steps * unet_flops(frames + 1, "anchor") + (frames + 1) * (2 * enc + dec)
    return {"exact": window, "plain": anchored, "authors": anchored, "encode_image": enc, "decode_image": dec}


def _parts_without_weights(weights: str) -> tuple[Any, Any, WindowContext]:
    """Return UNet, VAE and context on the meta device: shapes only."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    place = resolve_weights(weights, "cpu")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(place, subfolder="unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(place, subfolder="vae"))
    return unet, vae, install(unet)


def pool_worker(
    args: argparse.Namespace,
    weights: str,
    card: int,
    counts: list[int],
    ready: Any,
    stops: list,
    results: Any,
) -> None:
    """Edit windows on one card in every phase that counts it in; report how many windows and how long."""
    device = torch.device("cuda", card) if args.device == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    bench = Bench(args, weights, device)
    mode, cost, seeds = args.modes[0], EditCost(), [0] * args.window
    settings, model = bench.settings(mode), bench.model(mode)
    condition = conditions_of(model, bench.images)
    anchor = remember(model, *[bench.images[:1]] * 2, bench.strength, settings, 0, cost, condition[:1])

    def edit() -> None:
        repaint(
            model,
            *[bench.images[1:]] * 2,
            bench.strength,
            settings,
            seeds,
            cost,
            memory=anchor,
            conditions=condition[1:],
        )
        synchronize(device)

    edit()
    edit()
    for phase, count in enumerate(counts):
        ready.wait()
        began, windows = time.perf_counter(), 0
        while card < count and not stops[phase].is_set():
            edit()
            windows += 1
        results.put((phase, card, windows, time.perf_counter() - began))


def pool_rates(args: argparse.Namespace, weights: str) -> list[dict]:
    """Return windows/s of 1, 2, .. `--gpus` processes, one card each, `--pool-seconds` each time; all are
    warmed up before.
    """
    counts = [n for n in (1, 2, 4, 8) if n < args.gpus] + [args.gpus]
    context = multiprocessing.get_context("spawn")
    ready, stops, results = context.Barrier(args.gpus + 1), [context.Event() for _ in counts], context.Queue()
    workers = [
        context.Process(
            target=pool_worker, args=(args, weights, card, counts, ready, stops, results), daemon=True
        )
        for card in range(args.gpus)
    ]
    for worker in workers:
        worker.start()
    rates = []
    for phase, count in enumerate(counts):
        ready.wait(timeout=args.start_timeout)
        time.sleep(args.pool_seconds)
        stops[phase].set()
        answers = sorted(results.get(timeout=120) for _ in workers)
        each = [windows / seconds for _, card, windows, seconds in answers if card < count]
        rates.append({"gpus": count, "windows_per_s": sum(each), "each": each, "of_linear": 1.0})
        rates[-1]["of_linear"] = sum(each) / count / rates[0]["windows_per_s"]
        print(json.dumps(rates[-1]), flush=True)
    for worker in workers:
        worker.join(timeout=30)
    return rates


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1352x1014", help="width x height of the images")
    parser.add_argument("--window", type=int, default=5, help="new frames of a window")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(MODES))
    parser.add_argument(
        "--weights", default="", help="editor folder or tiny-ip2p; default: random weights of the real shapes"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", choices=("on", "off"), default="off", help="torch.compile on top of the kernels"
    )
    parser.add_argument(
        "--choose-convolutions", action="store_true", help="have cuDNN time its ways for every shape once"
    )
    parser.add_argument("--turbo-keys", type=int, default=16)
    parser.add_argument("--turbo-second-keys", type=int, default=4)
    parser.add_argument("--turbo-depth", type=int, default=2)
    parser.add_argument("--turbo-guidance", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="add the kernels that take most of a window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--gpus", type=int, default=0, help="time the first of --modes on 1, 2, .. N cards instead"
    )
    parser.add_argument("--pool-seconds", type=float, default=15.0)
    parser.add_argument("--start-timeout", type=float, default=300.0)
    parser.add_argument("--json", type=Path, help="where the figures go")
    return parser.parse_args(arguments)


def modes_side_by_side(args: argparse.Namespace, weights: str) -> dict:
    """Measure every mode on one device, printing each as it comes."""
    device = torch.device(args.device)
    bench = Bench(args, weights, device)
    rate = matrix_rate(device)
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    rows = []
    model, layout = None, None
    for mode in args.modes:
        fast = mode in ("exact", "turbo")
        if layout != fast:
            model = None
            model, layout = bench.model(mode), fast
        row = bench.measure(mode, model)
        rows.append(row)
        print(
            json.dumps(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k != "kernels_ms"}
            ),
            flush=True,
        )
        if args.json:  # what there is so far: a benchmark that is cut off has not measured in vain
            args.json.write_text(
                json.dumps({"device": name, "matrix_tflop_per_s": rate, "modes": rows}, indent=1)
            )
    flops = count_flops(bench)
    for row in rows:
        if row["mode"] in flops:
            row["tflop_per_s"] = flops[row["mode"]] / row["window_s"]
            row["share_of_matrix_rate"] = row["tflop_per_s"] / rate
            print(f"{row['mode']}: {row['tflop_per_s']:.0f} TFLOP/s of {rate:.0f}")
    latent = model.latent_shape(bench.height, bench.width)[1:]
    return {
        "device": name,
        "torch": torch.__version__,
        "size": args.size,
        "latent": f"{latent[1]}x{latent[0]}",
        "window": args.window,
        "steps": args.steps,
        "matrix_tflop_per_s": rate,
        "tflop": flops,
        "modes": rows,
    }


def main(arguments: list[str] | None = None) -> dict:
    args = parse(arguments)
    torch.backends.cudnn.benchmark = args.choose_convolutions
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights
        if not weights:
            from make_random_editor import write

            write(Path(folder))
            weights = folder
        if args.gpus:
            rates = pool_rates(args, weights)
            figures = {"size": args.size, "mode": args.modes[0], "pool": rates}
        else:
            figures = modes_side_by_side(args, weights)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    return figures


if __name__ == "__main__":
    main()
