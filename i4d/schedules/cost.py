"""What a plan costs, and how many editors it can keep busy."""

from __future__ import annotations

from i4d.schedules.values import Plan, weakened
from i4d.types import EditSettings


def branches(settings: EditSettings) -> int:
    """Return how many branches of the guidance (none, image, image and text) have a weight: at 1 / 1 one is
    enough.
    """
    s_T, s_I = settings.text_guidance, settings.image_guidance
    return sum(weight != 0 for weight in (1 - s_I, s_I - s_T, s_T))


def predicted_forwards(plan: Plan) -> int:
    """Return how many images times branches go through the network in all rounds.

    With `anchor` or `anchor_self` attention and per-frame normalisation the anchor of a view is denoised once
    per round; otherwise with every window. Of adaptive windows it is the most they may take.
    """
    settings = plan.settings
    once = (
        settings.attention in ("anchor", "anchor_self")
        and settings.norm == "frame"
        and settings.mode in ("exact", "turbo")
    )
    images = 0
    for part in plan.rounds:
        for step in part.key_steps if plan.reference_view is None else ():
            shares = step.shares(plan.key_shares)
            batch = sum(1 + len(shares[0]) for _ in shares) if len(shares) > 1 else len(step.sample)
            images += batch * step.strength.n
        images += len(part.rest) * plan.rest_batch * weakened(plan.rest_strength, part.strength_share).n
        per_call = plan.batch - 1 if once else plan.batch
        frames = plan.batch - (settings.attention != "own")  # new ones of a call
        for view in {chain.view for chain in part.chains}:
            windows = [w for chain in part.chains if chain.view == view for w in chain.windows]
            calls = sum(-(-len(window.frames) // frames) for window in windows)
            strength = part.window_strength or plan.strength_of(view)
            images += (calls * per_call + once) * weakened(strength, part.strength_share).n
        images += sum(len(update.frames) * update.strength.n for update in part.updates)
    return images * branches(plan.settings)


def useful_editors(plan: Plan) -> int:
    """Return how many editors can have work at the same time: one per chain, at least one."""
    return max([1, *(len(part.chains) for part in plan.rounds)])


def advice(plan: Plan, editors: int) -> str:
    """Return a sentence when more editors are asked for than can have work, else the empty string."""
    useful = useful_editors(plan)
    if editors <= useful:
        return ""
    return (
        f"{editors} editors are asked for, but at most {useful} can have work at a time: windows of "
        "one view and "
        f"direction wait for one another, and there are {useful} such chains"
    )
