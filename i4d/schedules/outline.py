"""What the plans of all methods have in common, before there is a round in them."""

from __future__ import annotations

from i4d.config import Config
from i4d.errors import ConfigError
from i4d.schedules.values import Plan
from i4d.types import FILL_SHARE, MATCH_SHARE, EditSettings, Scene, Strength


def key_frame_of(scene: Scene, config: Config) -> int:
    """Return the frame of the key instant; it may lie beyond the scene, which `outline` refuses."""
    both = config.schedule.propagation == "bidirectional"
    return scene.num_frames // 2 if both and not config.schedule.key_frame else config.schedule.key_frame


def outline(scene: Scene, config: Config, settings: EditSettings) -> Plan:
    """Return a plan without rounds: views, strengths, batches, thresholds and the fit of a configuration.

    ConfigError names a key frame outside the video or a scene without views to edit.
    """
    schedule, views = config.schedule, scene.train_views
    if not views:
        raise ConfigError("scene.held_out holds out every camera", "nothing is left to edit")
    key_frame = key_frame_of(scene, config)
    if key_frame >= scene.num_frames:
        frames = f"the scene has frames 0 to {scene.num_frames - 1}"
        raise ConfigError(f"schedule.key_frame = {schedule.key_frame} is out of range", frames)
    splits = settings.norm == "frame" and settings.attention in ("anchor", "anchor_self")
    return Plan(
        seed=config.seed,
        num_frames=scene.num_frames,
        key_frame=key_frame,
        views=views,
        cameras=tuple(scene.cameras[v] for v in views),
        settings=settings,
        rounds=(),
        window_strength=Strength(schedule.refine_num_steps, schedule.refine_diffusion_steps),
        rest_strength=Strength(schedule.restview_refine_num_steps, schedule.restview_refine_diffusion_steps),
        batch=batch_of(_frames_at_once(config, settings), settings),
        rest_batch=min(schedule.key_views, len(views)),
        key_shares=schedule.key_shares if splits else 1,
        match_threshold=scene.bounds.within(schedule.match_threshold, MATCH_SHARE),
        fill_threshold=scene.bounds.within(schedule.fill_threshold, FILL_SHARE),
        fit_steps=config.field.fit_steps,
        refit_steps=config.field.refit_steps,
        refit=schedule.refit,
        method=schedule.method,
        depth_warp=schedule.depth_warp,
        accumulate=schedule.accumulate,
        stop_change=schedule.stop_change,
    )


def batch_of(frames: int, settings: EditSettings) -> int:
    """Return the pictures of an editor call with so many frames: the anchor is one of them where somebody
    looks at it.
    """
    return frames + (settings.attention != "own")


def _frames_at_once(config: Config, settings: EditSettings) -> int:
    """Return how many new frames go through the editor together: a window, or fewer where the card is small
    and they are independent.
    """
    window = config.schedule.sequence_length
    independent = settings.norm == "frame" and settings.attention != "sparse_causal"
    return min(window, config.editor.batch or window) if independent else window
