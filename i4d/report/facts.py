"""A finished run as values: what evaluation, videos and the page are made from. Nothing here computes pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i4d import config as cfg
from i4d.commands.run_request import Request
from i4d.config import Config
from i4d.driver.journal import receipt_from
from i4d.errors import I4DError
from i4d.scenes.record import scene_from_dict
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, Scene, TableRun


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run read back from its folder. `table` holds the frames of the last committed round, `originals` those of version 0."""

    folder: RunFolder
    config: Config
    request: Request
    scene: Scene
    plan: dict
    originals: FrameTable
    table: FrameTable
    renders: dict[str, list[dict]]
    rounds: int
    events: tuple[dict, ...]

    @property
    def watched(self) -> tuple[int, ...]:
        """Views that are shown and measured: the held-out ones, else the first one that is trained on."""
        return self.scene.held_out_views or self.scene.train_views[:1]

    @property
    def edited(self) -> bool:
        """Whether at least one round was committed."""
        return self.rounds > 0

    def original_frames(self, view: int, frames: Sequence[int] | None = None) -> np.ndarray:
        """Return the original frames of a view as float32 (frame, height, width, 3) in [0, 1]."""
        frames = range(self.scene.num_frames) if frames is None else frames
        return self.folder.reader.images([self.originals.lookup(view, f) for f in frames])

    def edited_frames(self, view: int, frames: Sequence[int]) -> np.ndarray:
        """Return the frames of a view that the field was last fitted to, likewise."""
        return self.folder.reader.images([self.table.lookup(view, f) for f in frames])

    def rendered(self, job: str, kind: str = "rgb") -> np.ndarray:
        """Return the images of a render job in order: colours as float32 in [0, 1], depth as it is."""
        addresses = [FrameAddress(part["blocks"][kind]["digest"], row) for part in self.renders[job] for row in range(len(part["frames"]))]
        return self.folder.reader.rows_of(addresses) if kind == "depth" else self.folder.reader.images(addresses)

    def watched_frames(self, job: str) -> list[np.ndarray]:
        """Return a job over the watched views as one (frame, height, width, 3) array per view."""
        images = self.rendered(job)
        return [images[i * self.scene.num_frames : (i + 1) * self.scene.num_frames] for i in range(len(self.watched))]

    def look_depths(self, round_index: int) -> list[np.ndarray]:
        """Return the depth (height, width) at the key instant that a round's key-frame edit used, per edited view."""
        entries = {e["id"]: e for e in self.folder.records() if e["kind"] == "render"}
        out = []
        for view in self.plan["views"]:
            receipt = receipt_from("render", entries[f"r{round_index}/v{view:02d}/depth"]["receipt"])
            out.append(self.folder.reader.row(FrameAddress(receipt.blocks["depth"].digest, 0)))
        return out


def read_run(folder: RunFolder) -> RunFacts:
    """Return a run's facts; I4DError where it has not come far enough to be measured."""
    config = cfg.from_dict(folder.config(), str(folder.path / "config.yaml"))
    request = Request.read(folder)
    manifests = folder.manifests()
    scene, originals, plan = (folder.read_json(f"{name}.json") for name in ("scene", "originals", "plan"))
    renders: Any = folder.read_json("renders.json")
    if not manifests or scene is None or originals is None or plan is None or renders is None:
        raise I4DError(f"{folder.path}: this run is not finished", f"`i4d resume {folder.path}`")
    first = FrameTable.from_json(originals)
    table = first
    for _, manifest in sorted(manifests.items()):
        table = table.override(TableRun(*run) for run in manifest["overrides"])
    return RunFacts(
        folder, config, request, scene_from_dict(scene), plan, first, table, renders, max(manifests), tuple(folder.events())
    )

