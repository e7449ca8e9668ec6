"""The options and arguments that several commands share, with the words of their help."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Scene = Annotated[
    str,
    typer.Option(
        "--scene", help="A shipped scene (see `i4d scenes`) or your own YAML file.  Example: --scene demo"
    ),
]
Prompt = Annotated[
    str,
    typer.Option("--prompt", help='What to change, in a sentence.  Example: --prompt "turn the ball gold"'),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option("--prompts-file", help="Several edits that share field and editors, one sentence a line"),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="The run folder to make, or one that `i4d prepare` began; it must not hold a run yet.  "
        "Example: --out runs/demo",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data", help="Folder that holds the scenes, each under its name (else I4D_DATA, else ./data)"
    ),
]
Configs = Annotated[
    list[Path], typer.Option("--config", help="YAML over the scene's settings; may be given several times")
]
Presets = Annotated[
    list[str],
    typer.Option(
        "--preset",
        help="Shipped settings over the scene's: 50_2, 50_4, 300_4, authors, demo (small: for CPUs)",
    ),
]
Sets = Annotated[
    list[str],
    typer.Option("--set", help="One setting over everything else.  Example: --set field.fit_steps=20000"),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray to join, host:port or auto; without it a Ray is started here"),
]
Local = Annotated[bool, typer.Option("--local", help="Threads of this process, no Ray")]
Editors = Annotated[
    int | None, typer.Option("--editors", help="Editor workers; 0: from the devices there are")
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda")]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="Editor: folder or hub id of an InstructPix2Pix, tiny-ip2p, or auto"),
]
Field = Annotated[
    str | None,
    typer.Option("--field", help="Kind of field: vector_matrix, or one that an installed package brings"),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")]
Ckpt = Annotated[
    Path | None,
    typer.Option("--ckpt", help="Start from a trained field: a run of `i4d train` or a .safetensors file"),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance-scale",
        help="How strongly to follow the sentence, s_T; else what suits the editor (9.5, of tiny-ip2p 1)",
    ),
]
ImageGuidance = Annotated[
    float | None,
    typer.Option(
        "--image-guidance-scale",
        help="How strongly to keep the picture, s_I; else what suits the editor (1.5, of tiny-ip2p 1)",
    ),
]
Steps = Annotated[
    int | None, typer.Option("--diffusion-steps", help="Steps of a full edit of the key frame (usually 20)")
]
RefineT = Annotated[
    int | None,
    typer.Option("--refine-num-steps", help="Timesteps that a window's repaint is spread over (usually 600)"),
]
RefineN = Annotated[
    int | None, typer.Option("--refine-diffusion-steps", help="Steps of a window's repaint (usually 4)")
]
RestT = Annotated[
    int | None,
    typer.Option(
        "--restview-refine-num-steps", help="Likewise for the other cameras' key frame (usually 700)"
    ),
]
RestN = Annotated[
    int | None, typer.Option("--restview-refine-diffusion-steps", help="Steps of that repaint (usually 6)")
]
Length = Annotated[int | None, typer.Option("--sequence-length", help="New frames per window (usually 5)")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Edit only there: a mask video, a folder of masks named like the cameras, a box "
        "x0,y0,z0,x1,y1,z1 in world units, or an "
        "object's name (needs --set local.segmenter=...).  Example: --where masks/",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="A picture: one camera's key frame as you edited it; everything else follows it.  Example: "
        "--reference gold.png",
    ),
]
ReferenceCamera = Annotated[
    str | None,
    typer.Option(
        "--reference-camera", help="Whose key frame that is; else the middle one of the edited cameras"
    ),
]
Rounds = Annotated[int | None, typer.Option("--rounds", help="Edit-and-refit rounds")]
StoragePath = Annotated[
    str,
    typer.Option(
        "--storage-path",
        help="Where the run keeps its blocks, if not in its folder and you have not named that place before",
    ),
]
Check = Annotated[
    bool | None,
    typer.Option("--check/--no-check", help="Stop where poses or synchronisation are certainly wrong"),
]
Run = Annotated[Path, typer.Argument(help="A run folder.  Example: runs/demo")]
RunOrJob = Annotated[str, typer.Argument(help="A run folder, or the id of a submitted job")]
Dashboard = Annotated[
    str, typer.Option("--address", help="The cluster's dashboard (http://host:8265) or host:port of its head")
]

EDITING = {  # what `edit` and `submit` take alike: the parameter, its option, the setting behind it
    "guidance_scale": (Guidance, "editor.text_guidance"),
    "image_guidance_scale": (ImageGuidance, "editor.image_guidance"),
    "diffusion_steps": (Steps, "schedule.diffusion_steps"),
    "refine_num_steps": (RefineT, "schedule.refine_num_steps"),
    "refine_diffusion_steps": (RefineN, "schedule.refine_diffusion_steps"),
    "restview_refine_num_steps": (RestT, "schedule.restview_refine_num_steps"),
    "restview_refine_diffusion_steps": (RestN, "schedule.restview_refine_diffusion_steps"),
    "sequence_length": (Length, "schedule.sequence_length"),
    "rounds": (Rounds, "schedule.rounds"),
    "weights": (Weights, "editor.weights"),
    "field": (Field, "field.kind"),
    "where": (Where, "local.where"),
    "reference": (Reference, "local.reference"),
    "reference_camera": (ReferenceCamera, "local.reference_camera"),
    "check": (Check, "scene.check"),
}


def takes_editing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose last parameter is `**editing` the options of EDITING, after its --ckpt; they
    arrive in that dictionary.
    """
    own = inspect.signature(command, eval_str=True)
    rest = inspect.Parameter.KEYWORD_ONLY
    parameters = []
    for parameter in list(own.parameters.values())[:-1]:
        parameters.append(parameter.replace(kind=rest))
        if parameter.name == "ckpt":
            parameters += [
                inspect.Parameter(name, rest, default=None, annotation=kind)
                for name, (kind, _) in EDITING.items()
            ]
    told: Any = command
    told.__signature__ = own.replace(parameters=parameters)
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {
        "return": None
    }
    return command


def settings_of(editing: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings behind the options of EDITING, None where one was not given."""
    return {key: editing[name] for name, (_, key) in EDITING.items()}


def who(address: str | None, local: bool, editors: int | None, device: str | None) -> dict[str, Any]:
    """Return the settings behind the options about who computes."""
    return {
        "cluster.address": address,
        "cluster.executor": "local" if local else None,
        "cluster.editors": editors,
        "cluster.device": device,
    }


def use_data(data: str) -> None:
    """Make --data the data root of this process and of the workers that it starts."""
    if data:
        os.environ["I4D_DATA"] = os.path.abspath(data)
