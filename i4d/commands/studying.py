"""The commands that carry out many runs to compare them: `compare`, `ablate`. Parse, call, print, as in
i4d/cli.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from i4d.commands.options import (  # isort: skip
    Address,
    Ckpt,
    Configs,
    Data,
    Debug,
    Device,
    Editors,
    Local,
    Presets,
    PromptsFile,
    Scene,
    Sets,
    Weights,
    use_data,
    who,
)

StudyOut = Annotated[
    Path, typer.Option("--out", help="Folder of the study; the same command again goes on where it stopped")
]
Prompts = Annotated[
    list[str],
    typer.Option("--prompt", help='A sentence; several may be given.  Example: --prompt "make it snow"'),
]
Methods = Annotated[str, typer.Option("--methods", help="With commas: i4d, per-frame, in2n, authors")]


def compare(
    out: StudyOut,
    prompt: Prompts = [],
    prompts_file: PromptsFile = None,
    methods: Methods = "i4d,per-frame,in2n,authors",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Runs of each cell, with seeds of the editor")
    ] = 1,
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    ckpt: Ckpt = None,
    weights: Weights = None,
    address: Address = None,
    local: Local = False,
    editors: Editors = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Edit one scene by several methods and compare them in a table.

    per-frame and in2n may spend what i4d does, in whole edits; tables in
    Markdown, LaTeX and CSV, and a video grid.

    Example:  i4d compare --scene demo --prompt "make it snow" --methods i4d,per-frame,in2n --out runs/compare
    """
    from i4d.commands.compare import compare as carry_out

    use_data(data)
    options = {"editor.weights": weights, **who(address, local, editors, device)}
    raise typer.Exit(
        carry_out(prompt, prompts_file, methods, out, scene, preset, config, options, set_, ckpt, seeds)
    )


def ablate(
    out: StudyOut,
    prompt: Prompts = [],
    prompts_file: PromptsFile = None,
    rows: Annotated[
        str, typer.Option("--rows", help="With commas; else all.  Example: default,norm-joint,flow-none")
    ] = "",
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    ckpt: Ckpt = None,
    weights: Weights = None,
    address: Address = None,
    local: Local = False,
    editors: Editors = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Measure what each part of the method is worth, in a table.

    The same edit with one thing changed per row.

    Example:  i4d ablate --scene demo --prompt "make it sepia" --rows default,attention-own,flow-none --out
    runs/ablate
    """
    from i4d.commands.ablate import ablate as carry_out

    use_data(data)
    options = {"editor.weights": weights, **who(address, local, editors, device)}
    raise typer.Exit(carry_out(prompt, prompts_file, rows, out, scene, preset, config, options, set_, ckpt))


COMMANDS: dict[str, Callable[..., None]] = {"compare": compare, "ablate": ablate}
