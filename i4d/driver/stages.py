"""The editors' windows of one round, as values; and what jobs of the key frame and of windows share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from i4d.driver.jobs import Job, Results
from i4d.driver.protocols import Table
from i4d.schedules.values import Chain, Plan, RoundPlan, WindowPlan, weakened
from i4d.types import EditReceipt, FrameAddress, Sight, TableRun, WindowTask


@dataclass(frozen=True)
class Look:
    """What the field shows before this round's edit: the depth block at the key instant, and the current
    frames.

    `frames` is empty in round 1, where the originals are current. `region` has a mask per view and frame of a
    local edit.
    """

    depth: str
    frames: Mapping[tuple[int, int], FrameAddress]
    key: tuple[FrameAddress, ...]  # per edited view, at the key instant
    region: Mapping[tuple[int, int], FrameAddress] = field(default_factory=dict)
    depths: Mapping[tuple[int, int], FrameAddress] = field(
        default_factory=dict
    )  # of every frame, where views follow others

    def masks(self, places: Iterable[tuple[int, int]]) -> tuple[FrameAddress, ...]:
        """Return the masks of (view, frame) places; none where the edit acts everywhere."""
        return tuple(self.region[place] for place in places) if self.region else ()


def window_id(part: RoundPlan, view: int, window: int) -> str:
    return f"r{part.index}/v{view:02d}/w{window:02d}"


def earlier_of(before: Table | None, places: Iterable[tuple[int, int]]) -> tuple[FrameAddress, ...]:
    """Return what the rounds before made of (view, frame) places; empty where rounds do not accumulate, or
    this is the first.
    """
    return () if before is None else tuple(before.lookup(*place) for place in places)


def window_jobs(
    plan: Plan,
    part: RoundPlan,
    originals: Table,
    look: Look,
    edited_keys: Mapping[int, FrameAddress],
    before: Table | None = None,
) -> list[Job]:
    """Return the windows of every chain."""
    return [
        _window_job(plan, part, originals, look, edited_keys[chain.view], chain, place, before)
        for chain in part.chains
        for place in range(len(chain.windows))
    ]


def _window_job(
    plan: Plan,
    part: RoundPlan,
    originals: Table,
    look: Look,
    anchor: FrameAddress,
    chain: Chain,
    place: int,
    before: Table | None,
) -> Job:
    window = chain.windows[place]
    view = chain.view
    previous = window_id(part, view, chain.windows[place - 1].index) if place else ""
    shown = window.sources.by_depth

    def make(results: Results) -> WindowTask:
        frames = tuple(originals.lookup(view, frame) for frame in window.frames)
        reference = anchor
        if previous:
            block = results[previous].block
            reference = FrameAddress(block.digest, block.num_rows - 1)
        sights = tuple(
            _sight(plan, look, other, window, results[window_id(part, other, window.index)])
            for other in shown
        )
        return WindowTask(
            run_seed=plan.seed,
            round=part.index,
            view=view,
            window=window.index,
            frames=window.frames,
            originals=frames,
            current=tuple(look.frames.get((view, f), o) for f, o in zip(window.frames, frames, strict=True)),
            anchor_frame=plan.key_frame,
            anchor_original=originals.lookup(view, plan.key_frame),
            anchor_edited=anchor,
            reference_frame=window.reference_frame,
            reference_original=originals.lookup(view, window.reference_frame),
            reference_edited=reference,
            batch=plan.batch,
            strength=weakened(part.window_strength or plan.strength_of(view), part.strength_share),
            settings=plan.settings,
            sources=window.sources,
            region=look.masks((view, frame) for frame in window.frames),
            camera=plan.camera(view) if sights else None,
            depths=tuple(look.depths[view, frame] for frame in window.frames) if sights else (),
            sights=sights,
            match_threshold=plan.match_threshold,
            earlier=earlier_of(before, ((view, frame) for frame in window.frames)),
        )

    job_id = window_id(part, view, window.index)
    others_wait = view in part.shown
    left = len(chain.windows) - place + (len(chain.windows) if others_wait else 0)
    after = ((previous,) if previous else ()) + tuple(window_id(part, other, window.index) for other in shown)
    return Job(job_id, "edit_window", make, len(window.frames), after, left, f"v{view:02d}")


def _sight(plan: Plan, look: Look, view: int, window: WindowPlan, receipt: EditReceipt) -> Sight:
    """Return what another view shows during a window, which is cut as its own is."""
    frames = tuple(FrameAddress(receipt.block.digest, row) for row in range(len(window.frames)))
    return Sight(plan.camera(view), frames, tuple(look.depths[view, frame] for frame in window.frames))


def window_runs(part: RoundPlan) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return view and frames of each window by job id."""
    return {window_id(part, c.view, w.index): (c.view, w.frames) for c in part.chains for w in c.windows}


def runs_of(view: int, frames: tuple[int, ...], receipt: EditReceipt) -> list[TableRun]:
    """Return a stored window as runs: its frames may go backward in time, one row each in their order."""
    return [TableRun(view, frame, frame + 1, receipt.block.digest, row) for row, frame in enumerate(frames)]
