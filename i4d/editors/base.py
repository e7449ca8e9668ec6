"""Common answers of editors that are no diffusion network and of kinds without a folder of weights: another
pipeline, a remote service, a function of pictures. Each may answer otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i4d.config import EditorConfig
from i4d.editors.card import EditorCard
from i4d.editors.protocol import Conditions, State, Traits
from i4d.errors import WeightsError
from i4d.types import EditSettings


class BaseEditor:
    """An editor whose frames look at nothing but themselves and a remembered anchor. `identity` must change
    whenever answers do. What is missing of `i4d.editors.protocol.Editor`: `remember` and `repaint`.
    """

    traits, notes = Traits(), ()

    def __init__(self, identity: str, device: torch.device | str = "cpu") -> None:
        self.identity = self.source = identity
        self.device, self.card = torch.device(device), EditorCard(identity)

    def prepare(self, sentence: str, originals: Tensor) -> Conditions:
        """Return the originals themselves."""
        return Conditions({"originals": originals})

    def remembers(self, settings: EditSettings) -> bool:
        """Return True."""
        return True

    def separable(self, settings: EditSettings) -> bool:
        """Return True."""
        return True

    def warm_up(self, settings: EditSettings, batch: int, height: int, width: int) -> None:
        """Do nothing."""

    def to(self, device: torch.device | str) -> None:
        """Answer on another device from now on."""
        self.device = torch.device(device)


class BaseKind:
    """A kind whose editors need no weights; `name` stands for them. What is missing of
    `i4d.editors.protocol.EditorKind`: `name`, `load` and `predicted_bytes`.
    """

    name: str
    pipelines: tuple[str, ...] = ()
    options: type[EditorConfig] = EditorConfig

    def resolve(self, weights: str, device: str, pin: bool = False) -> str:
        """Return the kind's name; WeightsError where weights are named."""
        if weights not in ("auto", self.name):
            raise WeightsError(f"editor.weights = {weights}: a {self.name} needs none", "leave it auto")
        return self.name

    def card(self, place: str) -> EditorCard:
        """Return a card with the usual guidance."""
        return EditorCard(self.name)

    def settle(self, config: EditorConfig, place: str, device: str) -> None:
        """Leave nothing open."""
        config.weights = place
        config.dtype = "float32" if config.dtype == "auto" else config.dtype

    def complete(self, settings: EditSettings, config: EditorConfig) -> EditSettings:
        """Return the settings as they are."""
        return settings

    def weights_identity(self, place: str) -> str:
        """Return the kind's name."""
        return self.name

    def identity(self, place: str, config: EditorConfig) -> str:
        """Return the kind's name."""
        return self.name

    def notices(self, place: str, card: EditorCard, sentence: str) -> tuple[str, ...]:
        """Return nothing."""
        return ()

    def availability(self, place: str) -> tuple[State, str, str]:
        """Return that nothing is missing."""
        return "ok", f"{place}, needs no weights", ""
