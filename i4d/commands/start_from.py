"""`--ckpt`: the trained field that an edit starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i4d.driver.journal import plain
from i4d.errors import ConfigError
from i4d.field.checkpoint import decode
from i4d.store.named import get_checkpoint, put_checkpoint
from i4d.store.run_folder import RunFolder
from i4d.types import CheckpointReceipt


def checkpoint_from(place: Path) -> Callable[[RunFolder], dict]:
    """Return a function that puts a trained field into a run: `place` is another run (its first fit) or a
    checkpoint file.

    ConfigError where there is none.
    """
    if place.is_dir():
        other = RunFolder.open(place)
        manifest = other.manifests().get(0)
        if manifest is None:
            raise ConfigError(f"--ckpt {place}: this run has no trained field yet", f"`i4d resume {place}`")
        data, step = (
            get_checkpoint(other.store, manifest["checkpoint"]["digest"]),
            manifest["checkpoint"]["step"],
        )
    elif place.is_file():
        data = place.read_bytes()
        step = decode(data)[1].step
    else:
        raise ConfigError(
            f"--ckpt {place}: no such run or checkpoint file",
            "give a run of `i4d train` or a .safetensors file",
        )

    def put(folder: RunFolder) -> dict:
        return plain(CheckpointReceipt(put_checkpoint(folder.store, data), step, len(data)))

    return put
