"""What has landed of the round that a run is at work on: its windows, before the round is committed, and
where the run stands.
"""

from __future__ import annotations

import threading

from i4d.commands.watch import Standing, standing
from i4d.store.run_folder import Lines, RunFolder
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, TableRun


class Landing:
    """Follows a run's journal and events. `refresh` takes notice of what came since; the rest tells of it."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._journal, self._events = Lines(run.path / "journal.jsonl"), Lines(run.path / "events.jsonl")
        self._told: list[dict] = []
        self._blocks: dict[
            int, dict[str, str]
        ] = {}  # of each round: window's name to the digest of its block
        self._tables: dict[int, FrameTable] = {}
        self._lock = threading.RLock()  # a viewer asks from several threads

    def refresh(self) -> bool:
        """Return whether windows or events have come since the last call."""
        with self._lock:
            return self._refresh()

    def _refresh(self) -> bool:
        windows = [
            entry for entry in self._journal.more() if entry["kind"] == "edit" and entry["id"].count("/") == 2
        ]
        for entry in windows:
            index = int(entry["id"].split("/")[0].removeprefix("r"))
            self._blocks.setdefault(index, {})[entry["id"]] = entry["receipt"]["block"]["digest"]
            self._tables.pop(index, None)
        events = self._events.more()
        self._told += events
        return bool(windows or events)

    def standing(self) -> Standing:
        """Return where the run stands by its events."""
        with self._lock:
            told = list(self._told)
        return standing(told)

    def find(self, round_index: int, view: int, frame: int) -> FrameAddress | None:
        """Return where a frame that a round's windows have edited lies; None where none has yet."""
        with self._lock:
            if round_index not in self._tables:
                self._tables[round_index] = self._table(round_index)
            table = self._tables[round_index]
        return table.find(view, frame)

    def _table(self, index: int) -> FrameTable:
        blocks, plan = self._blocks.get(index, {}), self._run.read_json("plan.json") or {"rounds": []}
        runs: list[TableRun] = []
        for part in (part for part in plan["rounds"] if part["index"] == index):
            for chain in part["chains"]:
                for window in chain["windows"]:
                    digest = blocks.get(f"r{index}/v{chain['view']:02d}/w{window['index']:02d}")
                    if digest is None:
                        continue
                    runs += [
                        TableRun(chain["view"], frame, frame + 1, digest, row)
                        for row, frame in enumerate(window["frames"])
                    ]
        return FrameTable.of(runs)
