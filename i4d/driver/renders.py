"""Renders from committed checkpoints: held-out cameras, camera paths, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from i4d.driver.events import Emitter, RenderStored
from i4d.driver.training import TrainerSession
from i4d.driver.windows import Stopped
from i4d.plain import plain
from i4d.types import Camera, RenderReceipt, RenderTask

_PIXELS_PER_CALL = 40_000  # of work without a GPU in a few seconds


@dataclass(frozen=True, eq=False)
class Shot:
    """A camera at some frames; a path is one shot per frame."""

    camera: Camera
    frames: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RenderJob:
    """A named set of images to render. `round` says from which commit: 0 is before any edit, -1 the last."""

    name: str
    shots: tuple[Shot, ...]
    round: int = -1
    want: tuple[str, ...] = ("rgb",)


def calls_of(job: RenderJob, num_frames: int, pixels_per_call: int = _PIXELS_PER_CALL) -> list[RenderTask]:
    """Return the short render calls that make up a job, in order; how they are cut follows from image size
    only.
    """
    tasks = []
    for shot in job.shots:
        size = max(1, min(8, pixels_per_call // (shot.camera.width * shot.camera.height)))
        for start in range(0, len(shot.frames), size):
            tasks.append(RenderTask(shot.camera, shot.frames[start : start + size], num_frames, job.want))
    return tasks


def work_done(
    session: TrainerSession,
    round_index: int,
    id: str,
    receipt: RenderReceipt,
    reused: bool,
    done: int,
    total: int,
) -> RenderStored:
    """Return the event for one render call."""
    size = sum(block.size_bytes for block in receipt.blocks.values())
    who = (receipt.worker, receipt.device, receipt.started_s, receipt.seconds)
    return RenderStored(round_index, id, *who, size, done, total, reused=reused)


def render_all(
    session: TrainerSession,
    jobs: Sequence[RenderJob],
    checkpoints: dict[int, str],
    num_frames: int,
    emit: Emitter,
) -> dict[str, list[dict]]:
    """Return, per job, its images in order: [{"frames": [...], "blocks": {"rgb": {...}}}, ...] as plain
    values.
    """
    last = max(checkpoints)
    jobs = [replace(job, round=last if job.round < 0 else job.round) for job in jobs]
    calls = [(job, task) for job in sorted(jobs, key=lambda j: j.round) for task in calls_of(job, num_frames)]
    out: dict[str, list[dict]] = {job.name: [] for job in jobs}
    for done, (job, task) in enumerate(calls, 1):
        if session.record.stop_requested():
            raise Stopped
        id = f"{job.name}/{len(out[job.name]):04d}"
        receipt, reused = session.render(id, checkpoints[job.round], task)
        out[job.name].append({"frames": list(task.frames), "blocks": plain(dict(receipt.blocks))})
        emit(work_done(session, job.round, id, receipt, reused, done, len(calls)))
    return out
