"""What the field shows before a round's edit: depth of every edited view and, from the second round on, its
own renders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from i4d.driver import events
from i4d.driver.renders import RenderJob, Shot, calls_of, work_done
from i4d.driver.stages import Look
from i4d.driver.state import RunState
from i4d.driver.windows import Stopped
from i4d.errors import ConfigError
from i4d.schedules.values import RoundPlan
from i4d.types import Camera, CheckpointReceipt, FrameAddress, LocalRender, RenderTask

_DEPTH_SIDE = 480  # pixels


def look_at(state: RunState, part: RoundPlan, start: CheckpointReceipt) -> Look:
    """Render depth (and from round 2 on the current look) of every edited view from the field as it is now.

    Rounds that accumulate begin anew from the originals, each as the first one does, so only depth is looked
    at.
    """
    plan = state.plan
    first = part.index == 1 or plan.accumulate
    depth, key = [], []
    frames: dict[tuple[int, int], FrameAddress] = {}
    depths: dict[tuple[int, int], FrameAddress] = {}
    with state.stage(part.index, "look", len(plan.views)):
        for done, (view, camera) in enumerate(zip(plan.views, plan.cameras, strict=True), 1):
            want = ("depth",) if first else ("rgb", "depth")
            task = RenderTask(
                camera,
                (plan.key_frame,),
                plan.num_frames,
                want,
                "uint8" if first else "float16",
                exposure_of=view,
            )
            receipt = _rendered(state, part, f"r{part.index}/v{view:02d}/depth", start, task, done)
            depth.append(FrameAddress(receipt.blocks["depth"].digest, 0))
            windows = [w for chain in part.chains if chain.view == view for w in chain.windows]
            for window in windows if view in part.in_depth else ():
                task = RenderTask(_coarse(camera), window.frames, plan.num_frames, ("depth",))
                seen = _rendered(
                    state, part, f"r{part.index}/v{view:02d}/depth{window.index:02d}", start, task, done
                )
                found = seen.blocks["depth"].digest
                depths |= {(view, frame): FrameAddress(found, row) for row, frame in enumerate(window.frames)}
            if first:
                key.append(state.originals.lookup(view, plan.key_frame))
                continue
            key.append(FrameAddress(receipt.blocks["rgb"].digest, 0))
            for window in windows:
                task = RenderTask(camera, window.frames, plan.num_frames, exposure_of=view)
                receipt = _rendered(
                    state, part, f"r{part.index}/v{view:02d}/look{window.index:02d}", start, task, done
                )
                rows = range(len(window.frames))
                frames |= {
                    (view, window.frames[i]): FrameAddress(receipt.blocks["rgb"].digest, i) for i in rows
                }
        return Look(state.record.gather(depth).digest, frames, tuple(key), state.regions, depths)


def regions_of(state: RunState, start: CheckpointReceipt) -> dict[tuple[int, int], FrameAddress]:
    """Return where every edited view and frame may change, as masks seen by the unedited field; empty:
    everywhere.

    ConfigError where no edited view sees the region at the key instant: there would be nothing to begin with.
    """
    plan = state.plan
    if plan.region is None:
        return {}
    local = LocalRender(plan.region, start.digest)
    found: dict[tuple[int, int], FrameAddress] = {}
    every = tuple(range(plan.num_frames))
    with state.stage(1, "region", len(plan.views)):
        for view, camera in zip(plan.views, plan.cameras, strict=True):
            for place, task in enumerate(
                calls_of(RenderJob("region", (Shot(camera, every),), 0, ("region",)), plan.num_frames)
            ):
                if state.record.stop_requested():
                    raise Stopped
                task = replace(task, local=local)
                receipt, reused = state.session.render(f"region/v{view:02d}/{place:02d}", start.digest, task)
                state.emit(
                    work_done(
                        state.session,
                        1,
                        f"region/v{view:02d}",
                        receipt,
                        reused,
                        plan.views.index(view) + 1,
                        len(plan.views),
                    )
                )
                digest = receipt.blocks["region"].digest
                found |= {(view, frame): FrameAddress(digest, row) for row, frame in enumerate(task.frames)}
    share = state.record.share_of([found[view, plan.key_frame] for view in plan.views])
    if not share:
        raise ConfigError(
            f"--where: no edited camera sees the region at frame {plan.key_frame}, from where the "
            "edit spreads",
            "choose another schedule.key_frame, or mend box or masks",
        )
    state.emit(
        events.Warned(
            f"--where covers {100 * share:.1f} % of the edited cameras' pictures at frame {plan.key_frame}"
        )
    )
    return found


def _coarse(camera: Camera) -> Camera:
    """Return a camera whose longer side has at most 480 pixels: depth changes slowly, and every frame of
    every view is asked for.
    """
    shrink = min(1.0, _DEPTH_SIDE / max(camera.width, camera.height))
    return (
        camera.resized(round(camera.width * shrink), round(camera.height * shrink)) if shrink < 1 else camera
    )


def _rendered(
    state: RunState, part: RoundPlan, id: str, start: CheckpointReceipt, task: RenderTask, done: int
) -> Any:
    if state.record.stop_requested():
        raise Stopped
    receipt, reused = state.session.render(id, start.digest, task)
    state.emit(work_done(state.session, part.index, id, receipt, reused, done, len(state.plan.views)))
    return receipt
