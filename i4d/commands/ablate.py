"""What each part of the method is worth: `i4d ablate` runs the same edit with one thing changed per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i4d.commands.compare import Layers, Method, Study, chosen, sentences

_CHANGES: dict[str, dict[str, Any]] = {
    "default": {},
    "attention-own": {"editor.attention": "own"},
    "attention-anchor-self": {"editor.attention": "anchor_self"},
    "attention-sparse-causal": {"editor.attention": "sparse_causal"},
    "norm-joint": {"editor.norm": "joint"},
    "flow-dis": {"flow.method": "dis"},
    "flow-lucas-kanade": {"flow.method": "lucas_kanade"},
    "flow-horn-schunck": {"flow.method": "horn_schunck"},
    "flow-none": {"flow.method": "none"},
    "flow-mask-off": {"flow.mask": False},
    "depth-warp-off": {"schedule.depth_warp": False},
    "rounds-2": {"schedule.rounds": 2},
    "window-3": {"schedule.sequence_length": 3},
    "window-12": {"schedule.sequence_length": 12},
    "noise-shared": {"editor.noise": "shared"},
    "references-both": {"schedule.references": "both"},
    "references-none": {"schedule.references": "none"},
    "no-blend": {"schedule.blend": 0},
    "blend-4": {"schedule.blend": 4},
    "blend-by-flow": {"schedule.blend_sigma": 0.0, "schedule.blend_detail": False},
    "blend-no-detail": {"schedule.blend_detail": False},
    "keep-unchanged-off": {"editor.keep_unchanged": False},
    "schedule-key-views": {"schedule.method": "key_views"},
    "schedule-adaptive": {"schedule.method": "adaptive"},
    "schedule-each-frame": {"schedule.method": "each_frame"},
    "schedule-in2n": {"schedule.method": "in2n"},
}
ROWS = {name: Method(name, settings=settings) for name, settings in _CHANGES.items()}


def ablate(
    prompts: Sequence[str],
    prompts_file: Path | None,
    rows: str,
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Mapping[str, Any],
    sets: Sequence[str],
    ckpt: Path | None,
) -> int:
    """Carry out the rows (all of ROWS if empty) and write OUT/ablation.md, .tex, .csv; returns the exit
    code.
    """
    study = Study(out, Layers(scene, presets, files, options, sets), ckpt)
    study.add_all(sentences(prompts, prompts_file), chosen(rows or ",".join(ROWS), ROWS, "--rows"))
    return study.carry_out("ablation", "The same edit with one thing changed per row")
