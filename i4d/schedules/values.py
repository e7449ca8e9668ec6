"""The plan of a run as values: every piece of work of every round, fixed before anything runs.

A plan follows from scene, configuration and seed alone, never from how many workers there are, so results do
not depend on them either.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from i4d.pairs import WindowSources
from i4d.plain import inputs_digest
from i4d.types import Camera, EditSettings, FrameAddress, Identity, Refit, Region, Strength


@dataclass(frozen=True)
class KeyStep:
    """One joint edit of `sample` views at the key instant; sample[0] is its anchor."""

    step: int
    sample: tuple[int, ...]
    strength: Strength

    def shares(self, count: int) -> tuple[tuple[int, ...], ...]:
        """Return the sampled views besides the anchor in at most `count` parts of as equal size as can be."""
        others = self.sample[1:]
        count = max(1, min(count, len(others)))
        size = max(1, -(-len(others) // count))
        return tuple(others[i : i + size] for i in range(0, len(others), size))


@dataclass(frozen=True)
class RestWindow:
    """Views at the key instant that are repainted together after the last key step."""

    index: int
    views: tuple[int, ...]


@dataclass(frozen=True)
class WindowPlan:
    """Frames of one window in the order of propagation; the reference is the edited frame next to the
    first: the key frame, or the last frame of the window before. `sources` are what it starts from.
    """

    index: int
    frames: tuple[int, ...]
    reference_frame: int
    sources: WindowSources = WindowSources()

    @property
    def flows(self) -> list[tuple[int, int]]:
        """Pairs of frames whose flow it takes."""
        return self.sources.flows(self.frames, self.reference_frame)


@dataclass(frozen=True)
class Chain:
    """The windows of one view in one direction from the key frame; each needs the one before."""

    view: int
    direction: Literal["forward", "backward"]
    windows: tuple[WindowPlan, ...]


@dataclass(frozen=True)
class Update:
    """Some frames of one view that are rendered when the refit stands at step `at_step`, edited each by
    itself and put back.
    """

    index: int
    view: int
    frames: tuple[int, ...]
    at_step: int
    strength: Strength


@dataclass(frozen=True)
class RoundPlan:
    """One edit-and-refit round, counted from 1. Rounds of `updates` have neither key frame nor windows."""

    index: int
    key_steps: tuple[KeyStep, ...]
    rest: tuple[RestWindow, ...]
    chains: tuple[Chain, ...]
    updates: tuple[Update, ...] = ()
    strength_share: float = 1.0  # of the first round's strengths that this one repaints with
    window_strength: Strength | None = None  # of which it is a share; None: the plan's

    @property
    def num_windows(self) -> int:
        return sum(len(chain.windows) for chain in self.chains)

    @cached_property
    def shown(self) -> frozenset[int]:
        """Views that others start from by depth."""
        windows = (window for chain in self.chains for window in chain.windows)
        return frozenset(view for window in windows for view in window.sources.by_depth)

    @cached_property
    def in_depth(self) -> frozenset[int]:
        """Views whose depth is needed at every frame: those that are shown, and those that start from
        them.
        """
        seeing = (c.view for c in self.chains if any(window.sources.by_depth for window in c.windows))
        return self.shown | frozenset(seeing)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a driver needs. `views` are edited and trained on; `cameras` are theirs, in the same order.

    `batch` and `rest_batch` are images per editor call, anchor included where one is used. Thresholds are in
    world units.
    """

    seed: int
    num_frames: int
    key_frame: int
    views: tuple[int, ...]
    cameras: tuple[Camera, ...]
    settings: EditSettings
    rounds: tuple[RoundPlan, ...]
    window_strength: Strength
    rest_strength: Strength
    batch: int
    rest_batch: int
    key_shares: int  # 1: a joint edit is one call
    match_threshold: float
    fill_threshold: float
    fit_steps: int
    refit_steps: int
    refit: Refit
    method: str = "key_frame"
    depth_warp: bool = True
    accumulate: bool = (
        False  # a round's edited frames are the mean of its own and of those of all rounds before
    )
    stop_change: float = 0.0  # rounds end when edited frames and renders move by less, of [0, 1]
    region: Region | None = None  # where the edit may act; None: everywhere
    reference_view: int | None = None  # whose key frame is given, and where it lies (a float16 row)
    reference: FrameAddress | None = None
    leaders: tuple[
        int, ...
    ] = ()  # views whose windows go first, the others follow them; empty: no view follows another
    follow_strength: Strength = Strength(1, 1)  # of a follower's windows
    identity: Identity = Identity()
    trainers: int = 1  # processes that fit the field together, each with its own rays

    def strength_of(self, view: int) -> Strength:
        """Return the first round's strength of a view's windows."""
        return self.follow_strength if self.leaders and view not in self.leaders else self.window_strength

    def camera(self, view: int) -> Camera:
        return self.cameras[self.views.index(view)]

    @property
    def fitted_by(self) -> str:
        """What a fit follows from besides frames, checkpoint and steps."""
        return f"{self.identity.field}, {self.trainers} trainers, seed {self.seed}"

    def digest(self) -> str:
        """Return what a resumed run must have in common with the one it continues."""
        return inputs_digest(self)


def weakened(strength: Strength, share: float) -> Strength:
    """Return a share of a strength: as far and as many steps less, at least one."""
    steps = max(1, round(strength.n * share))
    return Strength(max(steps, round(strength.T * share)), steps)
