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
    """A checkpoint's bytes, the steps it was fitted for, the kind of space it lives in, and whether its
    cameras have exposures of their own (`field.exposure`).
    """

    data: bytes
    step: int
    space: BoundsKind
    exposure: str

    def __call__(self, folder: RunFolder) -> dict:
        """Put the field into a run's store and return its receipt."""
        return plain(CheckpointReceipt(put_checkpoint(folder.store, self.data), self.step, len(self.data)))

    def settle(self, config: Config) -> None:
        """Write the field's space and exposure into a configuration that leaves them open: a refit goes on
        with what was fitted.
        """
        if config.field.exposure == "auto":
            config.field.exposure = self.exposure
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
        space = other.needed_json("scene.json")["bounds"]["kind"]
        exposure = "camera" if other.config()["field"]["exposure"] == "camera" else "off"
        return TrainedField(data, receipt["step"], space, exposure)
    if place.is_file():
        data = place.read_bytes()
        field, progress, _ = decode(data)
        exposure = "camera" if field.shape.exposures else "off"
        return TrainedField(data, progress.step, space_to_dict(field.space)["kind"], exposure)
    raise ConfigError(
        f"--ckpt {place}: no such run or checkpoint file",
        "give a run of `i4d train` or a .safetensors file",
    )
