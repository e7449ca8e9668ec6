"""`--ckpt`: the trained field that an edit starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i4d.config import Config
from i4d.driver.journal import plain
from i4d.errors import ConfigError
from i4d.field.checkpoint import decode
from i4d.field.spaces import space_to_dict
from i4d.store.named import get_checkpoint, put_checkpoint
from i4d.store.run_folder import RunFolder
from i4d.types import BoundsKind, CheckpointReceipt


@dataclass(frozen=True)
class TrainedField:
    """A checkpoint's bytes, the steps it was fitted for, and the kind of space it lives in."""

    data: bytes
    step: int
    space: BoundsKind

    def __call__(self, folder: RunFolder) -> dict:
        """Put the field into a run's store and return its receipt."""
        return plain(CheckpointReceipt(put_checkpoint(folder.store, self.data), self.step, len(self.data)))

    def settle_space(self, config: Config) -> None:
        """Write the field's space into a configuration that leaves it open: it need not be tried anew."""
        if config.scene.bounds == "auto":
            config.scene.bounds = self.space


def checkpoint_from(place: Path) -> TrainedField:
    """Return a trained field: `place` is another run (its first fit) or a checkpoint file.

    ConfigError where there is none.
    """
    if place.is_dir():
        other = RunFolder.open(place)
        manifest = other.manifests().get(0)
        if manifest is None:
            raise ConfigError(f"--ckpt {place}: this run has no trained field yet", f"`i4d resume {place}`")
        receipt = manifest["checkpoint"]
        data = get_checkpoint(other.store, receipt["digest"])
        return TrainedField(data, receipt["step"], other.needed_json("scene.json")["bounds"]["kind"])
    if place.is_file():
        data = place.read_bytes()
        field, progress, _ = decode(data)
        return TrainedField(data, progress.step, space_to_dict(field.space)["kind"])
    raise ConfigError(
        f"--ckpt {place}: no such run or checkpoint file",
        "give a run of `i4d train` or a .safetensors file",
    )
