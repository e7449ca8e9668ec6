"""Write masks of one object of a procedural scene, from its exact ids, as `--where` takes them.

python scripts/object_masks.py data/demo/160x120x24 ball masks --without cam00
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from i4d.scenes.procedural.world import FIRST_SOLID_ID, KINDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", type=Path, help="folder of a procedural scene, with exact/")
    parser.add_argument("object", choices=KINDS)
    parser.add_argument("out", type=Path, help="folder for one folder of masks per camera")
    parser.add_argument("--without", nargs="*", default=[], help="cameras that get none")
    args = parser.parse_args()
    for path in sorted((args.scene / "exact").glob("*.npz")):
        if path.stem in args.without:
            continue
        with np.load(path, allow_pickle=False) as answers:
            inside = answers["id"] == FIRST_SOLID_ID + KINDS.index(args.object)
        (args.out / path.stem).mkdir(parents=True, exist_ok=True)
        for frame, mask in enumerate(inside):
            cv2.imwrite(str(args.out / path.stem / f"{frame:05d}.png"), mask.astype(np.uint8) * 255)


if __name__ == "__main__":
    main()
