"""What can be begun before it is needed: the flow of the originals, which follows from the plan alone."""

from __future__ import annotations

from i4d.driver.events import Warned
from i4d.driver.protocols import Table
from i4d.driver.state import RunState
from i4d.errors import I4DError
from i4d.schedules.values import Plan
from i4d.types import FrameAddress

Pair = tuple[FrameAddress, FrameAddress]


def flow_pairs(plan: Plan, originals: Table) -> list[Pair]:
    """Return the pairs of original frames whose flow windows look at, each once: first those of every chain's
    first window.
    """
    lookup, chains = originals.lookup, [chain for part in plan.rounds for chain in part.chains]
    found: dict[Pair, None] = {}
    for place in range(max((len(chain.windows) for chain in chains), default=0)):
        for chain in (chain for chain in chains if place < len(chain.windows)):
            pairs = (pair for pair in chain.windows[place].flows if pair[0] != pair[1])
            found |= {(lookup(chain.view, i), lookup(chain.view, j)): None for i, j in pairs}
    return list(found)


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
