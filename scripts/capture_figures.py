"""What wrong or awkward input costs: PSNR of the demo's unseen camera after a short fit, for ways in which
input comes (tests/capture_inputs.py), beside the clean input.

The camera is compared with its clean frames, whatever was made of the input. Missing frames are not trained
on. The figures of docs/captures.md are of

    python scripts/capture_figures.py --steps 500 --seeds 3
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from capture_inputs import CASES, LISTED, RIG, Clean, clean_demo, scene_config  # noqa: E402

from i4d import config as cfg  # noqa: E402
from i4d.metrics.image import image_psnr  # noqa: E402
from i4d.scenes.prepare import prepare  # noqa: E402
from i4d.scenes.readers.n3dv import read_n3dv  # noqa: E402
from i4d.scenes.readers.nerfstudio import read_nerfstudio  # noqa: E402
from i4d.scenes.readers.rig import read_rig  # noqa: E402
from i4d.services.trainer import TrainerScene, TrainerService  # noqa: E402
from i4d.store.blocks import BlockReader  # noqa: E402
from i4d.store.objects import open_store  # noqa: E402
from i4d.types import RenderTask  # noqa: E402

READERS = {"n3dv": read_n3dv, "rig": read_rig, "nerfstudio": read_nerfstudio}
WIDTH, HEIGHT = 160, 120


def figure(clean: Clean, root: Path, settings: dict, steps: int, seed: int, folder: Path) -> float:
    """Return the mean PSNR in dB of the first camera, held out, over the frames that the scene has."""
    bare = scene_config(**settings)
    names = [c.name for c in READERS[bare.reader](bare, root).cameras]
    config = scene_config(**{**settings, "held_out": [names[0]]})
    scene = READERS[config.reader](config, root)
    whole = cfg.Config()
    cfg.merge(whole, cfg.read_yaml(cfg.shipped("presets") / "demo.yaml"), "demo")
    store = open_store(folder)
    runs = prepare(scene, config, store)
    known = TrainerScene(scene.cameras, scene.bounds, scene.num_frames, scene.train_views, scene.missing)
    trainer = TrainerService(str(folder), known, whole.field, seed, num_threads=2)
    trainer.warm_up()
    trainer.start(runs, None, "fit", steps)
    trainer.advance((), steps)
    frames = tuple(range(scene.num_frames))
    receipt = trainer.render(RenderTask(scene.cameras[0], frames, scene.num_frames, ("rgb",)))
    rows = BlockReader(store).rows(receipt.blocks["rgb"].digest)
    right = clean.frames[clean.names[0]][scene.first :]
    return float(np.mean([image_psnr(np.asarray(a), b) for a, b in zip(rows, right, strict=False)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1, help="fits a way; their mean is the figure")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of ways, separated by ';'; empty: all mended ones")
    parser.add_argument("--json", type=Path, help="results are added here as they come")
    args = parser.parse_args()
    ways = [n for n, c in CASES.items() if not c.refused]
    ways = [n for n in args.only.split(";") if n] or ["clean", "clean, cameras.json", *ways]
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    with tempfile.TemporaryDirectory() as place:
        clean = clean_demo(Path(place) / "clean", WIDTH, HEIGHT)
        size = {"width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(ways):
            began, root = time.monotonic(), Path(place) / f"scene{number}"
            root.mkdir()
            if name == "clean":
                root, settings = clean.root, {}
            elif name == "clean, cameras.json":
                CASES["lens OPENCV"].make(clean, root)
                tree = json.loads((root / "cameras.json").read_text())
                settings = {**RIG, **size, "drop": []}
                tree["cameras"] = [c for c in tree["cameras"] if "model" not in c]
                (root / "cameras.json").write_text(json.dumps(tree))
            else:
                CASES[name].make(clean, root)
                settings = {**CASES[name].settings, **(CASES[name].mend or {})}
                settings |= size if settings.get("reader") == "rig" else {}
                settings |= {"bounds": "ndc"} if settings.get("reader") == LISTED["reader"] else {}
            folder = Path(place) / f"store{number}"
            each = [figure(clean, root, settings, args.steps, seed, folder) for seed in seeds]
            found[name] = found.get(name, []) + [round(psnr, 2) for psnr in each]
            mean, seconds = np.mean(found[name]), time.monotonic() - began
            print(f"{name}: {mean:.2f} dB, by seed {found[name]} ({seconds:.0f} s)", flush=True)
            if args.json:
                args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
