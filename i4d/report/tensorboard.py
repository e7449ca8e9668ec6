"""A run's course as TensorBoard files: what events.jsonl says, in scalars. For those who compare many runs
side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from i4d.errors import ConfigError
from i4d.report.figures import readings
from i4d.store.run_folder import RunFolder


def scalars(events: list[dict]) -> Iterator[tuple[str, float, int, float]]:
    """Yield (tag, value, step, unix time) of a run's events; steps of a refit go on from those of the fit
    before it.
    """
    done, offset, last = 0, 0, 0
    for event in events:
        kind, at = event["event"], event["at_s"]
        if kind == "FitProgress":
            if event["step"] < last:
                offset += last
            last = event["step"]
            step = offset + last
            yield "fit/psnr_db", event["psnr_db"], step, at
            if event["seconds"] > 0:
                yield "fit/rays_per_s", event["rays"] / event["seconds"], step, at
        elif kind == "FitWatched":
            for name in ("held_out_psnr_db", "trained_psnr_db", "depth_agreement"):
                if event[name] is not None:
                    yield f"fit/{name}", event[name], event["step"], at
        elif kind == "WindowStored" and not event["reused"]:
            done += 1
            yield "edit/window_s", event["seconds"], done, at
            if event["kept_share"] is not None:
                yield "edit/share_carried_by_flow", event["kept_share"], done, at
        elif kind == "StageFinished":
            yield f"stage_s/{event['stage'].replace(' ', '_')}", event["seconds"], event["round"], at


def write_tensorboard(run: RunFolder, folder: Path) -> int:
    """Write event files into `folder` and return how many scalars; ConfigError without tensorboardX."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError(
            "--tensorboard needs tensorboardX, which is not installed", "pip install tensorboardX"
        ) from None
    count = 0
    with SummaryWriter(str(folder)) as writer:
        for tag, value, step, at in scalars(run.events()):
            if value is not None:
                writer.add_scalar(tag, value, step, walltime=at)
                count += 1
        for metric, found in readings(run.read_json("metrics.json") or {}):
            if found.value is not None:
                writer.add_scalar(f"metrics/{metric.column}", found.value, 0)
                count += 1
    return count
