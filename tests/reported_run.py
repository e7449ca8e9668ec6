"""A finished run put together by hand: real run folder, real blocks of a few pixels, figures known
beforehand.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from i4d import config as cfg
from i4d.commands.run_request import Request
from i4d.plain import plain
from i4d.report.answers import demonstration_weights
from i4d.report.shots import KEY_BEFORE, OTHERS_BEFORE
from i4d.scenes.prepare import scene_to_dict
from i4d.store.blocks import write_block
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import Bounds, Camera, Scene, TableRun

NIGHT = Request(
    "edit", "turn it into night", editor="tiny", notices=("a <demonstration> editor",), demonstration=True
)


def rig(
    num_views: int = 3,
    num_frames: int = 4,
    width: int = 20,
    height: int = 16,
    held_out: int = 1,
    exact: str = "",
) -> Scene:
    """Cameras in a row that look along z."""
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    cameras = []
    for i in range(num_views):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * i
        cameras.append(Camera(f"cam{i:02d}", width, height, K, pose))
    bounds = Bounds("ndc", ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)), 1.0, 10.0)
    return Scene(
        "toy",
        tuple(cameras),
        num_frames,
        8.0,
        bounds,
        tuple(c.name for c in cameras[:held_out]),
        None,
        tuple(cameras),
        exact,
    )


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def videos(scene: Scene, seed: int = 0) -> list[np.ndarray]:
    """One video of noise per camera."""
    return [noise((scene.num_frames, c.height, c.width, 3), seed + i) for i, c in enumerate(scene.cameras)]


def events(began: float = 1000.0) -> list[dict]:
    """A trainer and two editors: fit 0-10 s, key frame 10-14 s by the first, windows 14-20 s by both (the
    second half idle).
    """
    known = {
        "event": "WorkerReady",
        "at_s": began,
        "device_name": "toy",
        "node": "here",
        "pid": 1,
        "seconds": 0.5,
        "notes": [],
    }
    ready = [
        {**known, "worker": w, "device": d}
        for w, d in (("trainer", "cuda:0"), ("editor-0", "cuda:1"), ("editor-1", "cuda:2"))
    ]
    stages = [("fit", 0, 10), ("key frame", 10, 14), ("windows", 14, 20)]
    out = [{"event": "RunStarted", "at_s": began}, *ready]
    out.append(
        {"event": "Placed", "at_s": began, "sentence": "each on a card of its own", "mode": "separate"}
    )
    for name, start, stop in stages:
        out.append({"event": "StageStarted", "at_s": began + start, "round": 0, "stage": name, "total": 1})
        out += _work(name, began, start)
        out.append(
            {
                "event": "StageFinished",
                "at_s": began + stop,
                "round": 0,
                "stage": name,
                "seconds": stop - start,
            }
        )
    return out


def _work(stage: str, began: float, start: float) -> list[dict]:
    def piece(kind: str, worker: str, device: str, at: float, seconds: float, **more) -> dict:
        who = {
            "worker": worker,
            "device": device,
            "started_s": began + at,
            "seconds": seconds,
            "peak_bytes": 1 << 20,
        }
        return {"event": kind, "at_s": began + at + seconds, "round": 0, **who, **more}

    if stage == "fit":
        steps = {"phase": "fit", "total": 20, "rays": 1, "new_frames": 0}
        return [
            piece(
                "FitProgress", "trainer", "cuda:0", start + i, 1.0, step=2 * i + 2, psnr_db=20.0 + i, **steps
            )
            for i in range(10)
        ]
    if stage == "key frame":
        return [
            piece("KeyFrameStepStored", "editor-0", "cuda:1", start, 4.0, task="r1/key00", unet_forwards=9)
        ]
    return [
        piece("WindowStored", "editor-0", "cuda:1", start, 6.0, task="r1/v01/w00"),
        piece("WindowStored", "editor-1", "cuda:2", start, 3.0, task="r1/v02/w00"),
        piece("WindowStored", "editor-1", "cuda:2", start, 3.0, task="r1/v02/w00", reused=True),
    ]


def build(
    path: Path,
    scene: Scene,
    originals: list[np.ndarray],
    renders: dict[str, np.ndarray],
    edited: dict[int, np.ndarray] | None = None,
    depths: list[np.ndarray] | None = None,
    request: Request = NIGHT,
    told: list[dict] | None = None,
    weights: str | None = None,
) -> RunFolder:
    """Write a run: `renders` by name as (n, h, w, 3); `edited` whole videos by view; `depths` (h, w) beside
    `key/before`, and the same again as `others/before` for the first and the last instant; `weights` is the
    identity of the editor's, None: the bundled demonstration editor's."""
    run = RunFolder.create(path, cfg.to_dict(cfg.Config()))
    table = FrameTable.of(
        TableRun(v, 0, len(x), write_block(run.store, x).digest) for v, x in enumerate(originals)
    )
    run.write_json("scene.json", scene_to_dict(scene))
    run.write_json("originals.json", table.to_json())
    run.write_json("plan.json", {"key_frame": 1, "match_threshold": 0.05, "views": list(scene.train_views)})
    dataclasses.replace(request, kind="edit" if edited else "train").write(run)
    if edited:
        chosen = demonstration_weights() if weights is None else weights
        run.write_json("identity.json", {"editor.weights": chosen})
    run.write_manifest(0, {"overrides": [], "receipts": {}})
    if edited:
        runs = [[v, 0, len(x), write_block(run.store, x).digest, 0] for v, x in edited.items()]
        run.write_manifest(
            1,
            {
                "overrides": runs,
                "receipts": {"r1/key00": {"unet_forwards": 9}, "r1/v01/w00": {"unet_forwards": 12}},
            },
        )
    made = {}
    for name, images in renders.items():
        blocks = {"rgb": plain(write_block(run.store, images))}
        if name == KEY_BEFORE and depths:
            blocks["depth"] = plain(write_block(run.store, np.stack(depths).astype(np.float32)))
        made[name] = [{"frames": list(range(len(images))), "blocks": blocks}]
    if depths:
        elsewhere = np.stack([*depths, *depths]).astype(np.float32)
        made[OTHERS_BEFORE] = [
            {
                "frames": list(range(len(elsewhere))),
                "blocks": {"depth": plain(write_block(run.store, elsewhere))},
            }
        ]
    run.write_json("renders.json", made)
    for event in told if told is not None else events():
        run.append_event(event)
    return run
