"""`--ckpt`: the trained field that an edit starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i4d.config import Config
from i4d.errors import ConfigError
from i4d.fields.registry import peek
from i4d.plain import plain
from i4d.store.named import get_checkpoint, put_checkpoint
from i4d.store.run_folder import RunFolder
from i4d.types import BoundsKind, CheckpointReceipt


@dataclass(frozen=True)
class TrainedField:
    """A checkpoint's bytes, its kind (`field.kind`), the steps it was fitted for, the kind of space it lives
    in, whether its cameras have exposures of their own (`field.exposure`), and nearest and farthest depth
    where they are not what the cameras' file says (`scene.near`, `scene.far`; else 0).
    """

    data: bytes
    kind: str
    step: int
    space: BoundsKind
    exposure: str
    near: float = 0.0
    far: float = 0.0

    def __call__(self, folder: RunFolder) -> dict:
        """Put the field into a run's store and return its receipt."""
        return plain(CheckpointReceipt(put_checkpoint(folder.store, self.data), self.step, len(self.data)))

    def settle(self, config: Config) -> None:
        """Write the field's kind, and its space, depths and exposure into a configuration that leaves them
        open: a refit goes on with what was fitted.
        """
        config.field.kind = self.kind
        if config.field.exposure == "auto":
            config.field.exposure = self.exposure
        if config.scene.bounds == "auto":
            config.scene.bounds = self.space
        if config.scene.bounds == self.space:
            config.scene.near = config.scene.near or self.near
            config.scene.far = config.scene.far or self.far


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
        settled = other.config()
        exposure = "camera" if settled["field"]["exposure"] == "camera" else "off"
        near, far = (float(settled["scene"].get(key, 0.0)) for key in ("near", "far"))
        return TrainedField(data, peek(data).kind, receipt["step"], space, exposure, near, far)
    if place.is_file():
        data = place.read_bytes()
        said = peek(data)
        return TrainedField(data, said.kind, said.step, said.space, said.exposure, said.near, said.far)
    raise ConfigError(
        f"--ckpt {place}: no such run or checkpoint file",
        "give a run of `i4d train` or a .safetensors file",
    )
