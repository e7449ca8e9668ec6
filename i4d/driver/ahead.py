"""What can be begun before it is needed: the flow of the originals, which follows from the plan alone."""

from __future__ import annotations

from i4d.driver.events import Warned
from i4d.driver.plan import Plan, WindowPlan
from i4d.driver.protocols import Table
from i4d.driver.state import RunState
from i4d.errors import I4DError
from i4d.pairs import pairs_within
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
            pairs = _pulled(plan, chain.windows[place]) + _blended(plan, chain.windows[place])
            at = {frame: originals.lookup(chain.view, frame) for pair in pairs for frame in pair}
            found |= {(at[reference], at[frame]): None for reference, frame in pairs if reference != frame}
    return list(found)


def _pulled(plan: Plan, window: WindowPlan) -> list[tuple[int, int]]:
    references = {
        "none": [],
        "last": [window.reference_frame],
        "both": [window.reference_frame, plan.key_frame],
    }
    return [
        (reference, frame) for reference in references[plan.settings.references] for frame in window.frames
    ]


def _blended(plan: Plan, window: WindowPlan) -> list[tuple[int, int]]:
    at = (*window.frames, window.reference_frame)  # -1 is the reference
    return [(at[i], at[j]) for i, j in pairs_within(len(window.frames), plan.settings.blend)]


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
