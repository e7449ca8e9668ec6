"""What every turbo switch costs, on the bundled editor and the procedural scene: PSNR, steadiness in time,
agreement between views.

    python scripts/evaluate_turbo.py --json turbo.json            about four minutes on two CPU cores

Two neighbouring cameras, a window of five frames each, edited with every setting from the same noise. PSNR is
against the plain path (the anchor anew in every window); errors are those of docs/conventions.md relative to
the unedited scene's (1: as steady as before the edit). Exact flow of the originals is replaced by DIS, depth
is the scene's own. Guidance away from 1 / 1 gives the three branches that the big editor needs; the bundled
one was trained for 1 / 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from i4d.editors.instruct_pix2pix.load import load_editor  # noqa: E402
from i4d.editors.instruct_pix2pix.model import EditorModel  # noqa: E402
from i4d.editors.protocol import EditCost  # noqa: E402
from i4d.editors.repaint import remember, repaint  # noqa: E402
from i4d.flow.find import find_estimator  # noqa: E402
from i4d.metrics.cross_view import cross_view_error  # noqa: E402
from i4d.metrics.temporal import neighbour_flows, temporal_warp_error  # noqa: E402
from i4d.scenes.procedural.demo import demo_cameras, exact_answers, render_frames  # noqa: E402
from i4d.types import EditSettings, Strength, Turbo  # noqa: E402

CASES = {
    "exact": Turbo(),
    "keys 4:1": Turbo(keys=4),
    "keys 16:1, second level 4:1": Turbo(keys=16, second_keys=4),
    "depth 2": Turbo(depth=2),
    "guidance 2": Turbo(guidance=2),
    "depth 2, guidance 2": Turbo(depth=2, guidance=2),
    "all, keys 4:1": Turbo(4, 2, 2),
    "all (default turbo)": Turbo(16, 2, 2, 4),
    "guidance 4": Turbo(guidance=4),
    "all, guidance 4": Turbo(16, 2, 4, 4),
}


def psnr_db(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


def edited(
    model: EditorModel, video: torch.Tensor, strength: Strength, settings: EditSettings
) -> torch.Tensor:
    """Return frames 1.. of a video (frame, 3, h, w) repainted; frame 0, edited in full, is their anchor."""
    full = EditSettings(settings.instruction, settings.text_guidance, settings.image_guidance)
    key = repaint(model, video[:1], video[:1], Strength(1000, 20), full, [1], EditCost())
    frames, seeds = len(video) - 1, [7] * (len(video) - 1)
    if settings.mode == "plain":
        start = torch.cat([key, video[1:]])
        return repaint(model, video, start, strength, settings, [7, *seeds], EditCost())[1:]
    trace = remember(model, video[:1], key, strength, settings, 7, EditCost())
    assert frames == len(seeds)
    return repaint(model, video[1:], video[1:], strength, settings, seeds, EditCost(), memory=trace)


def scene(width: int, height: int, frames: int) -> tuple[list, torch.Tensor, list]:
    """Return two neighbouring cameras, their videos (view, frame, 3, h, w) in [0, 1], and z-depth of frame
    1.
    """
    cameras = list(demo_cameras(width, height)[1:3])
    videos, depths = [], []
    for camera in cameras:
        pixels = [
            torch.as_tensor(image).permute(2, 0, 1) / 255
            for image in render_frames(camera, range(frames), 24)
        ]
        videos.append(torch.stack(pixels))
        depths.append(torch.as_tensor(exact_answers(camera, 24)["depth"])[1])
    return cameras, torch.stack(videos), depths


def evaluate(args: argparse.Namespace) -> list[dict]:
    """Return one row per guidance and case, printed as they come."""
    width, height = (int(part) for part in args.size.split("x"))
    cameras, videos, depths = scene(width, height, args.window + 1)
    model, estimator = load_editor("tiny-ip2p"), find_estimator("dis", "")[0]
    flows = [list(neighbour_flows(video[1:], estimator)) for video in videos]

    def errors(frames: torch.Tensor) -> tuple[float, float]:
        in_time = sum(
            temporal_warp_error(f, flow).relative for f, flow in zip(frames, flows, strict=True)
        ) / len(frames)
        return in_time, cross_view_error([f[0] for f in frames], depths, cameras, 0.05).relative

    unedited = errors(videos[:, 1:])
    rows = []
    for guidance in ((1.0, 1.0), (args.text_guidance, args.image_guidance)):
        reference = None
        for name, turbo in {"plain": None, **CASES}.items():
            mode = {"plain": "plain", "exact": "exact"}.get(name, "turbo")
            settings = EditSettings(args.prompt, *guidance, mode=mode, turbo=turbo or Turbo())
            out = torch.stack(
                [edited(model, video, Strength(args.T, args.steps), settings) for video in videos]
            )
            reference = out if reference is None else reference
            in_time, between = errors(out)
            rows.append(
                {
                    "guidance": guidance,
                    "case": name,
                    "psnr_db": min(psnr_db(out, reference), 99.0),
                    "temporal": in_time / unedited[0],
                    "cross_view": between / unedited[1],
                    "edit_psnr_db": psnr_db(out, videos[:, 1:]),
                }
            )
            print(
                json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}),
                flush=True,
            )
    return rows


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--T", type=int, default=600)
    parser.add_argument("--prompt", default="turn it into night")
    parser.add_argument("--text-guidance", type=float, default=1.5)
    parser.add_argument("--image-guidance", type=float, default=1.2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rows = evaluate(args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return rows


if __name__ == "__main__":
    main()
