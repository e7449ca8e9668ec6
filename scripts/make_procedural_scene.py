"""Write the procedural scene at any size, or measure how fast it renders.

python scripts/make_procedural_scene.py OUT --width 1352 --height 1014 --cameras 17 --frames 50 --images
python scripts/make_procedural_scene.py --bench --width 1352 --height 1014 --cameras 17 --frames 50
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from i4d.scenes.procedural.demo import demo_cameras, render_frames, write_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder to write (N3DV layout)")
    parser.add_argument("--width", type=int, default=1352)
    parser.add_argument("--height", type=int, default=1014)
    parser.add_argument("--cameras", type=int, default=17)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument(
        "--images", action="store_true", help="PNG frames instead of videos (hosts without PyAV)"
    )
    parser.add_argument(
        "--bench", action="store_true", help="render only, write nothing, print frames and seconds as JSON"
    )
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if not args.bench:
        if args.out is None:
            parser.error("give a folder to write, or --bench")
        write_demo(args.out, args.width, args.height, args.frames, args.cameras, device, images=args.images)
        return
    cameras = demo_cameras(args.width, args.height, args.cameras)
    next(render_frames(cameras[0], range(1), args.frames, device))  # warm-up
    start, count = time.perf_counter(), 0
    for camera in cameras:
        for _ in render_frames(camera, range(args.frames), args.frames, device):
            count += 1
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    print(
        json.dumps(
            {
                "frames": count,
                "size": [args.width, args.height],
                "seconds": round(time.perf_counter() - start, 2),
                "device": name,
            }
        )
    )


if __name__ == "__main__":
    main()
