"""What the rest of i4d asks of an editor and of its kind, and what a denoising network answers to be one.

`Editor` is the outer seam: pictures in, pictures out; a pipeline, a video model or a remote service can
implement it directly. `Denoiser` is the inner one: a network of any family that has it becomes an editor by
`i4d.editors.diffusion.DiffusionEditor`. An editor of another kind implements one of the two, names its
`EditorKind` as an entry point (`i4d.editors.registry`), and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from i4d.config import EditorConfig
from i4d.editors.card import EditorCard
from i4d.editors.noise import NoisePlan
from i4d.types import EditSettings, Strength

State = Literal["ok", "warn", "fail"]


@dataclass
class EditCost:
    """What an edit has used up so far, and what had to be done differently."""

    unet_forwards: int = 0  # passes of the network: images times guidance branches actually evaluated
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep a text once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, eq=False)
class Conditions:
    """What an editor has made of originals before it edits them, by name, a row each: latents, say. An
    original is prepared by itself, whatever it is prepared with, so rows can be kept, cut and joined.
    """

    parts: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: slice) -> Conditions:
        return Conditions({name: part[rows] for name, part in self.parts.items()})

    @property
    def size_bytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.parts.values())

    def padded(self, size: int) -> Conditions:
        """Return these with the last row repeated up to `size` rows."""
        missing = size - len(self)
        return joined([self, *[self[-1:]] * missing]) if missing > 0 else self


def joined(conditions: Sequence[Conditions]) -> Conditions:
    """Return the rows of several in order."""
    return Conditions({name: torch.cat([c.parts[name] for c in conditions]) for name in conditions[0].parts})


class Memory(Protocol):
    """What an editor remembers of an anchor, for all windows that look at it. Losing it costs time, never
    another result.
    """

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True)
class Traits:
    """What planning and reading may ask of a loaded editor.

    `cell`: pixels a side that one cell of its grid spans. `least_steps`: the fewest steps of a repaint that
    change anything. `num_parameters`: weights of all its networks together.
    """

    cell: int = 1
    least_steps: int = 1
    num_parameters: int = 0


class Editor(Protocol):
    """An editor on one device. Images are float in [0, 1], (n, 3, height, width), of any size. Equal inputs
    give equal answers, whatever was asked before.
    """

    @property
    def traits(self) -> Traits: ...

    @property
    def card(self) -> EditorCard: ...

    @property
    def source(self) -> str:
        """Return where the weights came from."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what people should know of it."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def identity(self) -> str:
        """What results follow from, of what is really loaded; equal to `EditorKind.identity` of the run's
        settings, or the run refuses this worker.
        """
        ...

    def prepare(self, sentence: str, originals: Tensor) -> Conditions:
        """Return what editing needs of originals, a row each."""
        ...

    def remembers(self, settings: EditSettings) -> bool:
        """Return whether a window's anchor is edited by itself and remembered; otherwise it goes through
        `repaint` in slot 0 of every batch of its window.
        """
        ...

    def separable(self, settings: EditSettings) -> bool:
        """Return whether frames look at nothing but themselves and the anchor, so that a window may be edited
        a few frames at a time.
        """
        ...

    def remember(
        self,
        original: Tensor,
        edited: Tensor,
        strength: Strength,
        settings: EditSettings,
        seed: int,
        cost: EditCost,
        conditions: Conditions | None = None,
    ) -> Memory:
        """Return the memory of an anchor (1, 3, h, w) for repaints of the same strength and settings."""
        ...

    def repaint(
        self,
        originals: Tensor,
        current: Tensor,
        strength: Strength,
        settings: EditSettings,
        seeds: Sequence[int],
        cost: EditCost,
        *,
        memory: Memory | None = None,
        conditions: Conditions | None = None,
        region: Tensor | None = None,
    ) -> Tensor:
        """Return `current` repainted as `settings.instruction` asks, conditioned on `originals`; float32 in
        [0, 1], (n, 3, h, w).

        `seeds` one per image; `memory` the anchor's, else the image in slot 0 is the anchor (unless
        `settings.attention` is "own": nobody looks at one). `conditions` those of `originals` where they are
        known. `region` (n, 1, h, w) in [0, 1]: where anything may change. EditError where the answer is not
        finite.
        """
        ...

    def warm_up(self, settings: EditSettings, batch: int, height: int, width: int) -> None:
        """Build what the first edit of `batch` images of a size would have to wait for."""
        ...

    def to(self, device: torch.device | str) -> None:
        """Move all weights."""
        ...


class EditorKind(Protocol):
    """A kind of editor: finds and loads weights, settles what its configuration leaves open, predicts its
    memory. `pipelines` are the values of `_class_name` in the `model_index.json` of weights that it loads.

    `weights` is the setting, `place` what `resolve` makes of it: a folder, or a hub id with its revision.
    """

    name: str
    pipelines: tuple[str, ...]
    options: type[EditorConfig]  # its block of the configuration

    def resolve(self, weights: str, device: str, pin: bool = False) -> str:
        """Return the place behind a setting on "cpu" or "cuda"; `pin`: with the revision that a hub id means
        now. WeightsError where there is none.
        """
        ...

    def card(self, place: str) -> EditorCard:
        """Return what is known of an editor without loading it."""
        ...

    def settle(self, config: EditorConfig, place: str, device: str) -> None:
        """Settle, in place, every "auto" of the configuration that is this kind's."""
        ...

    def weights_identity(self, place: str) -> str:
        """Return what names the weights: a digest of files, or a hub id with its revision."""
        ...

    def complete(self, settings: EditSettings, config: EditorConfig) -> EditSettings:
        """Return the settings of an edit with what only this kind knows of."""
        ...

    def identity(self, place: str, config: EditorConfig) -> str:
        """Return what results follow from: weights, compute type and whatever else decides bits."""
        ...

    def notices(self, place: str, card: EditorCard, sentence: str) -> tuple[str, ...]:
        """Return what must be said of an editor and a sentence before a run begins."""
        ...

    def availability(self, place: str) -> tuple[State, str, str]:
        """Return whether weights can be had, a description and a way to mend it, for `doctor`."""
        ...

    def load(self, place: str, device: torch.device | str, config: EditorConfig) -> Editor:
        """Return the editor, ready; WeightsError where the weights cannot be had or are another kind's."""
        ...

    def predicted_bytes(self, place: str, config: EditorConfig, call: Call) -> int:
        """Return the device memory of a process at its peak."""
        ...


@dataclass(frozen=True)
class Call:
    """The largest call that an editor gets: so many frames at once, of a size, in so many steps; and the
    memory that its process may take in all, bytes.
    """

    frames: int
    width: int
    height: int
    steps: int
    limit_bytes: int


class Predictor(Protocol):
    """One network in the course of one repaint."""

    def __call__(self, latents: Tensor, index: int) -> Tensor:
        """Return the guided answer (n, c, h, w), float32, to latents of the plan's level `index`."""
        ...

    def recorded(self) -> Memory:
        """Return what was recorded of the anchor, after the last step."""
        ...


class Denoiser(Protocol):
    """A denoising network with its autoencoder. Latents are float32 (n, c, h, w) on the network's own
    normalised scale.
    """

    card: EditorCard
    source: str
    notes: tuple[str, ...]

    @property
    def traits(self) -> Traits: ...

    @property
    def device(self) -> torch.device: ...

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (c, h, w) of the latents of an image size."""
        ...

    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """Return latents of images to be repainted, drawn with normal noise of their shape."""
        ...

    def decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Return images, float32 in [0, 1], cropped to (n, 3, height, width)."""
        ...

    def condition(self, images: Tensor) -> Conditions:
        """Return what the network is told of originals."""
        ...

    def clean(self, conditions: Conditions) -> Tensor:
        """Return the originals' own latents, as `encode` would give them on average."""
        ...

    def plan(self, strength: Strength) -> NoisePlan:
        """Return the levels of a repaint; ConfigError where the strength does not fit the network."""
        ...

    def predictor(
        self,
        conditions: Conditions,
        strength: Strength,
        settings: EditSettings,
        cost: EditCost,
        size: tuple[int, int],
        *,
        memory: Memory | None = None,
        record: bool = False,
    ) -> Predictor:
        """Return the network for one repaint of latents of `size` (h, w). `record`: one image, the anchor,
        alone; what it shows others is recorded.
        """
        ...

    def to(self, device: torch.device | str) -> None: ...
