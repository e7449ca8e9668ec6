"""A run's events as one Parquet table, for pandas and DuckDB users.

SELECT worker, sum(seconds) FROM 'runs/demo/events.parquet' WHERE event = 'WindowStored' GROUP BY worker
"""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder

FILE = "events.parquet"
_COLUMNS = {
    "at_s": pa.float64(),
    "event": pa.string(),
    "round": pa.int64(),
    "stage": pa.string(),
    "task": pa.string(),
    "worker": pa.string(),
    "device": pa.string(),
    "started_s": pa.float64(),
    "seconds": pa.float64(),
    "done": pa.int64(),
    "step": pa.int64(),
    "total": pa.int64(),
    "size_bytes": pa.int64(),
    "unet_forwards": pa.int64(),
    "psnr_db": pa.float64(),
    "rays": pa.int64(),
    "reused": pa.bool_(),
    "reason": pa.string(),
}


def events_table(events: list[dict]) -> pa.Table:
    """Return events (as JSON) as a table: a column for what most have, null where an event has it not; `more`
    holds the rest as JSON.
    """
    columns = {name: pa.array([event.get(name) for event in events], kind) for name, kind in _COLUMNS.items()}
    rest = [{key: value for key, value in event.items() if key not in _COLUMNS} for event in events]
    columns["more"] = pa.array(
        [json.dumps(tree, sort_keys=True) if tree else None for tree in rest], pa.string()
    )
    return pa.table(columns)


def write_events_table(folder: RunFolder) -> None:
    """Write events.parquet beside events.jsonl, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(events_table(folder.events()), sink)
    write_atomically(folder.path / FILE, sink.getvalue())
