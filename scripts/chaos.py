"""Play a small run many times over three Ray nodes, kill things at random moments, and write what came of it
as a table.

    python scripts/chaos.py --runs 30 --out docs/reliability_table.md

Each run: 3 views x 3 windows at 48x36, barrier refit, storage on a shared folder; null services with a delay,
or with `--services real` the trainer and the bundled editor, driven by `i4d edit` and `i4d resume`. Each has
1 to 3 kills (SIGKILL) of: an editor's process, the trainer's, the driver's (then a resume), a whole node
(then a new one joins). The run must end with the digests of an undisturbed run on threads, each window stored
exactly once, and no more computed twice than was in flight at a kill. Needs a checkout (it uses tests/) and
about a minute a run on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from ray_nodes import Nodes, ray_nodes  # noqa: E402

KINDS = ("editor", "trainer", "driver", "node")
WINDOWS = 9
EDITORS = 3
REAL = """
scene: {width: 48, height: 36, num_frames: 7, drop: [cam02, cam03, cam06, cam07, cam08]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 60, refit_steps: 40,
         rays: 128, samples: 12, proposals: 24}
schedule: {rounds: 1, key_frame: 0, key_steps: 1, key_views: 2, diffusion_steps: 3, refine_diffusion_steps: 2,
  restview_refine_diffusion_steps: 2, sequence_length: 2, refit: barrier}
cluster: {threads: 1, dashboard: false, device: cpu, timeout_s: 120}
"""
IN_FLIGHT = 2 * EDITORS  # the driver never has more under way


@dataclass
class Played:
    """What came of one run. `recomputed`: pieces of the editors' work begun more than once (real services:
    sent more than once).
    """

    number: int
    kills: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumes: int = 0
    recomputed: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Null:
    """Services that compute nothing but take their time. `moments`: so many pieces of work tell of
    themselves.
    """

    delay_s: float
    moments: int = 22
    limit_s: float = 150.0  # for one run, all its resumes included

    def command(self, path: Path, address: str, resume: bool) -> list[str]:
        """Return what drives a run; without an address on threads, without delay."""
        delay = str(self.delay_s if address else 0)
        command = [sys.executable, str(TESTS / "drive_null.py"), str(path), *([address] if address else [])]
        return command + ["--editors", str(EDITORS), "--delay", delay, *(["--resume"] if resume else [])]


@dataclass(frozen=True)
class Real:
    """The trainer and the bundled editor on a small cut of the demo scene."""

    work: Path
    moments: int = 14
    limit_s: float = 400.0

    def command(self, path: Path, address: str, resume: bool) -> list[str]:
        where = ["--address", address] if address else ["--local"]
        i4d = [sys.executable, "-m", "i4d"]
        if resume:
            sets = ["threads=1", "dashboard=false", "timeout_s=120"]  # as REAL says: a run does not keep them
            how = ["--device", "cpu", *(word for s in sets for word in ("--set", f"cluster.{s}"))]
            return [*i4d, "resume", str(path), *where, *how]
        settings = self.work / "real.yaml"
        settings.write_text(REAL)
        what = [
            "--scene",
            "demo",
            "--data",
            str(self.work / "data"),
            "--config",
            str(settings),
            "--prompt",
            "make it sepia",
        ]
        return [*i4d, "edit", *what, "--out", str(path), "--editors", str(EDITORS), *where]


def digests(path: Path) -> dict[str, tuple[str, str]]:
    """Return what a run came to: frames and field of every round."""
    manifests = {file.stem: json.loads(file.read_text()) for file in path.glob("manifest-*.json")}
    return {name: (tree["table"], tree["checkpoint"]["digest"]) for name, tree in manifests.items()}


class Game:
    """One run: a driver process, its events, and the moments at which something dies."""

    def __init__(
        self, nodes: Nodes, path: Path, rng: random.Random, number: int, services: Null | Real
    ) -> None:
        self.nodes, self.path, self.rng, self.services = nodes, path, rng, services
        self.played = Played(number)
        moments = sorted(rng.sample(range(2, services.moments), rng.choice((1, 1, 2, 2, 3))))
        self.plans = [(moment, rng.choice(KINDS)) for moment in moments]
        self.driver: subprocess.Popen | None = None

    def start_driver(self, resume: bool) -> None:
        command = self.services.command(self.path, self.nodes.address, resume)
        with open(self.path.with_suffix(".out"), "w") as out, open(self.path.with_suffix(".err"), "a") as err:
            self.driver = subprocess.Popen(
                command, env=self.nodes.env, stdout=out, stderr=err, start_new_session=True
            )

    def events(self) -> list[dict]:
        file = self.path / "events.jsonl"
        if not file.exists():
            return []
        lines = file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def computed(self, what: str) -> list[str]:
        file = self.path / "computed.log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.split()[1] for line in lines if line.startswith(what)]

    def play(self) -> Played:
        began = time.monotonic()
        self.start_driver(resume=False)
        while True:
            if self.driver.poll() is not None and not self._gone_on():
                break
            work = [e for e in self.events() if "done" in e or e["event"] == "FitProgress"]
            if self.plans and len(work) >= self.plans[0][0]:
                self._kill(self.plans.pop(0)[1])
            if time.monotonic() - began > self.services.limit_s:
                self.driver.kill()
                self.played.fault = f"not finished after {self.services.limit_s:g} s"
                break
            time.sleep(0.05)  # files and pids of other processes are all there is to look at
        self.played.seconds = time.monotonic() - began
        begun = self.computed("began")
        again = sum(event["event"] == "WindowRetried" for event in self.events())
        self.played.recomputed = len(begun) - len(set(begun)) if begun else again
        return self.played

    def _gone_on(self) -> bool:
        """Start the driver again where it was killed; False when it has ended by itself."""
        if self.driver.returncode == -signal.SIGKILL:
            self.played.resumes += 1
            self.start_driver(resume=(self.path / "config.yaml").exists())
            return True
        return False

    def _kill(self, kind: str) -> None:
        ready = {e["worker"]: e["pid"] for e in self.events() if e["event"] == "WorkerReady"}
        name = kind
        if kind == "driver":
            os.kill(self.driver.pid, signal.SIGKILL)
            self.driver.wait()
        elif kind == "node":
            name = self.rng.choice(sorted(self.nodes.workers))
            self.nodes.kill_worker(name)
            self.nodes.add_worker()
        else:
            name = (
                "trainer"
                if kind == "trainer"
                else self.rng.choice([w for w in sorted(ready) if w != "trainer"])
            )
            try:
                os.kill(ready[name], signal.SIGKILL)
            except ProcessLookupError:
                name += " (gone already)"
        self.played.kills.append(f"{kind} {name}" if kind == "node" else name)


def judged(game: Game, played: Played, expected: dict) -> Played:
    """Put down what is wrong with a run, if anything is."""
    if played.fault:
        return played
    if game.driver.returncode != 0:
        err = game.path.with_suffix(".err").read_text().strip().splitlines()
        played.fault = f"ended with {game.driver.returncode}: {err[-1] if err else 'nothing said'}"
        return played
    if digests(game.path) != expected:
        played.fault = "other digests"
    manifest = json.loads((game.path / "manifest-1.json").read_text())
    windows = [id for id in manifest["receipts"] if "/w" in id]
    journal = [json.loads(line) for line in (game.path / "journal.jsonl").read_text().splitlines()]
    stored = [e["id"] for e in journal if e["kind"] == "edit" and "/w" in e["id"]]
    if len(windows) != WINDOWS:
        played.fault = f"{len(windows)} windows committed"
    elif len(stored) != len(set(stored)) or set(stored) != set(windows):
        played.fault = "a window counted twice"
    elif played.recomputed > IN_FLIGHT * len(played.kills):
        played.fault = f"{played.recomputed} pieces computed again after {len(played.kills)} kills"
    return played


def table(plays: list[Played], took_s: float, seed: int, options: str) -> str:
    """Return the table in Markdown. `options`: of the command, for the record."""
    good = sum(not p.fault for p in plays)
    kills = [k.split(" ")[0].split("-")[0] for p in plays for k in p.kills]
    counts = ", ".join(f"{kills.count(k)} {k}{'s' if kills.count(k) != 1 else ''}" for k in KINDS)
    lines = [
        f"`python scripts/chaos.py --runs {len(plays)} --seed {seed}{options}`, {time.strftime('%Y-%m-%d')}: "
        f"**{good} of {len(plays)} runs ended "
        f"with the digests of the undisturbed run**, in {took_s / 60:.1f} minutes. Killed: {counts}. "
        "Computed again: "
        f"{sum(p.recomputed for p in plays)} pieces of editors' work (at most {IN_FLIGHT} can be in "
        "flight at a kill).",
        "",
        "| run | killed, in order | resumed | seconds | computed again | result |",
        "|---|---|---|---|---|---|",
    ]
    for p in plays:
        result = p.fault or "same digests, 9 of 9 windows once"
        lines.append(
            f"| {p.number} | {', '.join(p.kills) or 'nothing'} | {p.resumes} | {p.seconds:.0f} | "
            f"{p.recomputed} | {result} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.4, help="seconds that every null call takes")
    parser.add_argument("--services", choices=("null", "real"), default="null")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for runs and logs")
    parser.add_argument("--out", type=Path, help="write the table here too")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True)
    rng, began, plays = random.Random(asked.seed), time.monotonic(), []
    work = asked.work.absolute()
    services = Real(work) if asked.services == "real" else Null(asked.delay)
    options = " --services real" if asked.services == "real" else ""
    with ray_nodes(work / "nodes", workers=3) as nodes:
        alone = services.command(work / "undisturbed", "", False)
        subprocess.run(alone, env=nodes.env, stdout=subprocess.DEVNULL, check=True)
        expected = digests(work / "undisturbed")
        assert expected, "the undisturbed run has committed nothing"
        for number in range(1, asked.runs + 1):
            nodes.wait_joined()
            game = Game(nodes, work / f"run-{number:02d}", rng, number, services)
            played = judged(game, game.play(), expected)
            plays.append(played)
            print(
                f"{number}: {', '.join(played.kills)}: {played.fault or 'same digests'}, "
                f"{played.seconds:.0f} s",
                flush=True,
            )
            if asked.out:
                asked.out.write_text(table(plays, time.monotonic() - began, asked.seed, options))
    print(table(plays, time.monotonic() - began, asked.seed, options))
    sys.exit(any(p.fault for p in plays))


if __name__ == "__main__":
    main()
