"""Several methods on one scene, one reconstruction and one number of network passes: `i4d compare`, and cells
for `i4d ablate`.

OUT/field/                       the reconstruction, unless --ckpt gives one
OUT/01-make-it-snow/i4d/         a run like any other: resume, report, view
OUT/comparison.{md,tex,csv,json} the table;  OUT/grid.mp4 the pictures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i4d import compose
from i4d import config as cfg
from i4d.commands.layers import layered, settled
from i4d.commands.prompts import read_prompts, run_name
from i4d.commands.run_request import Request, checked_prompt
from i4d.commands.start_from import checkpoint_from
from i4d.config import Config
from i4d.driver.rounds import RunResult
from i4d.errors import ConfigError
from i4d.report.comparison import Cell, write_comparison
from i4d.report.console import Console
from i4d.report.make import measure
from i4d.store.run_folder import RunFolder
from i4d.store.trust import remember_storage

STOPPED = 130


@dataclass(frozen=True)
class Method:
    """A row of the table: shipped presets and settings over those of the scene."""

    name: str
    presets: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


METHODS = {
    method.name: method
    for method in (
        Method("i4d"),
        Method("per-frame", settings={"schedule.method": "each_frame"}),
        Method("in2n", settings={"schedule.method": "in2n"}),
        Method("authors", ("authors",)),
    )
}


@dataclass(frozen=True)
class Layers:
    """What the configuration of every cell is made of, before its method."""

    scene: str
    presets: Sequence[str]
    files: Sequence[Path]
    options: Mapping[str, Any]
    sets: Sequence[str]

    def of(self, method: Method) -> Config:
        """Return the configuration of a method."""
        presets = [*self.presets, *method.presets]
        return settled(
            layered(self.scene, presets, self.files, {**self.options, **method.settings}, self.sets)
        )


def chosen(text: str, known: Mapping[str, Method], option: str) -> list[Method]:
    """Return the methods of a list with commas, each once; ConfigError names one that is not known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigError(f"{option}: '{name}' is not known", f"choose from {', '.join(known)}")
    if not names:
        raise ConfigError(f"{option} is empty", f"choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]


def compare(
    prompts: Sequence[str],
    prompts_file: Path | None,
    methods: str,
    out: Path,
    scene: str,
    presets: Sequence[str],
    files: Sequence[Path],
    options: Mapping[str, Any],
    sets: Sequence[str],
    ckpt: Path | None,
    seeds: int = 1,
) -> int:
    """Carry out every prompt by every method with each of `seeds` seeds and write the tables; returns the
    exit code. What is finished is not done again.
    """
    study = Study(out, Layers(scene, presets, files, options, sets), ckpt, seeds)
    study.add_all(sentences(prompts, prompts_file), chosen(methods, METHODS, "--methods"))
    return study.carry_out("comparison", "What each method makes of the same scene and sentence")


def sentences(prompts: Sequence[str], prompts_file: Path | None) -> list[str]:
    """Return the prompts of the options or of the file; ConfigError unless exactly one of the two was
    given.
    """
    if bool(prompts) == (prompts_file is not None):
        raise ConfigError("--prompt or --prompts-file: one of them", 'such as --prompt "make it snow"')
    return read_prompts(prompts_file) if prompts_file else list(dict.fromkeys(map(checked_prompt, prompts)))


def _computed_as(stored: Config, config: Config) -> None:
    """Let a run that goes on be computed as this command says: its folder does not."""
    stored.cluster = config.cluster


class Study:
    """Cells (prompt, method) under one folder that share a reconstruction and a store."""

    def __init__(self, out: Path, layers: Layers, ckpt: Path | None, seeds: int = 1) -> None:
        self._out, self._layers, self._ckpt, self._seeds = out.absolute(), layers, ckpt, seeds
        self._cells: list[tuple[str, Method, Path, int]] = []
        self._prompts: list[str] = []
        self._console = Console()

    def add_all(self, prompts: Sequence[str], methods: Sequence[Method]) -> None:
        """Plan every prompt by every method, prompt after prompt."""
        for prompt in prompts:
            for method in methods:
                for seed in range(self._seeds):
                    self.add(prompt, method, seed)

    def add(self, prompt: str, method: Method, seed: int = 0) -> None:
        """Plan one cell, whose seed is that of the configuration plus `seed`; ConfigError where its settings
        are wrong or its folder holds a cell of something else.
        """
        if prompt not in self._prompts:
            self._prompts.append(prompt)
        name = method.name + (f"-seed-{seed}" if seed else "")
        place = self._out / run_name(self._prompts.index(prompt) + 1, prompt) / name
        config = self._layers.of(method)
        config.seed += seed
        asked = {"prompt": prompt, "ckpt": str(self._ckpt or ""), "config": cfg.to_dict(config)}
        if (place / "request.json").exists() and RunFolder.open(place).read_json("asked.json") != asked:
            raise ConfigError(
                f"{place} holds a run of another prompt, field or settings", "choose another --out"
            )
        self._cells.append((prompt, method, place, seed))

    def carry_out(self, name: str, title: str) -> int:
        """Run what is not finished, cell after cell, and write the tables after each; returns the exit
        code.
        """
        try:
            remember_storage(self._storage(self._layers.of(METHODS["i4d"])))
            field_run = self._ckpt or self._reconstruct()
            if field_run is None:
                return STOPPED
            for number, (prompt, method, place, seed) in enumerate(self._cells, 1):
                self._console.line(f"cell {number} of {len(self._cells)}: {place.name}, {prompt}")
                if not self._finish(prompt, method, place, field_run, seed):
                    return STOPPED
                done = [Cell(p, m.name, RunFolder.open(at), s) for p, m, at, s in self._cells[:number]]
                places = write_comparison(self._out, name, title, done, pictures=number == len(self._cells))
        except KeyboardInterrupt:
            return STOPPED
        finally:
            self._console.close()
        for what, at in places.items():
            print(f"{what}: {at}")
        return 0

    def _reconstruct(self) -> Path | None:
        """Return the run that holds the shared reconstruction, made where it is not there; None when it was
        stopped.
        """
        place = self._out / "field"
        if (place / "config.yaml").exists() and 0 in RunFolder.open(place).manifests():
            return place
        result = self._run(place, Request("train"), self._layers.of(METHODS["i4d"]), None)
        return None if result.stopped else place

    def _finish(self, prompt: str, method: Method, place: Path, field_run: Path, seed: int) -> bool:
        """Bring one cell to its figures; False when it was stopped."""
        if (place / "metrics.json").exists():
            self._console.line("  finished before")
            return True
        config = self._layers.of(method)
        config.seed += seed
        asked = {"prompt": prompt, "ckpt": str(self._ckpt or ""), "config": cfg.to_dict(config)}
        if self._run(place, Request("edit", prompt), config, field_run, asked).stopped:
            self._console.line("stopped; the same command goes on")
            return False
        measure(RunFolder.open(place), self._console)
        return True

    def _storage(self, config: Config) -> str:
        """Return where all cells keep their blocks."""
        return config.storage_path or str(self._out / "store")

    def _run(
        self, place: Path, request: Request, config: Config, start: Path | None, asked: dict | None = None
    ) -> RunResult:
        if (place / "request.json").exists():
            how = lambda stored: _computed_as(stored, config)
            return compose.resume_run(place, self._console, how, storage_path=self._storage(config))
        (place / "config.yaml").unlink(
            missing_ok=True
        )  # of an attempt that ended before its scene was prepared
        config.storage_path = self._storage(config)
        field_of = checkpoint_from(start) if start else None
        if field_of:
            field_of.settle(config)

        def begin(folder: RunFolder) -> dict | None:
            if asked is not None:
                folder.write_json("asked.json", asked)
            return field_of(folder) if field_of else None

        return compose.start_run(request, config, place, self._console, start_from=begin)
