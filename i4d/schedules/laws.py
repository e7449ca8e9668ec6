"""What must hold of every plan, whoever makes it: the driver and the editors rely on it."""

from __future__ import annotations

from collections.abc import Iterator

from i4d.errors import ConfigError
from i4d.pairs import Source
from i4d.schedules.values import Chain, Plan, RoundPlan, WindowPlan


def check(plan: Plan) -> None:
    """Raise ConfigError at the first law that a plan breaks."""
    for wrong in _broken(plan):
        raise ConfigError(f"schedule.method = {plan.method}: no plan that can be carried out", wrong)


def _broken(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a plan."""
    if not plan.views or len(plan.cameras) != len(plan.views):
        yield f"{len(plan.views)} views with {len(plan.cameras)} cameras"
    if [part.index for part in plan.rounds] != list(range(1, len(plan.rounds) + 1)):
        yield f"rounds are counted from 1, not {[part.index for part in plan.rounds]}"
    for part in plan.rounds:
        for wrong in _of_round(plan, part):
            yield f"round {part.index}, {wrong}"


def _of_round(plan: Plan, part: RoundPlan) -> Iterator[str]:
    named = [view for step in part.key_steps for view in step.sample]
    named += [view for rest in part.rest for view in rest.views]
    named += [chain.view for chain in part.chains] + [update.view for update in part.updates]
    if strange := sorted(set(named) - set(plan.views)):
        yield f"view {strange[0]}: it is not edited"
    if part.updates and (part.key_steps or part.chains):
        yield "a round of updates has neither key frame nor windows"
    if (part.rest or part.in_depth) and not part.key_steps:
        yield "repaints of other views, and windows that start from them by depth, follow a key frame"
    windows = {(c.view, window.index): window for c in part.chains for window in c.windows}
    if len(windows) != part.num_windows:
        yield "windows of a view have different indices"
    edited = [(c.view, f) for c in part.chains for window in c.windows for f in window.frames]
    edited += [(view, plan.key_frame) for view in plan.views] if part.key_steps else []
    if len(set(edited)) != len(edited):
        yield "a frame of a view is edited once a round, and the key frame before the windows"
    if any(not 0 <= frame < plan.num_frames for _, frame in edited):
        yield f"frames are 0 to {plan.num_frames - 1}"
    for chain in part.chains:
        for place, window in enumerate(chain.windows):
            for wrong in _of_window(plan, chain, place, windows):
                yield f"view {chain.view}, window {window.index}: {wrong}"


def _of_window(
    plan: Plan, chain: Chain, place: int, windows: dict[tuple[int, int], WindowPlan]
) -> Iterator[str]:
    window = chain.windows[place]
    before = chain.windows[place - 1].frames[-1:] if place else (plan.key_frame,)
    if not window.frames or (window.reference_frame,) != before:
        yield "its reference is the key frame, or the last frame of the window before it in the chain"
    if plan.settings.flow == "none" and window.flows:
        yield "it takes flow, and flow.method is none"
    if any(not -1 <= i < j < len(window.frames) for i, j in window.sources.averaged):
        yield "averaged are pairs (i, j), i < j, of its frames, -1 the frame before it"
    at_hand = (window.reference_frame, plan.key_frame)
    for source in window.sources.pulled:
        if source.by == "flow" and (source.view != chain.view or source.frame not in at_hand):
            yield "by flow come its reference and the key frame of its own view"
        if source.by == "depth" and not _is_shown(
            source, chain, windows.get((source.view, window.index)), window
        ):
            yield "by depth come windows of other views with its index and frames that see no others"


def _is_shown(source: Source, chain: Chain, shown: WindowPlan | None, window: WindowPlan) -> bool:
    return (
        source.frame is None
        and source.view != chain.view
        and shown is not None
        and shown.frames == window.frames
        and not shown.sources.by_depth
    )
