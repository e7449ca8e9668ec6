"""The pictures of a run by what they show: originals, edited frames, renders. Read from blocks, nothing
computed.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from i4d.commands.run_request import Request
from i4d.errors import I4DError
from i4d.report.shots import after, watched_views
from i4d.scenes.record import scene_from_dict
from i4d.scenes.where import region_from_dict
from i4d.store.run_folder import RunFolder
from i4d.store.tables import FrameTable
from i4d.types import MATCH_SHARE, Camera, FrameAddress, Region, Scene, TableRun


def kept_round(run: RunFolder, last: int) -> int:
    """Return the round that a run's renders are of: the one that the judge of its rounds kept, else the last
    committed one.
    """
    return int((run.read_json("rounds.json") or {}).get("kept", last))


class Footage:
    """One run's scene, tables and renders; frames are uint8 (height, width, 3) sRGB, depth is float32
    (height, width).
    """

    def __init__(self, run: RunFolder) -> None:
        """ConfigError where this is not a run of i4d, I4DError where it holds nothing that could be shown
        yet.
        """
        self.run = run
        self.request = Request.read(run)
        if run.read_json("scene.json") is None or run.read_json("originals.json") is None:
            raise I4DError(f"{run.path}: the scene of this run is not prepared yet", f"i4d resume {run.path}")
        if not run.manifests():
            raise I4DError(f"{run.path}: nothing is committed yet", f"i4d resume {run.path}")

    @cached_property
    def scene(self) -> Scene:
        return scene_from_dict(self.run.needed_json("scene.json"))

    @cached_property
    def region(self) -> Region | None:
        """Where the edit may act; None: everywhere."""
        return region_from_dict(self.run.read_json("region.json"))

    @cached_property
    def plan(self) -> dict:
        """What plan.json says."""
        return self.run.read_json("plan.json") or {}

    @cached_property
    def manifests(self) -> dict[int, dict]:
        return self.run.manifests()

    @property
    def prompt(self) -> str:
        """Return the instruction; empty for a run without an edit."""
        return self.request.prompt if self.edited else ""

    @property
    def weights(self) -> str | None:
        """Return the identity of the weights that the run edits with (i4d/identity.py); None where the folder
        does not say, or nothing edits.
        """
        return (self.run.read_json("identity.json") or {}).get("editor.weights") or None

    @property
    def edited(self) -> bool:
        """Return whether at least one round of editing is committed."""
        return max(self.manifests) > 0

    @property
    def key_frame(self) -> int:
        return int(self.plan.get("key_frame", 0))

    @property
    def match_threshold(self) -> float:
        """Return how near two surface points must be to count as one, in world units."""
        return float(self.plan.get("match_threshold", self.scene.bounds.within(None, MATCH_SHARE)))

    @cached_property
    def watched(self) -> tuple[int, ...]:
        """Return the views that figures and videos are about."""
        return watched_views(self.scene)

    @cached_property
    def _originals(self) -> FrameTable:
        return FrameTable.from_json(self.run.needed_json("originals.json"))

    @cached_property
    def kept(self) -> int:
        """The round that pictures and figures are of."""
        return kept_round(self.run, max(self.manifests))

    @cached_property
    def _tables(self) -> dict[int, FrameTable]:
        """Which frames the field of every committed round was fitted to."""
        table, out = self._originals, {}
        for index, manifest in sorted(self.manifests.items()):
            table = table.override(TableRun(*run) for run in manifest["overrides"])
            out[index] = table
        return out

    @cached_property
    def _renders(self) -> dict[str, list[tuple[int, dict[str, FrameAddress]]]]:
        out: dict[str, list] = {}
        for name, calls in (self.run.read_json("renders.json") or {}).items():
            out[name] = [
                (frame, {kind: FrameAddress(block["digest"], row) for kind, block in call["blocks"].items()})
                for call in calls
                for row, frame in enumerate(call["frames"])
            ]
        return out

    def camera(self, view: int) -> Camera:
        return self.scene.cameras[view]

    def taken(self, view: int, count: int) -> list[int]:
        """Return which of the first frames a camera took; others stand in for the rest, and prove nothing."""
        gone = {f for v, a, b in self.scene.missing if v == view for f in range(a, b)}
        return [frame for frame in range(count) if frame not in gone]

    def has(self, name: str) -> bool:
        """Return whether a set of renders was made."""
        return bool(self._renders.get(name))

    def num_rendered(self, name: str) -> int:
        """Return how many images a set of renders holds; 0 where it was not made."""
        return len(self._renders.get(name, ()))

    def rendered(self, name: str, index: int, kind: str = "rgb") -> np.ndarray:
        """Return image `index` of a set of renders: a frame, or z depth in world units (`kind` "depth")."""
        return self.pixels(self._renders[name][index][1][kind])

    def original(self, view: int, frame: int) -> np.ndarray:
        return self.pixels(self._originals.lookup(view, frame))

    def edited_frame(self, view: int, frame: int, round_index: int | None = None) -> np.ndarray:
        """Return a frame of a trained view as the editor left it: what the field of a round (None: the kept
        one) was fitted to.
        """
        return self.pixels(
            self._tables[self.kept if round_index is None else round_index].lookup(view, frame)
        )

    def pixels(self, address: FrameAddress) -> np.ndarray:
        """Return a stored picture as uint8; edited key frames are kept as float16."""
        row = self.run.reader.row(address)
        if row.dtype == np.float16:
            row = (row.astype(np.float32).clip(0, 1) * 255).round().astype(np.uint8)
        return row

    def why_not_after(self, view: int) -> str:
        """Return why there is no edited render of a camera, or the empty string."""
        if not self.edited:
            return "this run edited nothing"
        return "" if self.has(after(self.camera(view).name)) else "the edited field has not been rendered yet"
