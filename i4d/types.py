"""The values that everything else speaks of: cameras, scenes, frame addresses, tasks, receipts.

Nothing here computes and nothing here imports torch or ray. Conventions (docs/conventions.md): OpenCV camera
axes, `world_from_camera` maps camera to world, pixel centres at +0.5, frames are integers, time in the field
is `frame / max(1, num_frames - 1)` in [0, 1]. A *view* is an index into `Scene.cameras`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from i4d.pairs import WindowSources

Corner = tuple[float, float, float]
BoundsKind = Literal["ndc", "box", "contracted"]
Attention = Literal["anchor", "anchor_self", "sparse_causal", "own"]
Mode = Literal["authors", "plain", "exact", "turbo"]
Norm = Literal["frame", "joint"]
Noise = Literal["shared", "frame"]
References = Literal["last", "both", "none"]
Refit = Literal["overlap", "barrier"]


def corner(values: Iterable[float]) -> Corner:
    """Return three numbers as a point; ValueError where they are more or fewer."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def rigid_rows(rows: Iterable[Iterable[float]]) -> tuple[tuple[float, ...], ...]:
    """Return the three rows of four numbers of a rigid transform as plain values, or none of none; ValueError
    where it is something else.
    """
    plain = tuple(tuple(float(value) for value in row) for row in rows)
    if plain and (len(plain) != 3 or any(len(row) != 4 for row in plain)):
        raise ValueError(f"no rigid transform: {len(plain)} rows")
    return plain


# --------------------------------------------------------------------------------------------- scene
@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera. `K` is 3x3 in pixels of a `width` x `height` image; `world_from_camera` is 4x4.

    A moving camera has its poses in `path` (frames, 4, 4); `world_from_camera` is then that of the middle
    frame.
    """

    name: str
    width: int
    height: int
    K: np.ndarray
    world_from_camera: np.ndarray
    distortion: tuple[float, ...] = ()  # OpenCV k1 k2 p1 p2 [k3 ..]; empty after `prepare`, which undistorts
    path: np.ndarray | None = None  # None: it stands still
    lens: Literal["opencv", "fisheye"] = "opencv"  # what `distortion` is of; fisheye: cv2.fisheye's k1..k4

    @property
    def centre(self) -> np.ndarray:
        """Position in world coordinates, shape (3,)."""
        return self.world_from_camera[:3, 3]

    def resized(self, width: int, height: int) -> Camera:
        """Return this camera for an image resampled to another size (K scales with each axis)."""
        scale = np.array([[width / self.width], [height / self.height], [1.0]])
        return replace(self, width=width, height=height, K=self.K * scale)

    def at(self, frame: float) -> Camera:
        """Return this camera as it stands at a frame (the nearest, between two)."""
        return (
            self if self.path is None else replace(self, world_from_camera=self.path[round(frame)], path=None)
        )


MATCH_SHARE, FILL_SHARE = 0.05, 0.02  # of the median scene depth, where nobody says otherwise


@dataclass(frozen=True)
class Bounds:
    """Where the field lives.

    `kind` "ndc": forward-facing rigs; z (in the average camera's frame, looking along +z) is mapped by the
    NDC map of NeRF with near plane `near`; `aabb` is then in NDC. `rig_from_world` holds the three rows of
    four of the rigid transform into that frame; empty: the world is that frame, as N3DV scenes are read.
    Lengths stay those of the world. "box": `aabb` in world units.
    "contracted": `aabb` in world units is the uncontracted inner box (mip-NeRF 360, eq. 10, around its
    centre). `unit` is a length in world units that a viewer's steps and the contraction are relative to: 1
    for rigs normalised like LLFF, the cameras' median scene depth for metric rigs.
    """

    kind: BoundsKind
    aabb: tuple[Corner, Corner]
    near: float
    far: float
    unit: float = 1.0
    rig_from_world: tuple[tuple[float, ...], ...] = ()

    @property
    def median_depth(self) -> float:
        """The cameras' median scene depth in world units: `unit`; of NDC bounds, whose files tell the nearest
        and the farthest only, the middle of the NDC range, twice the near plane.
        """
        return 2 * self.near if self.kind == "ndc" else self.unit

    def within(self, share: float | None, usual: float) -> float:
        """Return a distance in world units, given as a share of the median depth. None: the `usual` share,
        and half of it in NDC, whose scenes reach far behind their nearest surfaces.
        """
        if share is None:
            share = usual / 2 if self.kind == "ndc" else usual
        return share * self.median_depth


class FrameSource(Protocol):
    """Decoded frames of one rig by instant of its clock, read once by `prepare`."""

    def read(
        self, camera: str, start: int, stop: int, stride: int = 1, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield what a camera shows at instants start, start+stride, ... below stop, as uint8 (height, width,
        3) sRGB, at the *source* size, or reduced to `size` (width, height).
        """
        ...

    def stamp(self, camera: str) -> list:
        """Return plain values that change when the camera's pixels do."""
        ...


@dataclass(frozen=True, eq=False)
class Scene:
    """What a reader returns: calibrated cameras, a timeline, and where the pixels come from."""

    name: str
    cameras: tuple[Camera, ...]  # at the working size (undistorted pinhole); order defines view indices
    num_frames: int
    fps: float
    bounds: Bounds
    held_out: tuple[str, ...]  # camera names never trained on nor edited
    source: FrameSource
    source_cameras: tuple[
        Camera, ...
    ]  # same order, as the files have them (size and distortion of the videos)
    exact: str = ""  # folder with exact answers (procedural scenes); empty otherwise
    first: int = 0  # instant of the source's clock that frame 0 is
    missing: tuple[tuple[int, int, int], ...] = ()  # runs (view, first, stop) of frames that nobody took
    notes: tuple[str, ...] = ()  # what the reader decided, one line each
    spaces: tuple[Bounds, ...] = ()  # what `bounds` may be, the likeliest first; empty: it is settled

    @property
    def held_out_views(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.cameras) if c.name in self.held_out)

    @property
    def train_views(self) -> tuple[int, ...]:
        return tuple(i for i, c in enumerate(self.cameras) if c.name not in self.held_out)


# --------------------------------------------------------------------------------------------- frames
@dataclass(frozen=True, slots=True)
class BlockRef:
    """One immutable block in the store: rows of equal shape and dtype, named by the digest of its bytes."""

    digest: str
    num_rows: int
    row_shape: tuple[int, ...]
    dtype: str
    size_bytes: int

    def __reduce__(self) -> tuple:  # as a call: a third of the time that slots take by themselves
        return BlockRef, (self.digest, self.num_rows, self.row_shape, self.dtype, self.size_bytes)


@dataclass(frozen=True)
class FrameAddress:
    """One row of one block."""

    digest: str
    row: int


@dataclass(frozen=True)
class TableRun:
    """Frames start..stop-1 of a view are rows row..row+(stop-start)-1 of a block."""

    view: int
    start: int
    stop: int
    digest: str
    row: int = 0


# --------------------------------------------------------------------------------------------- where an edit
# may act
@dataclass(frozen=True)
class Region:
    """Where a local edit may change the scene: inside a box, or inside what masks of some views show.

    `box` is (low, high) in world units: a pixel is inside where its surface point, as the unedited field has
    it, lies between. `masks` are frame-table runs of uint8 rows (height, width), 255 inside. A camera without
    masks gets them carried over: its surface points are looked up in the `carriers` nearest cameras that have
    some, matched within `match_threshold` (world units). Edges fade over `feather_px` pixels outwards.
    """

    box: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    masks: tuple[TableRun, ...] = ()
    feather_px: int = 2
    carriers: int = 4
    match_threshold: float = 0.05


@dataclass(frozen=True)
class LocalRender:
    """Outside the region, show the field of checkpoint `unedited` (its digest)."""

    region: Region
    unedited: str


# --------------------------------------------------------------------------------------------- edit tasks
@dataclass(frozen=True)
class Strength:
    """How far to noise and in how many steps to come back: n timesteps spread over [0, T), T <= 1000."""

    T: int
    n: int


@dataclass(frozen=True)
class Turbo:
    """What an edit may approximate; ones change nothing. Prices: docs/experiments/editor-turbo.md.

    `keys`: the anchor's keys and values at the UNet's top level are averages of that many neighbours (1, 4 or
    16), `second_keys`: so are those of the level below (1, 4 or 16). `depth`: the UNet's deeper levels are
    computed at every `depth`-th step only. `guidance`: so are the branches besides the full one.
    """

    keys: int = 1
    depth: int = 1
    guidance: int = 1
    second_keys: int = 1


@dataclass(frozen=True)
class EditSettings:
    """What one edit needs besides pixels. Equal settings and inputs give equal results.

    `text_guidance`, `image_guidance` are s_T and s_I of InstructPix2Pix, eq. 3. `norm` "frame" normalises
    each image by itself, "joint" over all images of the window (the authors' code). `flow_mask` tests
    forward-backward consistency. `mode` "plain" and "authors" denoise the anchor again in every window;
    "exact" and "turbo" keep its keys and values; `turbo` says what the latter approximates. `noise` "shared":
    all images of a (view, round) start from one noise, so that it does not flicker; "frame": each its own, so
    that errors average out. `keep_unchanged` gives the original's pixels back where the edit only copied
    them. `blend`: frames up to so many away that each edited frame is averaged with, as
    `i4d.method.merge.blended` does by `blend_sigma` and `blend_detail`. `adaptive`: what warps explain is
    repainted more weakly. `identity`: of the editor and the flow that the run has settled on (see
    `Identity`), so that what was made by others is not taken for equal.
    """

    instruction: str
    text_guidance: float
    image_guidance: float
    attention: Attention = "anchor"
    norm: Norm = "frame"
    flow: str = "auto"
    flow_mask: bool = True
    noise: Noise = "shared"
    keep_unchanged: bool = True
    mode: Mode = "exact"
    turbo: Turbo = Turbo()
    blend: int = 0
    blend_sigma: float = 0.0
    blend_detail: bool = False
    adaptive: bool = False
    identity: str = ""


@dataclass(frozen=True)
class KeyFrameTask:
    """One joint edit of `sample` views at the key instant, then the cross-view warp average over all views.

    All tuples run over the edited views in the same order (`views`). `depth` is a float32 block, one row per
    edited view, depth along the optical axis in world units. `step` of `num_steps` key-frame rounds; the
    result is a float16 block with one row (height, width, 3) in [0, 1] per edited view.
    """

    run_seed: int
    round: int
    step: int
    num_steps: int
    frame: int
    views: tuple[int, ...]
    sample: tuple[int, ...]  # views, a subset of `views`; sample[0] is the anchor of this joint edit
    cameras: tuple[Camera, ...]
    originals: tuple[FrameAddress, ...]
    current: tuple[FrameAddress, ...]
    depth: str
    strength: Strength
    settings: EditSettings
    match_threshold: float  # world units
    fill_threshold: float  # world units
    edited: tuple[
        FrameAddress, ...
    ] = ()  # the sample, edited already by several editors (`RepaintTask.share`); empty: edit it
    region: tuple[
        FrameAddress, ...
    ] = ()  # uint8 masks (height, width) per edited view: outside, originals stay; empty: everywhere
    fill_share: float = 0.5  # how much of the warped average the other views take where it covers them
    earlier: tuple[
        FrameAddress, ...
    ] = ()  # a row each: the mean of the rounds before, which this one joins; empty: it stands alone


@dataclass(frozen=True)
class RepaintTask:
    """Repaint some views at the key instant as one window, anchored on its first view; result as
    KeyFrameTask's rows.

    `share` None: a window of the views that the last key step left out. Otherwise a share of the joint edit
    of key step `window`.
    """

    run_seed: int
    round: int
    window: int
    frame: int
    views: tuple[int, ...]
    originals: tuple[FrameAddress, ...]
    current: tuple[FrameAddress, ...]
    batch: int  # the plan's batch shape, anchor included: shorter windows are padded
    strength: Strength
    settings: EditSettings
    share: int | None = None
    region: tuple[FrameAddress, ...] = ()  # as of KeyFrameTask, one per view
    earlier: tuple[
        FrameAddress, ...
    ] = ()  # a row each: the mean of the rounds before, which this one joins; empty: it stands alone


@dataclass(frozen=True)
class Sight:
    """What another view, edited already, shows during a window: `frames` edited and their z `depths`, one per
    frame of the window.

    Depths (float32, world units) may be coarser than the frames.
    """

    camera: Camera
    frames: tuple[FrameAddress, ...]
    depths: tuple[FrameAddress, ...]


@dataclass(frozen=True)
class WindowTask:
    """Edit one window of one view along time (sliding window, method section 4).

    Every frame starts from the average of what `sources` name: by flow the edited reference (the frame before
    the window) or the edited key frame (the anchor), pulled along the backward flow between the *unedited*
    frames where it is consistent; by depth what `sights` show, one for each view in the order of `sources`,
    where points match within `match_threshold` (world units), `camera` and `depths` being the window's own.
    `current` elsewhere. Then the window is repainted, anchored on the edited key frame. `reference_*` may be
    equal to the anchor. Result: a uint8 block, one row per entry of `frames`.
    """

    run_seed: int
    round: int
    view: int
    window: int
    frames: tuple[int, ...]
    originals: tuple[FrameAddress, ...]
    current: tuple[FrameAddress, ...]
    anchor_frame: int
    anchor_original: FrameAddress
    anchor_edited: FrameAddress
    reference_frame: int
    reference_original: FrameAddress
    reference_edited: FrameAddress
    batch: int  # images per editor call, anchor included: shorter windows are padded to it
    strength: Strength
    settings: EditSettings
    sources: WindowSources = WindowSources()
    region: tuple[FrameAddress, ...] = ()  # as of KeyFrameTask, one per frame
    camera: Camera | None = None
    depths: tuple[FrameAddress, ...] = ()
    sights: tuple[Sight, ...] = ()
    match_threshold: float = 0.0
    earlier: tuple[
        FrameAddress, ...
    ] = ()  # a row each: the mean of the rounds before, which this one joins; empty: it stands alone


@dataclass(frozen=True, slots=True)
class EditReceipt:
    """What an editor answers: where the pixels lie and what they cost. No pixels."""

    task: str  # the task's id, e.g. "r1/v03/w02", "r1/key05", "r1/rest01"
    block: BlockRef
    worker: str
    device: str
    started_s: float  # unix time on the worker
    seconds: float
    unet_forwards: int  # images times guidance branches actually evaluated
    flow_passes: int = 0
    peak_bytes: int = 0
    kept_share: float = float("nan")  # share of pixels explained by the warp
    flow_seconds: float = 0.0
    notes: tuple[str, ...] = ()  # what had to be done differently, such as a batch split for lack of memory

    def __reduce__(self) -> tuple:
        return EditReceipt, tuple(getattr(self, name) for name in self.__slots__)


# --------------------------------------------------------------------------------------------- field
@dataclass(frozen=True)
class FitReceipt:
    """What the trainer answers to `advance`."""

    step: int
    total_steps: int
    psnr_db: float  # of the training batches of this call
    rays: int
    worker: str
    device: str
    started_s: float
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class FitFigures:
    """What the trainer answers to `watch`: how a fit stands at an instant, from a grid of pixels of a few
    cameras. NaN where there is no such camera.
    """

    held_out: str  # the camera's name; empty: none
    held_out_psnr_db: float
    trained_psnr_db: float  # of the trained cameras nearest to it
    depth_agreement: float  # share of pixels whose depth agrees within 5 % in the neighbour that sees them


@dataclass(frozen=True)
class RenderTask:
    """Render one camera at some frames. `want` is a subset of ("rgb", "depth", "region"); `camera` may be
    novel.

    With `local` the picture is the field's inside its region and the unedited field's outside; "region" is
    that region. `exposure_of` names the trained view whose camera's exposure the picture has
    (`field.exposure`); None: neutral.
    """

    camera: Camera
    frames: tuple[int, ...]
    num_frames: int
    want: tuple[str, ...] = ("rgb",)
    rows: Literal["uint8", "float16"] = "uint8"
    local: LocalRender | None = None
    exposure_of: int | None = None


@dataclass(frozen=True)
class RenderReceipt:
    """Blocks by name: "rgb" (uint8 or float16, (h, w, 3)), "depth" (float32 (h, w), along the optical axis,
    world units), "region" (uint8 (h, w), 255 inside)."""

    blocks: Mapping[str, BlockRef]
    worker: str
    device: str
    started_s: float
    seconds: float


@dataclass(frozen=True)
class CheckpointReceipt:
    """A saved field: `digest` names a safetensors object in the store, `step` where the fit stood."""

    digest: str
    step: int
    size_bytes: int


@dataclass(frozen=True)
class Identity:
    """What a run's results follow from besides its frames and tasks, as texts (`i4d/services/identity.py`);
    empty: nothing is known, as of services that compute nothing.
    """

    editor: str = ""
    flow: str = ""
    field: str = ""


@dataclass(frozen=True)
class WorkerInfo:
    """Who a service is and where it runs; answered by `warm_up`."""

    name: str
    device: str
    device_name: str
    node: str
    pid: int
    warm_up_s: float
    notes: tuple[str, ...] = ()  # e.g. "flow: DIS (no RAFT checkpoint configured)"
    extra: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity = Identity()  # of what it has loaded: an editor's or a trainer's parts of it
