"""Trying prompts and guidance on one key frame and a short window: what an edit would look like, before hours
are spent on it.

Every cell of the grid is one prompt at one pair of guidance weights: a full edit of the key frame, then the
frames after it as one window, as a run would edit them (without cross-view agreement and refit, which need a
field).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
import torch

from i4d.editors.protocol import EditCost, Editor
from i4d.flow.find import FlowEstimator
from i4d.method.window import Edited, FlowSource, WindowImages, WindowSeeds, edit_window
from i4d.metrics import cells
from i4d.metrics.image import image_psnr
from i4d.metrics.steadiness import planes
from i4d.metrics.temporal import FlowPair, neighbour_flows, temporal_warp_error
from i4d.types import EditSettings, Strength

SEED = 0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Strengths:
    """How far the key frame and the window are noised, as a run would."""

    key: Strength
    window: Strength


@dataclass(frozen=True, eq=False)
class Trial:
    """One cell of the grid: its settings, frames uint8 (1 + window, h, w, 3), and figures (cells.Cell) by
    name.
    """

    prompt: str
    text_guidance: float
    image_guidance: float
    frames: np.ndarray
    figures: dict[str, cells.Cell]
    score: str  # which figure decides: the best that could be had


def try_grid(
    models: Sequence[Editor],
    estimator: FlowEstimator,
    originals: np.ndarray,
    grid: Sequence[EditSettings],
    strengths: Strengths,
    answers: dict[str, list[np.ndarray]],
    progress: Progress,
) -> list[Trial]:
    """Return a trial for every settings of `grid`, on frames uint8 (time, h, w, 3) of one camera; frame 0 is
    the key frame.

    `models` are copies of one editor: each edits cells of its own, on a share of the cores. `answers` maps
    prompts to what each frame should exactly become, where the scene knows.
    """
    video = torch.stack([planes(frame) for frame in originals])
    flows = list(neighbour_flows(video, estimator)) if len(video) > 1 else []
    key_flows = _from_key(video, estimator)
    out = []
    for done, (settings, frames) in enumerate(
        zip(grid, _all_edited(models, video, key_flows, grid, strengths), strict=True), 1
    ):
        out.append(_judged(originals, video, frames, flows, settings, answers.get(settings.instruction, [])))
        progress(done, len(grid))
    return out


def _all_edited(
    models: Sequence[Editor],
    video: torch.Tensor,
    flows: FlowPair,
    grid: Sequence[EditSettings],
    strengths: Strengths,
) -> Iterator[torch.Tensor]:
    """Yield the edited frames of every cell in order; several small networks on a core each are faster than
    one on all of them.
    """
    if len(models) == 1:
        yield from (_edited(models[0], video, flows, settings, strengths) for settings in grid)
        return
    free: SimpleQueue[Editor] = SimpleQueue()
    for model in models:
        free.put(model)

    def one(settings: EditSettings) -> torch.Tensor:
        model = free.get()
        try:
            return _edited(model, video, flows, settings, strengths)
        finally:
            free.put(model)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            len(models), "try", torch.set_num_threads, (max(1, threads // len(models)),)
        ) as pool:
            yield from pool.map(one, grid)
    finally:
        torch.set_num_threads(threads)


def _from_key(video: torch.Tensor, estimator: FlowEstimator) -> FlowPair:
    """Return forward and backward flow (time - 1, 2, h, w) between the key frame and each later frame."""
    rest = video[1:]
    key = video[:1].expand_as(rest)
    return (
        (estimator.estimate(key, rest), estimator.estimate(rest, key))
        if len(rest)
        else (rest[:, :2], rest[:, :2])
    )


@torch.inference_mode()
def _edited(
    model: Editor, video: torch.Tensor, flows: FlowPair, settings: EditSettings, strengths: Strengths
) -> torch.Tensor:
    video, cost = video.to(model.device), EditCost()
    alone = replace(settings, attention="own", norm="frame")
    key = model.repaint(video[:1], video[:1], strengths.key, alone, [SEED], cost)
    rest = video[1:]
    if not len(rest):
        return key.cpu()
    forward, backward = (flow.to(model.device) for flow in flows)
    anchor = Edited(video[:1], key)
    pulled = FlowSource(key, list(zip(forward, backward, strict=True)))
    images = WindowImages(rest, rest, anchor, anchor, [pulled])
    recall = lambda strength: model.remember(video[:1], key, strength, settings, SEED, cost)
    seeds = WindowSeeds(SEED, (SEED,) * len(rest))
    given = model, images, strengths.window, settings, seeds, len(rest) + 1, cost, recall
    window, _ = edit_window(*given)
    return torch.cat([key, window]).cpu()


def _judged(
    originals: np.ndarray,
    video: torch.Tensor,
    edited: torch.Tensor,
    flows: list[FlowPair],
    settings: EditSettings,
    answers: list[np.ndarray],
) -> Trial:
    frames = (edited.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    figures = {"changed": cells.cell((edited - video).abs().mean((1, 2, 3)).tolist(), 3)}
    if len(video) > 1:
        ratio = temporal_warp_error(edited, flows).ratio_to(temporal_warp_error(video, flows))
        figures["flicker"] = {"value": round(ratio, 2), "frames": len(video)}
    words = cells.word_cells(frames.__getitem__, originals.__getitem__, len(frames), settings.instruction)
    figures["clip_direction"] = words["clip_directional_similarity"]
    score = "clip_direction"
    if answers:
        figures["known_answer_db"] = cells.cell(
            [image_psnr(a, b) for a, b in zip(frames, answers, strict=True)], 2
        )
        score = "known_answer_db"
    if figures[score]["value"] is None:
        score = "flicker" if "flicker" in figures else "changed"
    return Trial(
        settings.instruction, settings.text_guidance, settings.image_guidance, frames, figures, score
    )


def best(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return each prompt's trial with the best score: lowest flicker, or highest of anything else."""
    out: dict[str, Trial] = {}
    for trial in trials:
        sign = -1.0 if trial.score == "flicker" else 1.0
        known = out.setdefault(trial.prompt, trial)
        if sign * trial.figures[trial.score]["value"] > sign * known.figures[known.score]["value"]:
            out[trial.prompt] = trial
    return out
