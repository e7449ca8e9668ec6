"""Compare the losses of refits on one finished run whose edit has an exact answer.

Every way starts from the run's reconstruction and fits the same edited frames; judged is a camera that was
neither trained on nor edited, against what the edit should look like there: PSNR, PSNR of image gradients,
Laplacian energy and, where its weights are found, LPIPS. The editor's own frames stand beside them: a refit
cannot be sharper than what it is fitted to and be right.

    python scripts/bench_refit.py runs/demo --ways
    squared,perceptual:refit_perceptual=0.03,squared:refit_rate=1
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from i4d import config as cfg
from i4d.errors import WeightsError
from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.fields.workers import Workers
from i4d.metrics.perceptual import find_lpips
from i4d.metrics.sharpness import gradient_psnr, laplacian_energy
from i4d.report.answers import answers_of
from i4d.report.footage import Footage
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.store.named import get_checkpoint
from i4d.store.run_folder import RunFolder


def figures(
    images: list[np.ndarray], answers: list[np.ndarray], lpips: torch.nn.Module | None
) -> dict[str, float]:
    """Return the figures of images (height, width, 3) uint8 against their answers."""
    stacks = (torch.stack([torch.from_numpy(np.ascontiguousarray(i)) for i in s]) for s in (images, answers))
    a, b = (stack.permute(0, 3, 1, 2).float() / 255 for stack in stacks)
    found = {
        "psnr_db": float(-10 * torch.log10((a - b).square().mean())),
        "gradient_psnr_db": gradient_psnr(a, b),
        "laplacian_1e4": 1e4 * laplacian_energy(a),
    }
    return found | ({"lpips": float(lpips(a, b).mean())} if lpips else {})


def way(text: str) -> tuple[str, dict]:
    """Return the loss's name and the overridden settings of
    `perceptual:refit_perceptual=0.03:refit_rate=1`.
    """
    name, *pairs = text.split(":")
    kinds = {f.name: f.type for f in fields(VectorMatrixConfig)}
    values = {}
    for pair in pairs:
        key, value = pair.split("=")
        values[key] = int(value) if kinds[key] == "int" else float(value)
    return name, values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run of an edit with an exact answer")
    parser.add_argument(
        "--ways", default="squared,robust,gradient,perceptual", help="losses, with settings: NAME:KEY=VALUE"
    )
    parser.add_argument(
        "--every", type=int, default=4, help="of the held-out camera's frames, every n-th is judged"
    )
    parser.add_argument("--steps", type=int, default=0, help="0: as the run's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for one frame of every way")
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    footage, config = Footage(run), cfg.from_dict(run.config(), str(args.run))
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        lpips = find_lpips()
    except WeightsError as err:
        lpips = print(f"no LPIPS: {err}")
    scene, edit = footage.scene, edit_named_by(footage.prompt)
    held_out = footage.watched[0]
    frames = list(range(0, scene.num_frames, args.every))
    originals = [footage.original(held_out, f) for f in frames]
    answers = answers_of(scene.exact, scene.cameras[held_out], edit, originals, frames)
    bank = FrameBank(scene.cameras, scene.train_views, scene.num_frames, scene.missing)
    for view in scene.train_views:
        for frame in range(scene.num_frames):
            bank.put(view, frame, footage.edited_frame(view, frame)[None])
    checkpoint = get_checkpoint(run.store, footage.manifests[0]["checkpoint"]["digest"])
    view = scene.train_views[len(scene.train_views) // 2]
    own = answers_of(
        scene.exact, scene.cameras[view], edit, [footage.original(view, f) for f in frames], frames
    )
    rows = {
        "answer": figures(answers, answers, None),
        f"the editor's frames, {scene.cameras[view].name}": figures(
            [footage.edited_frame(view, f) for f in frames], own, lpips
        ),
    }
    for text in args.ways.split(","):
        name, values = way(text)
        chosen = replace(config.field, refit_loss=name, **values)
        distance = find_lpips(device) if name == "perceptual" else None
        workers = Workers(1 if device.type == "cuda" else torch.get_num_threads())
        fitter = Fitter(
            chosen,
            space_for(scene.bounds, scene.cameras),
            scene.num_frames,
            config.seed,
            device,
            workers,
            distance=distance,
        )
        fitter.load(checkpoint)
        fitter.begin("refit", args.steps or chosen.refit_steps)
        start = time.perf_counter()
        fitter.advance(bank, fitter.total_steps)
        seconds = time.perf_counter() - start
        images = [
            (fitter.image(scene.cameras[held_out], f).rgb.clamp(0, 1) * 255).round().byte().cpu().numpy()
            for f in frames
        ]
        rows[text] = figures(images, answers, lpips) | {"seconds": seconds}
        if args.pictures:
            import cv2

            args.pictures.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                str(args.pictures / f"{text.replace(':', '-').replace('=', '')}.png"),
                images[len(images) // 2][..., ::-1],
            )
        print(text, {k: round(v, 4) for k, v in rows[text].items()}, flush=True)
    print(json.dumps(rows, indent=1))
    if args.json:
        args.json.write_text(
            json.dumps({"prompt": footage.prompt, "device": str(device), "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
