"""The editors' jobs of a round's key frame, as values: joint edits, then repaints of the rest of the
views.
"""

from __future__ import annotations

from dataclasses import replace

from i4d.driver.jobs import Job, Results
from i4d.driver.protocols import Table
from i4d.driver.stages import Look, earlier_of
from i4d.schedules.values import KeyStep, Plan, RoundPlan, weakened
from i4d.types import EditReceipt, FrameAddress, KeyFrameTask, RepaintTask, TableRun

# how much of a given key frame repainted views take where they see it: nearest to the truth of 0.5, 0.75 and
# 1
TOLD_AGAIN = 0.75


def key_id(part: RoundPlan, step: int) -> str:
    return f"r{part.index}/key{step:02d}"


def rest_id(part: RoundPlan, window: int) -> str:
    return f"r{part.index}/rest{window:02d}"


def key_jobs(
    plan: Plan, part: RoundPlan, originals: Table, look: Look, before: Table | None = None
) -> list[Job]:
    """Return the key-frame steps, one after the other, and the repaints of the rest views after the last.

    `before`: the frames of the round before, where rounds accumulate; likewise in `window_jobs`.
    """
    key_originals = tuple(originals.lookup(view, plan.key_frame) for view in plan.views)

    def step_job(index: int) -> Job:
        step, last = part.key_steps[index], index == len(part.key_steps) - 1
        previous = key_id(part, index - 1) if index else ""

        def make(results: Results) -> KeyFrameTask:
            return KeyFrameTask(
                run_seed=plan.seed,
                round=part.index,
                step=step.step,
                num_steps=len(part.key_steps),
                frame=plan.key_frame,
                views=plan.views,
                sample=step.sample,
                cameras=tuple(camera.at(plan.key_frame) for camera in plan.cameras),
                originals=key_originals,
                current=_rows(results[previous], len(plan.views)) if previous else look.key,
                depth=look.depth,
                strength=step.strength,
                settings=plan.settings,
                match_threshold=plan.match_threshold if plan.depth_warp else 0.0,
                fill_threshold=(plan.fill_threshold if plan.reference is None else plan.match_threshold)
                if plan.depth_warp
                else 0.0,
                fill_share=0.5 if plan.reference is None else 1.0,
                edited=_edited(plan, part, step, results) if plan.reference is None else (plan.reference,),
                region=look.masks((view, plan.key_frame) for view in plan.views),
                earlier=earlier_of(before, ((view, plan.key_frame) for view in plan.views)) if last else (),
            )

        left = len(part.key_steps) - index + (1 if part.rest else 0)
        after = (*((previous,) if previous else ()), *share_ids(plan, part, step))
        return Job(key_id(part, index), "edit_key_frame", make, len(plan.views), after, left, "key")

    jobs = []
    for index in range(len(part.key_steps)):
        jobs += _share_jobs(plan, part, index, key_originals, look)
        jobs.append(step_job(index))
    last = jobs[-1].id

    rest = [
        _rest_job(plan, part, window.index, window.views, key_originals, last, look, before)
        for window in part.rest
    ]
    return (
        jobs
        + rest
        + ([_told_again(plan, part, jobs[-1], rest)] if rest and plan.reference is not None else [])
    )


def _rest_job(
    plan: Plan,
    part: RoundPlan,
    window: int,
    views: tuple[int, ...],
    key_originals: tuple[FrameAddress, ...],
    last: str,
    look: Look,
    before: Table | None,
) -> Job:
    """Return the repaint of some views that were not in the sample of the `last` key-frame step."""
    where = [plan.views.index(view) for view in views]

    def make(results: Results) -> RepaintTask:
        current = _rows(results[last], len(plan.views))
        return RepaintTask(
            run_seed=plan.seed,
            round=part.index,
            window=window,
            frame=plan.key_frame,
            views=views,
            originals=tuple(key_originals[i] for i in where),
            current=tuple(current[i] for i in where),
            batch=plan.rest_batch,
            strength=weakened(plan.rest_strength, part.strength_share),
            settings=plan.settings,
            region=look.masks((view, plan.key_frame) for view in views),
            earlier=earlier_of(before, ((view, plan.key_frame) for view in views)),
        )

    return Job(rest_id(part, window), "repaint", make, len(views), (last,))


def _told_again(plan: Plan, part: RoundPlan, first: Job, rest: list[Job]) -> Job:
    """Return the step that takes a given key frame into the repainted views once more: a repaint keeps little
    of what it was given.
    """

    def make(results: Results) -> KeyFrameTask:
        repainted = _repainted(plan, part, results)
        current = tuple(repainted[view] for view in plan.views)
        return replace(first.make(results), step=1, current=current, fill_share=TOLD_AGAIN)

    return Job(
        key_id(part, 1), "edit_key_frame", make, len(plan.views), tuple(job.id for job in rest), 1, "key"
    )


def share_ids(plan: Plan, part: RoundPlan, step: KeyStep) -> list[str]:
    """Return the jobs that a joint edit is split into; none where it is one call."""
    shares = step.shares(plan.key_shares)
    return [f"{key_id(part, step.step)}/s{share}" for share in range(len(shares))] if len(shares) > 1 else []


def _share_jobs(
    plan: Plan, part: RoundPlan, index: int, originals: tuple[FrameAddress, ...], look: Look
) -> list[Job]:
    """Return the parts of one joint edit: each repaints the anchor once more and some of the other views with
    it.

    With per-image normalisation a view depends on the anchor and itself alone, so the parts together are the
    joint edit.
    """
    step = part.key_steps[index]
    shares, ids = step.shares(plan.key_shares), share_ids(plan, part, step)
    before = key_id(part, index - 1) if index else ""

    def share_job(number: int) -> Job:
        views = (step.sample[0], *shares[number])
        where = [plan.views.index(view) for view in views]

        def make(results: Results) -> RepaintTask:
            current = _rows(results[before], len(plan.views)) if before else look.key
            return RepaintTask(
                run_seed=plan.seed,
                round=part.index,
                window=step.step,
                frame=plan.key_frame,
                views=views,
                originals=tuple(originals[i] for i in where),
                current=tuple(current[i] for i in where),
                batch=1 + len(shares[0]),
                strength=step.strength,
                settings=plan.settings,
                share=number,
                region=look.masks((view, plan.key_frame) for view in views),
            )

        left = len(part.key_steps) - index + 1
        return Job(ids[number], "repaint", make, len(views), (before,) if before else (), left)

    return [share_job(number) for number in range(len(ids))]


def _edited(plan: Plan, part: RoundPlan, step: KeyStep, results: Results) -> tuple[FrameAddress, ...]:
    """Return where the sampled views lie after their shares, in the order of the sample; empty where it is
    one call.
    """
    found: dict[int, FrameAddress] = {}
    for id, views in zip(share_ids(plan, part, step), step.shares(plan.key_shares), strict=False):
        digest = results[id].block.digest
        found |= {
            view: FrameAddress(digest, row)
            for row, view in enumerate((step.sample[0], *views))
            if view not in found
        }
    return tuple(found[view] for view in step.sample) if found else ()


def _rows(receipt: EditReceipt, count: int) -> tuple[FrameAddress, ...]:
    return tuple(FrameAddress(receipt.block.digest, row) for row in range(count))


def anchors(plan: Plan, part: RoundPlan, results: Results) -> dict[int, FrameAddress]:
    """Return where each view's edited key frame lies once the key stage is stored."""
    if plan.reference is not None and part.rest:
        return dict(zip(plan.views, _rows(results[key_id(part, 1)], len(plan.views)), strict=True))
    return _repainted(plan, part, results)


def _repainted(plan: Plan, part: RoundPlan, results: Results) -> dict[int, FrameAddress]:
    """Return where each view's key frame lies after the last joint edit and the repaints that follow it."""
    last = results[key_id(part, len(part.key_steps) - 1)].block.digest
    found = {view: FrameAddress(last, row) for row, view in enumerate(plan.views)}
    for rest in part.rest:
        digest = results[rest_id(part, rest.index)].block.digest
        found |= {
            view: FrameAddress(digest, row)
            for row, view in enumerate(rest.views)
            if view != plan.reference_view
        }
    return found


def key_runs(plan: Plan, digest: str) -> list[TableRun]:
    """Return the edited key frames as runs of the next frame table; `digest` has one row per edited view."""
    frame = plan.key_frame
    return [TableRun(view, frame, frame + 1, digest, row) for row, view in enumerate(plan.views)]
