"""How a view's frames are cut into windows along time, and what each of these starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from i4d.config import Config
from i4d.pairs import Source, WindowSources, pairs_within
from i4d.schedules.values import Chain, WindowPlan
from i4d.types import EditSettings, References


def sources_along(
    view: int, frames: Sequence[int], reference: int, key_frame: int, references: References, blend: int
) -> WindowSources:
    """Return what a window takes along time: `references` "last" pulls the edited `reference` frame before
    it, "both" that and the edited key frame, "none" nothing; edited frames up to `blend` apart are averaged.
    """
    before = {"none": (), "last": (reference,), "both": (reference, key_frame)}[references]
    pulled = tuple(Source(view, frame, "flow") for frame in dict.fromkeys(before))
    return WindowSources(pulled, tuple(pairs_within(len(frames), blend)) if blend else ())


def along_time(config: Config, settings: EditSettings) -> tuple[References, int]:
    """Return `references` and `blend` of a run's windows: none and 0 where it has no flow."""
    return ("none", 0) if settings.flow == "none" else (config.schedule.references, settings.blend)


def chains_of(
    view: int, num_frames: int, key_frame: int, length: int, references: References = "none", blend: int = 0
) -> tuple[Chain, ...]:
    """Return the windows of a view: all frames but the key frame, each once, outwards from it; at most
    `length` frames a window.
    """
    forward = _cut(range(key_frame + 1, num_frames), key_frame, length, 0)
    backward = _cut(range(key_frame - 1, -1, -1), key_frame, length, len(forward))

    def chain(windows: Sequence[WindowPlan]) -> tuple[WindowPlan, ...]:
        return tuple(
            replace(w, sources=sources_along(view, w.frames, w.reference_frame, key_frame, references, blend))
            for w in windows
        )

    chains = (Chain(view, "forward", chain(forward)), Chain(view, "backward", chain(backward)))
    return tuple(chain for chain in chains if chain.windows)


def _cut(frames: range, key_frame: int, length: int, first_index: int) -> tuple[WindowPlan, ...]:
    parts = [tuple(frames[i : i + length]) for i in range(0, len(frames), length)]
    references = [key_frame] + [part[-1] for part in parts]
    return tuple(WindowPlan(first_index + i, part, references[i]) for i, part in enumerate(parts))


def seeing(chain: Chain, others: Sequence[int]) -> Chain:
    """Return a chain whose windows start from what other views show at the same instants, too."""
    shown = tuple(Source(view, None, "depth") for view in others)

    def window(plan: WindowPlan) -> WindowPlan:
        return replace(plan, sources=replace(plan.sources, pulled=plan.sources.pulled + shown))

    return replace(chain, windows=tuple(map(window, chain.windows)))
