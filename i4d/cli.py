"""The command line: parse, call, print. Everything heavy is imported inside the commands, so `--help` answers
at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from i4d.commands import looking, studying
from i4d.commands.options import (
    Address,
    Check,
    Ckpt,
    Configs,
    Dashboard,
    Data,
    Debug,
    Device,
    Editors,
    Local,
    Out,
    Presets,
    Prompt,
    PromptsFile,
    Run,
    RunOrJob,
    Scene,
    Sets,
    StoragePath,
    settings_of,
    takes_editing,
    use_data,
    who,
)

app = typer.Typer(
    name="i4d",
    help='Edit moving 3D scenes (4D) by a sentence.  Example:  i4d edit --scene demo --prompt "make it a '
    'pencil sketch" --out runs/demo',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
scenes_app = typer.Typer(
    help="List the scenes that can be named, or fetch one.  Example:  i4d scenes", rich_markup_mode=None
)
app.add_typer(scenes_app, name="scenes", invoke_without_command=True)


def _version(wanted: bool) -> None:
    if wanted:
        from i4d import __version__

        print(f"i4d {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Edit moving 3D scenes (4D) by a sentence.

    Example:  i4d edit --scene demo --prompt "make it a pencil sketch" --out runs/demo
    """


# ------------------------------------------------------------------------------------------------ the main
# job
@app.command()
@takes_editing
def edit(
    out: Out,
    prompt: Prompt = "",
    prompts_file: PromptsFile = None,
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    ckpt: Ckpt = None,
    address: Address = None,
    local: Local = False,
    editors: Editors = None,
    device: Device = None,
    debug: Debug = False,
    **editing: Any,
) -> None:
    """Edit a scene by a sentence, from its videos to the report.

    The stages: prepare, fit, edit and refit, render, evaluate, report.

    Example:  i4d edit --scene demo --prompt "What if it was painted by Van Gogh?" --out runs/demo
    """
    from i4d.commands.runs import edit as carry_out
    from i4d.commands.runs import edit_all as all_of_them

    use_data(data)
    options = {**settings_of(editing), **who(address, local, editors, device)}
    if prompts_file is not None:
        raise typer.Exit(all_of_them(prompts_file, prompt, ckpt, out, scene, preset, config, options, set_))
    raise typer.Exit(carry_out(prompt, out, scene, preset, config, options, set_, ckpt))


@app.command()
def train(
    out: Out,
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    address: Address = None,
    local: Local = False,
    device: Device = None,
    check: Check = None,
    debug: Debug = False,
) -> None:
    """Fit a field to a scene and measure it on held-out cameras.

    `edit --ckpt` starts from it.

    Example:  i4d train --scene demo --out runs/demo-field
    """
    from i4d.commands.runs import train as carry_out

    use_data(data)
    options = {**who(address, local, None, device), "scene.check": check}
    raise typer.Exit(carry_out(out, scene, preset, config, options, set_))


@app.command()
def prepare(
    out: Out,
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    check: Check = None,
    debug: Debug = False,
) -> None:
    """Decode a scene's videos into blocks, once.

    `train` and `edit` with the same --out find them there. Can be interrupted.

    Example:  i4d prepare --scene coffee_martini --preset 50_2 --out runs/coffee
    """
    from i4d.commands.runs import prepare as carry_out

    use_data(data)
    carry_out(out, scene, preset, config, {"scene.check": check}, set_)


@app.command()
def resume(
    run: Run,
    address: Address = None,
    local: Local = False,
    editors: Editors = None,
    device: Device = None,
    set_: Annotated[
        list[str], typer.Option("--set", help="How it is computed.  Example: --set cluster.max_retries=10")
    ] = [],
    storage_path: StoragePath = "",
    allow_change: Annotated[
        bool,
        typer.Option("--allow-change", help="Begin anew from the stage that follows from what has changed"),
    ] = False,
    debug: Debug = False,
    job: Annotated[
        str, typer.Option("--job", help="Go on as a job of this cluster: its dashboard, http://host:8265")
    ] = "",
    python: Annotated[
        str, typer.Option("--python", help="With --job: the interpreter on the cluster")
    ] = sys.executable,
    probe: Annotated[
        bool, typer.Option(help="With --job: first find out whether the run can be read there")
    ] = True,
) -> None:
    """Go on with a run that was stopped or killed.

    Nothing that is stored is done again.

    Example:  i4d resume runs/demo
    """
    from i4d.commands.runs import resume as carry_out

    if job:
        from i4d.commands.jobs import resubmit

        options = who(address, local, editors, device)
        raise typer.Exit(resubmit(job, run, options, python, probe, set_, storage_path, allow_change))
    raise typer.Exit(carry_out(run, who(address, local, editors, device), set_, storage_path, allow_change))


for _name, _command in {**looking.COMMANDS, **studying.COMMANDS}.items():
    app.command(_name)(_command)


@app.command()
@takes_editing
def submit(
    out: Out,
    prompt: Prompt = "",
    prompts_file: PromptsFile = None,
    address: Dashboard = "auto",
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    ckpt: Ckpt = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show the job's output until it ends")] = False,
    python: Annotated[str, typer.Option("--python", help="The interpreter on the cluster")] = sys.executable,
    probe: Annotated[
        bool, typer.Option(help="First find out whether scene and storage can be read there")
    ] = True,
    editors: Editors = None,
    device: Device = None,
    debug: Debug = False,
    **editing: Any,
) -> None:
    """Send an edit to a Ray cluster as a job.

    Code and configuration travel; scene and storage must be reachable there.

    Example:  i4d submit --address http://head:8265 --scene demo --prompt "make it night" --out
    /shared/runs/night --follow
    """
    from i4d.commands.jobs import submit as carry_out

    use_data(data)
    options = {**settings_of(editing), **who(None, False, editors, device)}
    raise typer.Exit(
        carry_out(
            address,
            prompt,
            out,
            scene,
            preset,
            config,
            options,
            set_,
            follow,
            python,
            probe,
            prompts_file,
            ckpt,
        )
    )


@app.command()
def jobs(address: Dashboard = "auto", debug: Debug = False) -> None:
    """List the jobs of a cluster, newest first.

    Example:  i4d jobs --address http://head:8265
    """
    from i4d.commands.jobs import table

    table(address)


@app.command()
def status(
    run: RunOrJob,
    address: Dashboard = "auto",
    debug: Debug = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on telling until it ends: rounds, windows, it/s, time left, PSNR"),
    ] = False,
) -> None:
    """Say where a run or a job stands.

    Example:  i4d status runs/demo
    """
    from i4d.commands.jobs import status as carry_out

    carry_out(run, address, watch)


@app.command()
def logs(run: RunOrJob, address: Dashboard = "auto", debug: Debug = False) -> None:
    """Print what a run or a job has told so far.

    Example:  i4d logs runs/demo
    """
    from i4d.commands.jobs import logs as carry_out

    carry_out(run, address)


@app.command()
def stop(run: RunOrJob, address: Dashboard = "auto", debug: Debug = False) -> None:
    """Ask a run or a job to finish what it has in hand and end.

    `i4d resume` goes on with it.

    Example:  i4d stop runs/demo
    """
    from i4d.commands.jobs import stop as carry_out

    carry_out(run, address)


@app.command(hidden=True)
def readable(paths: list[str], debug: Debug = False) -> None:
    """Find out whether every node of this job's cluster can read some paths (the probe of `submit`)."""
    from i4d.commands.jobs import readable as carry_out

    carry_out(paths)


# ------------------------------------------------------------------------------------------------ scenes
@scenes_app.callback()
def scenes(context: typer.Context) -> None:
    """List the scenes that can be named, or fetch one.

    Example:  i4d scenes
    """
    if context.invoked_subcommand is None:
        from i4d.commands.show import scenes as carry_out

        carry_out()


@scenes_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A public scene.  Example: coffee_martini")],
    data: Data = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    debug: Debug = False,
) -> None:
    """Get a public scene from its authors' release.

    Shows address, size and licence first; an interrupted fetch goes on.

    Example:  i4d scenes fetch coffee_martini --data data
    """
    from i4d.commands.show import fetch as carry_out

    carry_out(name, data, yes)


@app.command("check")
def check_(
    scene: Scene = "",
    data: Data = "",
    config: Configs = [],
    preset: Presets = [],
    set_: Sets = [],
    json_: Annotated[bool, typer.Option("--json", help="For programs")] = False,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw the worst pair: matches, lines.  Example: pair.png"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Check that poses fit the pictures and cameras are in step.

    Epipolar distances, lags, exposures, coverage. Exit code 3 where a run would stop.

    Example:  i4d check --scene kitchen.yaml --picture pair.png
    """
    from i4d.commands.check import check as carry_out

    use_data(data)
    raise typer.Exit(carry_out(scene, preset, config, {}, set_, json_, picture))


# ------------------------------------------------------------------------------------------------ errors
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an I4DError becomes one line on stderr and its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    from i4d.errors import I4DError
    from i4d.exec.ending import leave

    try:
        code = app(arguments, prog_name="i4d", standalone_mode=False)
    except I4DError as err:
        if debug:
            raise
        leave(_failed(f"error: {' '.join(str(err).split())}", err.exit_code))
    except KeyboardInterrupt:
        leave(_failed("stopped; what was stored is kept, `i4d resume RUN` goes on with a run", 130))
    except Exception as err:
        if type(err).__module__.split(".")[0] in ("typer", "click"):
            leave(_usage(err))
        if debug:
            raise
        text = " ".join(str(err).split())
        leave(_failed(f"error: {type(err).__name__}: {text} (this is a bug; --debug shows where)", 1))
    leave(code or 0)


def _failed(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _usage(err: Any) -> int:
    """Print what is wrong with the command line; exit code 2, or 130 when a question was broken off."""
    if type(err).__name__ == "Abort":
        return _failed("stopped", 130)
    context = getattr(err, "ctx", None)
    where = f" (see `{context.command_path} --help`)" if context is not None else ""
    return _failed(f"error: {err.format_message()}{where}", getattr(err, "exit_code", 2))


if __name__ == "__main__":
    main()
