"""What a metric is: its key in metrics.json, its words, what it needs, and how it is computed.

A metric is one `Metric`. Report, console, CSV, comparisons and the table of docs/metrics.md show whatever is
registered (i4d/metrics/registry.py); none of them knows a metric by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

import numpy as np

from i4d.types import Camera

Better = Literal["higher", "lower", "near 1", "near 0", "none"]
Tree = dict[str, Any]  # metrics.json, or what is merged into it
Cell = dict[str, Any]  # {"value", "interval", "frames"} or {"value": None, "reason"}: i4d/metrics/cells.py

FIELD = "The field before the edit"
ANSWER = "Nearness to the known answer"
AGREEMENT = "Agreement in time and between cameras"
LOOK = "How it looks"
COST = "Cost"
# in the order of the report, with the heading of what values are compared with
GROUPS: dict[str, str] = {
    FIELD: "",
    ANSWER: "Unedited",
    AGREEMENT: "Unedited field",
    LOOK: "Unedited field",
    COST: "",
}


class Need(Enum):
    """What an evaluation must be able to give for a metric; the values are the words of docs/metrics.md."""

    EDIT = "an edit"
    UNEDITED_RENDERS = "renders of the unedited field"
    EDITED_RENDERS = "renders of the edited field"
    TRAINED_RENDERS = "such renders of a trained camera"
    HELD_OUT = "a held-out camera"
    TWO_FRAMES = "two frames"
    TWO_CAMERAS = "two edited cameras"
    DEPTH = "depth of the unedited field"
    KNOWN_ANSWER = "a known answer"
    OBJECT_MASKS = "masks of the edited object"
    EACH_FRAME = "frames edited each by itself (`i4d eval --each-frame N`)"
    LPIPS = "LPIPS weights"
    CLIP = "CLIP weights"


class ObjectMasks(Protocol):
    """Where an edited object is, seen by one camera; frames count as those of the run."""

    def inside(self, frame: int) -> np.ndarray:
        """Return where it is: bool (height, width)."""
        ...

    def outside(self, frame: int) -> np.ndarray:
        """Return where neither it nor its edge is: bool (height, width)."""
        ...


class Evaluation(Protocol):
    """What a metric is computed from. Pictures are uint8 (height, width, 3) sRGB and are read when they are
    asked for; a metric that keeps a few at a time can measure a video of any length.

    Views are indices of the scene's cameras. `watched` are those that are looked at (held out, or the first
    trained one), `shown` those of them of which the edited field was rendered, `trained` the edited cameras.
    """

    prompt: str
    edit_name: str | None  # the one edit of the demonstration editor's repertoire that the prompt names
    edits_object: bool  # whether that edit is of an object, not of the whole picture
    held_out: bool
    num_frames: int
    key_frame: int
    other_instants: tuple[int, ...]  # where depth was rendered besides the key frame
    match_threshold: float  # how near two surface points are that count as one, in world units

    @property
    def watched(self) -> Sequence[int]: ...
    @property
    def shown(self) -> Sequence[int]: ...
    @property
    def trained(self) -> Sequence[int]: ...

    def why_not(self, need: Need) -> str:
        """Return why a need is not met, or "" where it is."""
        ...

    def camera(self, view: int) -> Camera: ...

    def taken(self, view: int, count: int) -> list[int]:
        """Return which of the first `count` frames a camera took; others stand in for the rest."""
        ...

    def count(self, view: int) -> int:
        """Return how many frames were rendered of a watched view both before and after the edit."""
        ...

    def unedited_count(self, view: int) -> int:
        """Return how many frames were rendered of a watched view before the edit."""
        ...

    def original(self, view: int, frame: int) -> np.ndarray: ...

    def unedited(self, view: int, frame: int) -> np.ndarray:
        """Return the unedited field's render of a watched view."""
        ...

    def render(self, view: int, frame: int) -> np.ndarray:
        """Return the edited field's render of a watched view."""
        ...

    def edited_frame(self, view: int, frame: int) -> np.ndarray:
        """Return a trained view's frame as the editor left it, before the field was fitted to it."""
        ...

    def unedited_key(self, view: int) -> np.ndarray:
        """Return the unedited field's render of a trained view at the key frame."""
        ...

    def depth(self, view: int, frame: int) -> np.ndarray:
        """Return the unedited field's z depth of a trained view, float32 (height, width), world units; at the
        key frame and at `other_instants`.
        """
        ...

    def answers(self, view: int, frames: Sequence[int]) -> Iterable[np.ndarray]:
        """Return what each of these frames should have become; only where there is a known answer."""
        ...

    def answer_is(self) -> str:
        """Return in words what the known answer is."""
        ...

    def object_masks(self, view: int) -> ObjectMasks:
        """Return where the edited object is; only where Need.OBJECT_MASKS is met."""
        ...

    def spent(self) -> Tree:
        """Return `timing` (seconds of each stage), `unet_forwards` and `peak_memory_bytes` of the run."""
        ...


Compute = Callable[[Evaluation], "float | Cell"]


@dataclass(frozen=True)
class Shared:
    """Several metrics measured in one pass: `measure` is called once for all that name it, whatever is
    lacking, and returns their part of metrics.json from its root, with reasons beside what is null.
    """

    measure: Callable[[Evaluation], Tree]


@dataclass(frozen=True)
class Derived:
    """A figure that follows from what else stands in metrics.json, and is not stored."""

    read: Callable[[Tree], float | None]


@dataclass(frozen=True)
class Places:
    """Where a metric's parts stand in metrics.json, as dotted paths; "" where there is no such part.
    `baseline` may be a number. `note` says what is special about a value found here.
    """

    value: str
    interval: str = ""
    each: str = ""  # what the value is a mean of, as `Samples.to_json`
    frames: str = ""
    baseline: str | float = ""
    reason: str = ""
    cameras: str = ""
    compared: str = ""  # fraction of the pixels that could be compared
    note: str = ""


@dataclass(frozen=True)
class Reading:
    """A metric's parts as found in a metrics.json. `value` None: `reason` says why."""

    value: float | None
    interval: Sequence[float] | None = None
    each: Mapping[str, Any] | None = None
    frames: int = 0
    baseline: float | None = None
    reason: str = ""
    cameras: str = ""
    compared: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric. `key` is its dotted path in metrics.json; `compute` gets an `Evaluation` and returns a
    number or a cell, which is stored there. It is called only where nothing in `needs` is lacking.

    `meaning` is a plain sentence or two: what is compared with what. `source` is the paper (and section) of
    the definition, or "own". `limits` are the lowest and highest possible value.

    The rest has defaults: `group` is the table it stands in, `column` its name in CSV, `heading` that in
    comparisons (with `compared` False it stands only in their CSV), `headline` a few words for the report's
    tiles and the console's summary (empty: in neither), `caution` a sentence about a value that is not to be
    trusted, `also` further figures or texts named after the meaning, as (name, path). `places` are for
    metrics that do not stand as a cell at their key; the first place with a value counts.
    """

    key: str
    title: str
    unit: str
    better: Better
    meaning: str
    source: str
    needs: tuple[Need, ...]
    compute: Compute | Shared | Derived
    limits: tuple[float, float] = (0.0, float("inf"))
    digits: int = 2
    group: str = LOOK
    column: str = ""
    heading: str = ""
    compared: bool = True
    headline: str = ""
    caution: Callable[[float], str] | None = None
    also: tuple[tuple[str, str], ...] = ()
    baseline_is: str = ""
    counted: str = "frame"
    places: tuple[Places, ...] = field(default=())

    def __post_init__(self) -> None:
        """ValueError for a group, direction or key that nothing could show."""
        if self.group not in GROUPS:
            raise ValueError(f"group '{self.group}': one of {', '.join(GROUPS)}")
        if self.better not in ("higher", "lower", "near 1", "near 0", "none"):
            raise ValueError(f"better '{self.better}': higher, lower, near 1, near 0 or none")
        if not self.key or not all(self.key.split(".")):
            raise ValueError(f"key '{self.key}': a dotted path such as edit.saturation")
        short = self.key.removeprefix("edit.").removeprefix("look.").replace(".", "_")
        object.__setattr__(self, "column", self.column or short)
        object.__setattr__(self, "heading", self.heading or self.title)
        object.__setattr__(self, "places", self.places or (cell_places(self.key),))

    def paths(self) -> set[str]:
        """Return every path of metrics.json that this metric's parts stand at."""
        found = {self.key, *(path for _, path in self.also)}
        return found | {path for p in self.places for path in vars(p).values() if _is_path(path)}

    def read(self, tree: Tree) -> Reading | None:
        """Return what a metrics.json says of this metric; None where it says nothing."""
        if isinstance(self.compute, Derived):
            value = self.compute.read(tree)
            return None if value is None else reading(tree, self.places[0], value)
        for places in self.places:
            if (value := at(tree, places.value)) is not None:
                return reading(tree, places, value)
        first = self.places[0]
        reason = at(tree, first.reason) or ""
        if not reason and at(tree, first.value, tree) is tree:
            return None
        return Reading(None, reason=reason)

    def value(self, tree: Tree) -> float | None:
        """Return only the value; None where there is none."""
        found = self.read(tree)
        return found.value if found else None


def _is_path(text: Any) -> bool:
    return isinstance(text, str) and "." in text


def cell_places(key: str, baseline: str = "baseline") -> Places:
    """Return where the parts of a cell stand."""
    parts = ("interval", "each", "frames", baseline, "reason")
    return Places(f"{key}.value", *(f"{key}.{part}" for part in parts))


def reading(tree: Tree, places: Places, value: float) -> Reading:
    """Return a value with what stands beside it."""
    base, cameras = places.baseline, at(tree, places.cameras) or ()
    return Reading(
        value,
        at(tree, places.interval),
        at(tree, places.each),
        at(tree, places.frames) or 0,
        at(tree, base) if isinstance(base, str) else base,
        cameras=cameras if isinstance(cameras, str) else ", ".join(cameras),
        compared=at(tree, places.compared),
        note=places.note,
    )


def at(tree: Any, path: str, absent: Any = None) -> Any:
    """Return what stands at a dotted path of nested dictionaries, `absent` where nothing does."""
    if not path:
        return absent
    for name in path.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return absent
        tree = tree[name]
    return tree


def put(tree: Tree, path: str, value: Any) -> None:
    """Set what stands at a dotted path, making dictionaries on the way."""
    *way, last = path.split(".")
    for name in way:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value


def merge(tree: Tree, part: Tree) -> None:
    """Put a part of metrics.json into the whole; dictionaries that both have are joined."""
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            merge(tree[name], value)
        else:
            tree[name] = value
