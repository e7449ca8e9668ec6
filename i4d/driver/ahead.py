"""What can be begun before it is needed: the flow of the originals, which follows from the plan alone."""

from __future__ import annotations

from i4d.driver.events import Warned
from i4d.driver.plan import Plan, WindowPlan
from i4d.driver.protocols import Table
from i4d.driver.state import RunState
from i4d.errors import I4DError
from i4d.pairs import flows_of_window
from i4d.types import FrameAddress

Pair = tuple[FrameAddress, FrameAddress]


def flow_pairs(plan: Plan, originals: Table) -> list[Pair]:
    """Return the pairs of original frames whose flow windows look at, each once: first those of every chain's
    first window.
    """
    chains = [chain for part in plan.rounds for chain in part.chains]
    found: dict[Pair, None] = {}
    for place in range(max((len(chain.windows) for chain in chains), default=0)):
        for chain in (chain for chain in chains if place < len(chain.windows)):
            window = chain.windows[place]
            at = {frame: originals.lookup(chain.view, frame) for frame in _looked_at(plan, window)}
            found |= {(at[i], at[j]): None for i, j in _frames(plan, window) if i != j}
    return list(found)


def _looked_at(plan: Plan, window: WindowPlan) -> tuple[int, ...]:
    return (*window.frames, plan.key_frame, window.reference_frame)


def _frames(plan: Plan, window: WindowPlan) -> list[tuple[int, int]]:
    """Return the pairs of frames whose flows a window takes."""
    at = _looked_at(plan, window)  # -1 is the reference, -2 the anchor
    settings, same = plan.settings, plan.key_frame == window.reference_frame
    pairs = flows_of_window(len(window.frames), settings.references, settings.blend, same)
    return [(at[i], at[j]) for i, j in pairs]


def look_ahead(state: RunState) -> None:
    """Hand every editor a share of the flow, to be computed where it has cores to spare; what fails here is
    done with its window.
    """
    plan, pool = state.plan, state.pool
    if pool is None or plan.settings.flow == "none":
        return
    pairs, editors = flow_pairs(plan, state.originals), len(pool.members)
    try:
        pool.call_each("foresee", [(plan.settings.flow, pairs[number::editors]) for number in range(editors)])
    except I4DError as err:
        state.emit(Warned(f"flow is computed with its windows, not ahead of them: {err}"))
