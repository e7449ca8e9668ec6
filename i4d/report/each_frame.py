"""What an edit looks like without the method: every frame edited by itself, with its own noise, no anchor,
flow or field.

The measure for steadiness and agreement: the method must come out clearly below this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from i4d import config as cfg
from i4d.editors.protocol import EditCost, Editor
from i4d.editors.registry import editor_kind
from i4d.errors import ConfigError
from i4d.metrics.steadiness import planes, temporal_errors, view_errors
from i4d.metrics.temporal import Unsteadiness
from i4d.report.footage import Footage
from i4d.report.shots import KEY_BEFORE, after
from i4d.seeds import seed_for
from i4d.store.run_folder import RunFolder
from i4d.types import EditSettings, Strength

Progress = Callable[[int, int], None]


def each_frame(run: RunFolder, num_frames: int, progress: Progress) -> dict[str, dict]:
    """Return, under `temporal` and `cross_view`, the relative errors of frames edited each by itself and of
    the method.

    Time: the first `num_frames` frames of the first watched camera; views: every edited view at the key
    instant. ConfigError for a run without an edit or fewer than two frames.
    """
    footage = Footage(run)
    if not footage.edited or num_frames < 2:
        raise ConfigError(f"--each-frame {num_frames}: needs an edited run and at least 2 frames")
    config = cfg.from_dict(run.config(), str(run.path / "config.yaml"))
    device = "cuda" if torch.cuda.is_available() and config.cluster.device != "cpu" else "cpu"
    kind = editor_kind(config.editor)
    weights = footage.request.editor or kind.resolve(config.editor.weights, device)
    model = kind.load(weights, device, replace(config.editor, mode="plain"))
    text, image = config.editor.text_guidance, config.editor.image_guidance
    settings = EditSettings(
        footage.prompt,
        model.card.text_guidance if text is None else text,
        model.card.image_guidance if image is None else image,
        attention="own",
        noise="frame",
        keep_unchanged=config.editor.keep_unchanged,
    )
    strength = Strength(1000, config.schedule.diffusion_steps)
    view, views = footage.watched[0], footage.scene.train_views
    frames = range(min(num_frames, footage.num_rendered(after(footage.camera(view).name))))
    wanted = [(view, f) for f in frames] + [(v, footage.key_frame) for v in views]
    made = {}
    for done, place in enumerate(wanted, 1):
        made[place] = _by_itself(model, footage.original(*place), strength, settings, config.seed, place)
        progress(done, len(wanted))
    name = footage.camera(view).name
    moving = temporal_errors(
        lambda i: footage.original(view, i),
        {"edited": lambda i: made[view, i], "method": lambda i: footage.rendered(after(name), i)},
        len(frames),
    )
    out = {"temporal": _figures(moving, len(frames))}
    if len(views) > 1 and footage.has(KEY_BEFORE):
        key = footage.key_frame
        images = {
            "edited": [made[v, key] for v in views],
            "method": [footage.edited_frame(v, key) for v in views],
        }
        depths = [footage.rendered(KEY_BEFORE, i, "depth") for i in range(len(views))]
        found = view_errors(
            images, depths, [footage.camera(v).at(key) for v in views], footage.match_threshold
        )
        out["cross_view"] = _figures(found, len(views))
    return out


def _by_itself(
    model: Editor,
    frame: np.ndarray,
    strength: Strength,
    settings: EditSettings,
    run_seed: int,
    place: tuple[int, int],
) -> np.ndarray:
    image = planes(frame)[None].to(model.device)
    seed = seed_for(run_seed, 0, place[0], place[1], "each frame")
    edited = model.repaint(image, image, strength, settings, [seed], EditCost())[0]
    return (edited.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _figures(found: dict[str, Unsteadiness], frames: int) -> dict:
    rounded = {
        name: {"relative": round(value.relative, 4), "error": round(value.error, 6)}
        for name, value in found.items()
    }
    return {"frames": frames, **rounded}
