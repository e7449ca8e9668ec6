"""A tiny run with services that compute nothing, for the tests of driver and executors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i4d.config import Config
from i4d.driver.pool import Limits
from i4d.driver.renders import RenderJob, Shot
from i4d.driver.rounds import RunResult, run
from i4d.exec.protocol import ServiceSpec
from i4d.schedules.key_frame import make_plan
from i4d.schedules.values import Plan
from i4d.store.blocks import write_block
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import Bounds, Camera, EditSettings, Scene, TableRun

SETTINGS = EditSettings("make it snow", 7.5, 1.5)


def scene(
    num_views: int = 4, num_frames: int = 8, held_out: int = 1, width: int = 8, height: int = 6
) -> Scene:
    """A rig of small cameras in a row."""
    K = np.array([[float(width), 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    cameras = []
    for i in range(num_views):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * i
        cameras.append(Camera(f"cam{i:02d}", width, height, K, pose))
    bounds = Bounds("ndc", ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)), 1.0, 10.0)
    names = tuple(c.name for c in cameras[:held_out])
    return Scene("null", tuple(cameras), num_frames, 25.0, bounds, names, None, tuple(cameras))


def config(**keys) -> Config:
    """A short schedule; keys are of the schedule or field section."""
    out = Config()
    short = {
        "rounds": 2,
        "key_steps": 3,
        "key_views": 2,
        "sequence_length": 2,
        "key_frame": 3,
        "refit": "barrier",
    }
    for key, value in {**short, "fit_steps": 60, "refit_steps": 40, **keys}.items():
        setattr(out.field if hasattr(out.field, key) else out.schedule, key, value)
    return out


@dataclass
class NullRig:
    """One run folder with originals, and services on an executor; `go` drives (or goes on driving) the
    plan.
    """

    path: Path
    plan: Plan = None
    fresh: bool = True
    events: list = field(default_factory=list)
    scene: Scene = field(default_factory=scene)
    storage: str = ""  # a URI; empty: inside the run folder

    def __post_init__(self) -> None:
        self.plan = self.plan or make_plan(self.scene, config(), SETTINGS)
        self.folder = (
            RunFolder.create(self.path, {}, self.storage) if self.fresh else RunFolder.open(self.path)
        )
        rng, size = np.random.default_rng(0), self.scene.cameras[0]
        runs = []
        for view in range(len(self.scene.cameras)):
            frames = rng.integers(0, 256, (self.scene.num_frames, size.height, size.width, 3), dtype=np.uint8)
            runs.append(
                TableRun(view, 0, self.scene.num_frames, write_block(self.folder.store, frames).digest)
            )
        self.originals = FrameTable.of(runs)

    def specs(self, editors: int, delay_s: float = 0.0) -> list[ServiceSpec]:
        store = self.folder.store.uri
        cache = {"cache_dir": str(self.path / "node-cache")} if self.storage else {}
        out = [ServiceSpec("trainer", "i4d.services.null:NullTrainer", {"store": store, "delay_s": delay_s})]
        for i in range(editors):
            kwargs = {"store": store, "name": f"editor-{i}", "delay_s": delay_s, **cache}
            out.append(ServiceSpec(f"editor-{i}", "i4d.services.null:NullEditor", kwargs))
        return out

    def renders(self) -> list[RenderJob]:
        shots = (Shot(self.scene.cameras[0], tuple(range(self.scene.num_frames))),)
        return [RenderJob("held_out_before", shots, 0), RenderJob("held_out_after", shots)]

    def go(self, executor, editors: int = 2, sinks=(), delay_s: float = 0.0, **options) -> RunResult:
        handles = [executor.start(spec, 60) for spec in self.specs(editors, delay_s)]
        options.setdefault("limits", Limits(timeout_s=20, start_timeout_s=60, poll_s=0.05))
        try:
            return run(
                self.plan,
                self.originals,
                self.folder,
                executor,
                handles[1:],
                handles[0],
                [self.events.append, *sinks],
                renders=self.renders(),
                **options,
            )
        finally:
            for handle in handles:
                executor.kill(handle)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]
