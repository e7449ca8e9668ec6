"""The plan of a run: every piece of work of every round, fixed before anything runs.

A plan follows from scene, configuration and seed alone, never from how many workers there are, so results do
not depend on them either. Constants: docs/method.md, sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from i4d.config import Config
from i4d.driver.journal import inputs_digest, plain
from i4d.errors import ConfigError
from i4d.seeds import seed_for
from i4d.types import (
    FILL_SHARE,
    MATCH_SHARE,
    Camera,
    EditSettings,
    FrameAddress,
    Identity,
    Refit,
    Region,
    Scene,
    Strength,
)


def branches(settings: EditSettings) -> int:
    """Return how many branches of the guidance (none, image, image and text) have a weight: at 1 / 1 one is
    enough.
    """
    s_T, s_I = settings.text_guidance, settings.image_guidance
    return sum(weight != 0 for weight in (1 - s_I, s_I - s_T, s_T))


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
    first.
    """

    index: int
    frames: tuple[int, ...]
    reference_frame: int


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

    def to_json(self) -> dict:
        """Return plain values for plan.json, the digest among them."""
        return {"digest": self.digest(), "unet_forwards": predicted_forwards(self), **plain(self)}

    def digest(self) -> str:
        """Return what a resumed run must have in common with the one it continues."""
        return inputs_digest(self)


def key_strength(step: int, num_steps: int, diffusion_steps: int) -> Strength:
    """Return how far key-frame step `step` of `num_steps` noises: all the way at first, 0.8 of it at the
    end.
    """
    scale = 0.8 + 0.1 * (1 + math.cos(math.pi * step / num_steps))
    return Strength(round(1000 * scale), max(1, int(diffusion_steps * scale)))


def weakened(strength: Strength, share: float) -> Strength:
    """Return a share of a strength: as far and as many steps less, at least one."""
    steps = max(1, round(strength.n * share))
    return Strength(max(steps, round(strength.T * share)), steps)


def chains_of(view: int, num_frames: int, key_frame: int, length: int) -> tuple[Chain, ...]:
    """Return the windows of a view: all frames but the key frame, each once, outwards from it."""
    forward = _cut(range(key_frame + 1, num_frames), key_frame, length, 0)
    backward = _cut(range(key_frame - 1, -1, -1), key_frame, length, len(forward))
    chains = (Chain(view, "forward", forward), Chain(view, "backward", backward))
    return tuple(chain for chain in chains if chain.windows)


def _cut(frames: range, key_frame: int, length: int, first_index: int) -> tuple[WindowPlan, ...]:
    parts = [tuple(frames[i : i + length]) for i in range(0, len(frames), length)]
    references = [key_frame] + [part[-1] for part in parts]
    return tuple(WindowPlan(first_index + i, part, references[i]) for i, part in enumerate(parts))


def _round(index: int, config: Config, views: Sequence[int], num_frames: int, key_frame: int) -> RoundPlan:
    schedule = config.schedule
    size = min(schedule.key_views, len(views))
    share = 1.0 if schedule.accumulate else schedule.round_share ** (index - 1)
    steps = []
    for step in range(schedule.key_steps):
        rng = np.random.default_rng(seed_for(config.seed, index, None, step, "sample"))
        sample = tuple(views[i] for i in rng.choice(len(views), size, replace=False))
        steps.append(
            KeyStep(
                step,
                sample,
                weakened(key_strength(step, schedule.key_steps, schedule.diffusion_steps), share),
            )
        )
    rest = [v for v in views if v not in steps[-1].sample]
    windows = tuple(RestWindow(i, tuple(rest[a : a + size])) for i, a in enumerate(range(0, len(rest), size)))
    chains = [c for v in views for c in chains_of(v, num_frames, key_frame, schedule.sequence_length)]
    return RoundPlan(index, tuple(steps), windows, tuple(chains), strength_share=share)


def key_frame_of(scene: Scene, config: Config) -> int:
    """Return the frame of the key instant; it may lie beyond the scene, which `make_plan` refuses."""
    both = config.schedule.propagation == "bidirectional"
    return scene.num_frames // 2 if both and not config.schedule.key_frame else config.schedule.key_frame


def make_plan(scene: Scene, config: Config, settings: EditSettings, num_rounds: int | None = None) -> Plan:
    """Return the plan for a scene. `num_rounds` overrides the configuration (0: reconstruct only).

    ConfigError names a key frame outside the video or a scene without views to edit.
    """
    schedule = config.schedule
    views = scene.train_views
    if not views:
        raise ConfigError("scene.held_out holds out every camera", "nothing is left to edit")
    key_frame = key_frame_of(scene, config)
    if key_frame >= scene.num_frames:
        frames = f"the scene has frames 0 to {scene.num_frames - 1}"
        raise ConfigError(f"schedule.key_frame = {schedule.key_frame} is out of range", frames)
    num_rounds = schedule.rounds if num_rounds is None else num_rounds
    return Plan(
        seed=config.seed,
        num_frames=scene.num_frames,
        key_frame=key_frame,
        views=views,
        cameras=tuple(scene.cameras[v] for v in views),
        settings=settings,
        rounds=tuple(_round(r, config, views, scene.num_frames, key_frame) for r in range(1, num_rounds + 1)),
        window_strength=Strength(schedule.refine_num_steps, schedule.refine_diffusion_steps),
        rest_strength=Strength(schedule.restview_refine_num_steps, schedule.restview_refine_diffusion_steps),
        batch=_frames_at_once(config, settings) + (settings.attention != "own"),
        rest_batch=min(schedule.key_views, len(views)),
        key_shares=schedule.key_shares
        if settings.norm == "frame" and settings.attention in ("anchor", "anchor_self")
        else 1,
        match_threshold=scene.bounds.within(schedule.match_threshold, MATCH_SHARE),
        fill_threshold=scene.bounds.within(schedule.fill_threshold, FILL_SHARE),
        fit_steps=config.field.fit_steps,
        refit_steps=config.field.refit_steps,
        refit=schedule.refit,
        depth_warp=schedule.depth_warp,
        accumulate=schedule.accumulate,
        stop_change=schedule.stop_change,
    )


def _frames_at_once(config: Config, settings: EditSettings) -> int:
    """Return how many new frames go through the editor together: a window, or fewer where the card is small
    and they are independent.
    """
    window = config.schedule.sequence_length
    independent = settings.norm == "frame" and settings.attention != "sparse_causal"
    return min(window, config.editor.batch or window) if independent else window


def predicted_forwards(plan: Plan) -> int:
    """Return how many images times branches go through the UNet in all rounds.

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
