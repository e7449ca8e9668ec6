"""`i4d try`: prompts and guidance weights on one key frame and a short window, as a contact sheet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i4d.commands.layers import fitted_to, layered, settled
from i4d.commands.run_request import checked_prompt
from i4d.config import Config
from i4d.editors.registry import editor_kind
from i4d.errors import ConfigError
from i4d.flow.find import find_estimator
from i4d.identity import choose_editor, notices_of, settle
from i4d.report.answers import answers_of, why_no_answer
from i4d.report.console import Console
from i4d.report.contact_sheet import SCORES, command_of, sheet_html, sheet_png
from i4d.report.tryout import Strengths, best, try_grid
from i4d.scenes.load import load_scene
from i4d.scenes.prepare import working_frames
from i4d.scenes.repertoire.phrases import edit_named_by
from i4d.services.device import choose_device
from i4d.types import EditSettings, Scene, Strength

SMALL_EDITOR = 100_000_000  # weights: smaller ones are loaded once per core, and edit as many cells at once


def numbers(text: str, option: str, low: float, high: float) -> list[float]:
    """Return the numbers of a comma-separated list; ConfigError names the option."""
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or not all(low <= value <= high for value in found):
        raise ConfigError(
            f"{option} {text!r}", f"numbers from {low:g} to {high:g}, separated by commas, such as 7.5,9.5"
        )
    return found


def try_out(
    prompts: Sequence[str],
    out: Path,
    scene: str,
    camera: str,
    frames: int,
    guidance: str,
    image_guidance: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: dict[str, Any],
    sets: Sequence[str],
) -> None:
    """Edit one camera's key frame and the frames after it over the grid, and write sheet.png and sheet.html
    into `out`.
    """
    if not 0 <= frames <= 16:
        raise ConfigError(f"--frames {frames} is out of range", "0 to 16 frames after the key frame")
    texts = [checked_prompt(prompt) for prompt in prompts]
    asked = numbers(guidance, "--guidance", 0, 50) if guidance else []
    asked_image = numbers(image_guidance, "--image-guidance", 0, 20) if image_guidance else []
    config = settled(layered(scene, presets, files, options, sets))
    console = Console()
    loaded = load_scene(config.scene, None, console.making)
    fitted_to(config, loaded)
    view = _view(loaded, camera)
    device = choose_device(config.cluster.device)
    identity = settle(config, device.type)
    chosen = {prompt: choose_editor(config, prompt, device.type, identity) for prompt in texts}
    first = chosen[texts[0]]
    for notice in dict.fromkeys(text for each in chosen.values() for text in notices_of(each)):
        console.line(f"note: {notice}")
    card = first.card
    if asked or asked_image:
        told = f"{card.text_guidance:g} / {card.image_guidance:g}"
        console.line(f"guidance recommended for {card.name or first.place}, text / image: {told}")
    weights, image_weights = (
        asked or [first.settings.text_guidance],
        asked_image or [first.settings.image_guidance],
    )
    originals = _frames(loaded, config, view, frames)
    kind, plain = editor_kind(config.editor), replace(config.editor, mode="plain")
    models = [kind.load(first.place, device, plain)]
    estimator, sentence = find_estimator(
        config.flow.method, config.flow.checkpoint, device=device, iterations=config.flow.iterations
    )
    first_frame = config.schedule.key_frame
    console.line(
        f"camera {loaded.cameras[view].name}, frames {first_frame} to "
        f"{first_frame + len(originals) - 1}; {sentence}"
    )
    attention = config.editor.attention
    assert attention != "auto", "settled by `fitted_to`"
    grid = [
        kind.complete(EditSettings(p, t, i, attention, keep_unchanged=config.editor.keep_unchanged), plain)
        for p, t, i in itertools.product(texts, weights, image_weights)
    ]
    s = config.schedule
    strengths = Strengths(
        Strength(1000, s.diffusion_steps), Strength(s.refine_num_steps, s.refine_diffusion_steps)
    )
    editor = kind.weights_identity(first.place)
    answers = {p: _answers(loaded, config, view, p, editor, originals) for p in texts}
    console.begin("try", len(grid))
    if device.type == "cpu" and models[0].traits.num_parameters < SMALL_EDITOR:
        side_by_side = min(len(grid), torch.get_num_threads())
        models += [kind.load(first.place, device, plain) for _ in range(side_by_side - 1)]
    trials = try_grid(models, estimator, originals, grid, strengths, answers, console.progress)
    console.close()
    out.mkdir(parents=True, exist_ok=True)
    extra = _passed_on(presets, files, sets)
    sheet_png(out / "sheet.png", originals, trials)
    sheet_html(out / "sheet.html", originals, trials, scene or "demo", extra, loaded.name)
    for pick in best(trials).values():
        found = pick.figures[pick.score]["value"]
        print(
            f'"{pick.prompt}": best with text {pick.text_guidance:g}, image {pick.image_guidance:g}; '
            f"{found:g} {SCORES[pick.score]}"
        )
        print(f"  {command_of(pick, scene or 'demo', extra)}")
    print(f"sheet: {out / 'sheet.png'}\npage: {out / 'sheet.html'}")


def _passed_on(presets: Sequence[str], files: Sequence[Path], sets: Sequence[str]) -> list[str]:
    pairs = [
        *(("--preset", p) for p in presets),
        *(("--config", str(f)) for f in files),
        *(("--set", s) for s in sets),
    ]
    return [part for pair in pairs for part in pair]


def _answers(
    scene: Scene, config: Config, view: int, prompt: str, weights: str, originals: np.ndarray
) -> list[np.ndarray]:
    """Return what each frame should become, or nothing where the edit has no known answer."""
    name = edit_named_by(prompt)
    if name is None or why_no_answer(name, scene.exact, weights):
        return []
    first = config.schedule.key_frame
    source = [config.scene.start + (first + i) * config.scene.stride for i in range(len(originals))]
    return answers_of(scene.exact, scene.cameras[view], name, originals, source)


def _view(scene: Scene, camera: str) -> int:
    """Return the camera's index: the named one, else the middle one of those that are edited."""
    names = [c.name for c in scene.cameras]
    if camera and camera not in names:
        raise ConfigError(f"--camera {camera}: no such camera", f"one of {', '.join(names)}")
    return names.index(camera) if camera else scene.train_views[len(scene.train_views) // 2]


def _frames(scene: Scene, config: Config, view: int, after: int) -> np.ndarray:
    first = config.schedule.key_frame
    if first >= scene.num_frames:
        raise ConfigError(
            f"schedule.key_frame = {first} is out of range",
            f"the scene has frames 0 to {scene.num_frames - 1}",
        )
    return np.stack(list(islice(working_frames(scene, config.scene, view, first), after + 1)))
