"""The commands that try, measure and show: `locate`, `try`, `render`, `eval`, `report`, `view`. Parse, call,
print, as in i4d/cli.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from i4d.commands.options import (
    Address,
    Configs,
    Data,
    Debug,
    Device,
    Local,
    Presets,
    Run,
    Scene,
    Sets,
    StoragePath,
    Weights,
    use_data,
    who,
)
from i4d.errors import ConfigError


def try_(
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt", help='A sentence; give several to compare.  Example: --prompt "make it snow"'
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for sheet.png and sheet.html")] = Path(
        "runs/try"
    ),
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    guidance: Annotated[
        str,
        typer.Option(
            "--guidance", help="Weights s_T to try, with commas; of tiny-ip2p about 1.  Example: 7.5,9.5"
        ),
    ] = "",
    image_guidance: Annotated[
        str,
        typer.Option("--image-guidance", help="Weights s_I to try; of tiny-ip2p about 1.  Example: 1.2,1.5"),
    ] = "",
    camera: Annotated[str, typer.Option("--camera", help="Camera by name; else the middle one")] = "",
    frames: Annotated[
        int, typer.Option("--frames", help="Frames after the key frame that are edited as a window")
    ] = 2,
    weights: Weights = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Try prompts and guidance on one key frame: a contact sheet.

    Edits the key frame and a few frames after it for every setting; takes a minute.

    Example:  i4d try --scene demo --prompt "make it snow" --prompt "turn the ball gold" --guidance 1,2.5
    --image-guidance 1,1.2
    """
    from i4d.commands.tryout import try_out

    use_data(data)
    options = {"editor.weights": weights, "cluster.device": device}
    try_out(prompt, out, scene, camera, frames, guidance, image_guidance, preset, config, options, set_)


def render(
    run: Run,
    path: Annotated[str, typer.Option("--path", help="held-out, spiral or side-by-side")] = "spiral",
    frames: Annotated[
        int, typer.Option("--frames", help="Frames of the spiral; 0: as many as the scene has")
    ] = 0,
    turns: Annotated[float, typer.Option("--turns", help="Turns of the spiral")] = 1.0,
    before: Annotated[bool, typer.Option("--before", help="The field before the edit")] = False,
    scale: Annotated[float, typer.Option("--scale", help="Size relative to the scene's images")] = 1.0,
    address: Address = None,
    local: Local = False,
    device: Device = None,
    storage_path: StoragePath = "",
    debug: Debug = False,
) -> None:
    """Render a run as H.264: held-out cameras, a path, side by side.

    Side by side: original, reconstruction and edit.

    Example:  i4d render runs/demo --path spiral --scale 2
    """
    from i4d.commands.show import render as carry_out

    carry_out(run, path, frames, turns, before, scale, who(address, local, None, device), storage_path)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder of videos that any method edited")],
    each: Annotated[
        int, typer.Option("--each-frame", help="Also edit this many frames each by itself, to compare with")
    ] = 0,
    originals: Annotated[
        Path | None,
        typer.Option("--originals", help="For a folder of videos: the originals, of the same names"),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", help="For a folder of videos: a run with the same cameras (depth, answers)"),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", help="For a folder of videos: masks of where the edit may act, of the same names"
        ),
    ] = None,
    prompt: Annotated[
        str, typer.Option("--prompt", help="For a folder of videos: what they were edited by")
    ] = "",
    caption: Annotated[
        list[str], typer.Option("--caption", help="Twice: the scene before and after, in words, for CLIP")
    ] = [],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Of a run: also write every figure there, a line a metric"),
    ] = None,
    storage_path: StoragePath = "",
    debug: Debug = False,
) -> None:
    """Measure a run, or anybody's edited videos.

    Writes metrics.json into its folder.

    Example:  i4d eval runs/demo    i4d eval theirs/ --like runs/demo    i4d eval theirs/ --originals
    data/scene --prompt "make it snow"
    """
    from i4d.commands.show import evaluate as carry_out
    from i4d.commands.show import evaluate_videos

    if (originals or like) and csv:
        raise ConfigError("--csv: figures of a run", "those of videos are in their folder's metrics.json")
    if originals or like:
        evaluate_videos(run, originals, like, prompt, caption, masks, storage_path)
    else:
        carry_out(run, each, storage_path, csv)


def report(
    run: Run,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", help="Also write the run's course as TensorBoard files there"),
    ] = None,
    camera: Annotated[
        str, typer.Option("--camera", help="Whose key frame and warps to show; else the middle one")
    ] = "",
    storage_path: StoragePath = "",
    debug: Debug = False,
) -> None:
    """Write a run's report and videos again from what is stored.

    Example:  i4d report runs/demo --camera cam03
    """
    from i4d.commands.show import report as carry_out

    carry_out(run, tensorboard, camera, storage_path)


def view(
    run: Run,
    port: Annotated[int, typer.Option("--port", help="Port of the page")] = 8080,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; other hosts can look if it is not the loopback"),
    ] = "127.0.0.1",
    height: Annotated[
        int, typer.Option("--height", help="Pixels of the picture; 0: the scene's, at most 720")
    ] = 0,
    device: Device = None,
    storage_path: StoragePath = "",
    debug: Debug = False,
) -> None:
    """Look at a run in the browser: free camera, before and after.

    With time and rounds; follows a run that is still going.

    Example:  i4d view runs/demo
    """
    from i4d.commands.view import view as carry_out

    carry_out(run, host, port, height, device or "auto", storage_path)


def locate(
    run: Run,
    camera: Annotated[str, typer.Option("--camera", help="Camera by name")],
    rect: Annotated[
        str, typer.Option("--rect", help="x0,y0,x1,y1 in pixels of the working size, around the thing")
    ],
    frame: Annotated[int, typer.Option("--frame", help="Frame of the video")] = 0,
    device: Device = None,
    storage_path: StoragePath = "",
    debug: Debug = False,
) -> None:
    """Find the 3D box of what a rectangle on a frame shows.

    For `i4d edit --where`; the run must hold a fitted field. Also shows what lies in the box.

    Example:  i4d locate runs/demo --camera cam05 --frame 12 --rect 45,20,80,60
    """
    from i4d.commands.locate import locate as carry_out

    carry_out(run, camera, frame, rect, device or "auto", storage_path)


def doctor(
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    address: Address = None,
    local: Local = False,
    device: Device = None,
    weights: Weights = None,
    out: Annotated[
        Path, typer.Option("--out", help="Where the run will lie, for the room on its disk")
    ] = Path("runs"),
    debug: Debug = False,
) -> None:
    """Check this machine against what a configuration needs.

    Versions, devices, memory, weights, Ray and disk; each line has its fix.

    Example:  i4d doctor --scene coffee_martini --preset 50_2
    """
    from i4d.commands.doctor import doctor as carry_out

    use_data(data)
    options = {**who(address, local, None, device), "editor.weights": weights}
    raise typer.Exit(carry_out(scene, preset, config, options, set_, out))


COMMANDS: dict[str, Callable[..., None]] = {
    "locate": locate,
    "try": try_,
    "render": render,
    "eval": evaluate,
    "report": report,
    "view": view,
    "doctor": doctor,
}
