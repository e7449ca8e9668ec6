"""What a run was asked for, stored beside its configuration so that it can be resumed and reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from i4d.errors import BlockError, ConfigError
from i4d.store.run_folder import RunFolder

FILE = "request.json"


@dataclass(frozen=True)
class Request:
    """`kind` "train" stops after the first fit. `editor` is the folder or hub id of the weights, resolved;
    `known` the repertoire's name of the edit ("" outside it); `notices` what a reader of the result must
    know.
    """

    kind: Literal["edit", "train"]
    prompt: str = ""
    start: dict | None = None  # the checkpoint receipt of --ckpt
    editor: str = ""
    demonstration: bool = False
    known: str = ""
    notices: tuple[str, ...] = field(default=())

    def write(self, folder: RunFolder) -> None:
        """Store the request with a run."""
        folder.write_json(FILE, asdict(self))

    @staticmethod
    def read(folder: RunFolder) -> Request:
        """Return a run's request; ConfigError where the folder holds a run of something else."""
        tree = folder.read_json(FILE)
        if tree is None:
            raise ConfigError(f"{folder.path} holds no run that can be continued", f"it has no {FILE}")
        try:
            return Request(**{**tree, "notices": tuple(tree["notices"])})
        except (TypeError, KeyError) as err:
            raise BlockError(f"{folder.path / FILE}: corrupt", str(err)) from err


def checked_prompt(prompt: str) -> str:
    """Return the instruction without outer spaces; ConfigError if nothing is left."""
    if not prompt.strip():
        raise ConfigError(
            "--prompt is empty", 'say what to change, such as --prompt "make it a pencil sketch"'
        )
    return prompt.strip()
