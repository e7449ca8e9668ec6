"""events.parquet says what events.jsonl says, with null where an event has no such value."""

import json

import pyarrow.parquet as pq
from null_rig import NullRig

from i4d.exec.local import LocalExecutor
from i4d.store.events_table import FILE, write_events_table


def test_a_runs_events_come_back_from_parquet(tmp_path):
    executor, rig = LocalExecutor(), NullRig(tmp_path / "run")
    rig.go(executor, 2, [lambda event: rig.folder.append_event(event.to_json())])
    executor.shutdown()
    write_events_table(rig.folder)
    rows = pq.read_table(rig.folder.path / FILE).to_pylist()
    told = rig.folder.events()
    assert [row["event"] for row in rows] == [event["event"] for event in told]
    for row, event in zip(rows, told, strict=True):
        more = json.loads(row.pop("more") or "{}")
        given = {key: value for key, value in {**row, **more}.items() if value is not None}
        assert given == {key: value for key, value in event.items() if value is not None}
    seconds = [row["seconds"] for row in rows if row["event"] == "WindowStored"]
    assert len(seconds) == sum(part.num_windows for part in rig.plan.rounds) and all(s >= 0 for s in seconds)


def test_a_run_without_events_gives_an_empty_table(tmp_path):
    rig = NullRig(tmp_path / "run")
    write_events_table(rig.folder)
    assert pq.read_table(rig.folder.path / FILE).num_rows == 0
