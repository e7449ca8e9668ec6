"""Choosing a flow estimator and finding RAFT's weights. `auto` says in a sentence what it took and why."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import torch

from i4d.errors import ConfigError, WeightsError
from i4d.flow.classical import DisFlow, HornSchunck, LucasKanade
from i4d.flow.raft import Raft, RaftFlow

HOW = (
    "set flow.checkpoint or I4D_RAFT to a RAFT checkpoint (raft-things.pth, raft-small.pth), or "
    "flow.method to dis"
)


class FlowEstimator(Protocol):
    """Optical flow between two batches of images."""

    name: str
    identity: str  # names method, weights and settings: equal identities give equal flow
    on_host: bool  # computes on the CPU, wherever the images are

    def to(self, device: torch.device | str) -> None:
        """Move weights, if there are any."""
        ...

    def estimate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return pull flow (batch, 2, h, w) in pixels: b[y + dy, x + dx] shows what a[y, x] shows.

        `a`, `b` are float [0, 1] images (batch, 3, h, w) of any size; the answer lies on a's device, float32.
        """
        ...


def load_raft(path: str | Path) -> Raft:
    """Return the RAFT network of a public checkpoint (small or large, told apart by its keys).

    Raises WeightsError when the file is missing, unreadable, or holds other keys or shapes.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no RAFT checkpoint there", HOW)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, BadZipFile, EOFError, ValueError) as err:
        raise WeightsError(
            f"{path}: not a checkpoint that torch can read ({type(err).__name__})", HOW
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path}: holds no plain dictionary of tensors", HOW)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    network = Raft(large="update_block.mask.0.weight" in state)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError:
        expected = network.state_dict()
        wrong = sorted(set(expected) ^ set(state))
        wrong += [k for k in expected if k in state and expected[k].shape != state[k].shape]
        raise WeightsError(
            f"{path}: not RAFT's weights; keys that differ: {', '.join(wrong[:4])} ...", HOW
        ) from None
    return network


def raft_places(checkpoint: str = "") -> list[Path]:
    """Return the checkpoints that exist, in order: configured, I4D_RAFT, the data root's weights/, torch's
    cache.
    """
    named = [Path(p) for p in (checkpoint, os.environ.get("I4D_RAFT", "")) if p]
    folders = [
        Path(os.environ.get("I4D_DATA", "data")) / "weights",
        Path(torch.hub.get_dir()) / "checkpoints",
    ]
    for folder in folders:
        found = sorted(folder.glob("raft-*.pth"))
        named += sorted(found, key=lambda p: p.name != "raft-things.pth")  # the general one first
    return [p for p in named if p.is_file()]


def find_estimator(
    method: str = "auto", checkpoint: str = "", *, device: torch.device | str = "cpu", iterations: int = 20
) -> tuple[FlowEstimator, str]:
    """Return a flow estimator and a sentence that says which one and why.

    `method` auto, raft, dis, lucas_kanade or horn_schunck. A checkpoint that is named but missing is a
    WeightsError, also under auto; `raft` without one likewise. An unknown method is a ConfigError.
    """
    if method == "dis":
        return DisFlow(), "flow: DIS"
    if method == "lucas_kanade":
        return LucasKanade(), "flow: pyramidal Lucas-Kanade"
    if method == "horn_schunck":
        return HornSchunck(), "flow: pyramidal Horn-Schunck"
    if method not in ("auto", "raft"):
        raise ConfigError(f"flow.method = {method!r}", "one of auto, raft, dis, lucas_kanade, horn_schunck")
    for named in (checkpoint, os.environ.get("I4D_RAFT", "")):
        if named and not Path(named).is_file():
            raise WeightsError(f"{named}: no RAFT checkpoint there", HOW)
    places = raft_places(checkpoint)
    if places:
        digest = hashlib.blake2b(places[0].read_bytes(), digest_size=6).hexdigest()
        flow = RaftFlow(load_raft(places[0]), iterations, device, digest)
        return flow, f"flow: {flow.name}, {iterations} iterations ({places[0]})"
    if method == "raft":
        raise WeightsError("flow.method = raft, but no RAFT checkpoint is configured or found", HOW)
    return DisFlow(), "flow: DIS (no RAFT checkpoint configured or found)"
