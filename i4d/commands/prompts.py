"""Several edits of one scene in one go: the scene is decoded and fitted once, flow and editors are shared.

runs/many/prompts.json  the runs that there will be, in order; `lock` beside it says whether somebody is at it
runs/many/store/        blocks, flow and checkpoints of all of them
runs/many/01-make-it-night/   a run like any other: status, resume, report
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from i4d import compose, identity
from i4d import config as cfg
from i4d.commands.checking import NOT_CHECKED, check_first
from i4d.commands.layers import fitted_to
from i4d.commands.run_request import Request, checked_prompt
from i4d.commands.workplace import Workplace, workplace
from i4d.config import Config
from i4d.driver.events import Emitter
from i4d.driver.rounds import RunResult
from i4d.errors import ConfigError
from i4d.identity import choose_editor, notices_of
from i4d.launch import check_out, require_shared, start_services
from i4d.scenes.load import load_scene
from i4d.scenes.space_trial import settle_space
from i4d.schedules.cost import predicted_forwards
from i4d.store.objects import write_atomically
from i4d.store.run_folder import RunFolder, locked

FILE = "prompts.json"
_WORDS = 40  # characters of a prompt in the name of its run


def read_prompts(path: Path, prompt: str = "", ckpt: Path | None = None) -> list[str]:
    """Return the prompts of a file, one a line; empty lines and lines that begin with # do not count.

    ConfigError where there is none, or one twice, or where what excludes the file (`--prompt`, `--ckpt`) was
    given too.
    """
    if prompt or ckpt:
        raise ConfigError(f"--prompts-file and {'--prompt' if prompt else '--ckpt'} exclude each other")
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"--prompts-file {path} cannot be read", str(err)) from None
    prompts = [checked_prompt(line) for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ConfigError(f"--prompts-file {path} holds no prompt", "one a line")
    for prompt in prompts:
        if prompts.count(prompt) > 1:
            raise ConfigError(f"--prompts-file {path} says twice: {prompt!r}")
    return prompts


def run_name(number: int, prompt: str) -> str:
    """Return what the run of a prompt is called: "02-turn-the-ball-gold"."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:_WORDS].strip("-")
    return f"{number:02d}-{words}" if words else f"{number:02d}"


def not_begun(folder: Path) -> list[tuple[str, str]]:
    """Return name and prompt of the runs that a file of prompts will make in a folder and has not begun; none
    elsewhere.
    """
    if not (folder / FILE).is_file():
        return []
    told = json.loads((folder / FILE).read_text())["runs"]
    return [
        (run["name"], run["prompt"]) for run in told if not (folder / run["name"] / "config.yaml").is_file()
    ]


class SharedEdits:
    """The runs of one prompts file on one workplace; `carry_out` yields to `finished` after each."""

    def __init__(self, prompts: Sequence[str], config: Config, out: Path, console: Any) -> None:
        self._prompts, self._config, self._console = prompts, config, console
        self._out = out.absolute()
        if not config.storage_path:
            config.storage_path = str(self._out / "store")
        self.places = [self._out / run_name(i, prompt) for i, prompt in enumerate(prompts, 1)]
        for place in self.places:
            check_out(place)
        self._services: list[Any] = []
        self._checked = NOT_CHECKED
        self._first: RunFolder | None = None

    def carry_out(self, finished: Any) -> RunResult:
        """Edit by every prompt in turn; `finished(place)` hears of each. Returns the last result, stopped or
        not.
        """
        runs = [
            {"name": place.name, "prompt": prompt}
            for place, prompt in zip(self.places, self._prompts, strict=True)
        ]
        write_atomically(self._out / FILE, json.dumps({"runs": runs}, indent=1).encode())
        with locked(self._out):
            return self._one_by_one(finished)

    def _one_by_one(self, finished: Any) -> RunResult:
        scene = load_scene(self._config.scene, None, self._console.making)
        scene = settle_space(scene, self._config, self._console.trying)
        fitted_to(self._config, scene)
        self._checked = check_first(scene, self._config, self._console)
        result: RunResult | None = None
        with workplace(self._config.cluster, self._out.name) as work:
            self._console.line(f"computing on {work.sentence}")
            for place, prompt in zip(self.places, self._prompts, strict=True):
                self._console.line(f"{place.name}: {prompt}")
                result = self._edit(work, scene, place, prompt)
                if result.stopped:
                    return result
                finished(place)
        assert result is not None, "a file of prompts has at least one"
        return result

    def _edit(self, work: Workplace, scene: Any, place: Path, prompt: str) -> RunResult:
        config, console = self._config, self._console
        chosen = choose_editor(config, prompt, work.device(config.cluster))
        card = chosen.card
        request = Request(
            "edit",
            prompt,
            None,
            chosen.place,
            card.demonstration,
            card.knows(prompt),
            notices_of(chosen),
        )
        plan = compose.plan_for(scene, config, request, chosen.settings)
        placement = compose.placement_for(work, config, scene, chosen, plan)
        folder = RunFolder.create(place, cfg.to_dict(config), config.storage_path)
        with folder.lock():
            emit = Emitter([console, lambda event: folder.append_event(event.to_json())])
            if work.shared:
                require_shared(work, folder)
            console.describe(request, config, scene, plan, predicted_forwards(plan))
            if self._first is None:
                self._checked.write(folder)
                prepared = compose.prepare_scene(scene, config, folder, emit, console.progress, self._checked)
                self._first = folder
            else:
                for name in ("originals.json", "scene.json", "region.json", "reference.json", "capture.json"):
                    folder.write_json(name, self._first.read_json(name))
                prepared = compose.prepared_scene(folder) or compose.prepare_scene(
                    scene, config, folder, emit, console.progress, self._checked
                )
                request = replace(request, start=self._first.manifests()[0]["checkpoint"])
            identity.write(folder, identity.followed_from(config, chosen, placement.trainers))
            request.write(folder)
            if not self._services:
                self._services = start_services(config, folder, scene, plan, placement, chosen, work, emit)
            return compose.drive(
                request,
                config,
                folder,
                prepared,
                plan,
                placement,
                chosen,
                work,
                emit,
                console,
                self._services,
            )
