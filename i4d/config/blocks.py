"""The blocks of a configuration that no kind owns, and what all kinds of fields and editors have in common.

A kind adds options of its own in a dataclass of its own, derived from `FieldConfig` or `EditorConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from i4d.config.options import opt
from i4d.types import Attention, BoundsKind, Mode, Noise, References, Refit


@dataclass
class SceneConfig:
    """Where the videos are and which part of them is used."""

    name: str = opt(
        "demo",
        "name of the scene; used in run ids, titles and paths: no slash",
        pattern=r"[\w-][\w. -]{0,63}",
    )
    reader: str = opt(
        "n3dv",
        "layout of the folder: n3dv, rig, nerfstudio, dycheck, demo or demo_mono; others come with "
        "packages that bring the entry point i4d.readers",
        pattern="[a-z][a-z0-9_]*",
    )
    root: str = opt("", "folder of the scene; empty: the data root (--data, I4D_DATA, ./data) / name")
    cameras_file: str = opt("cameras.json", "rig reader: the JSON with K, R, t per video")
    downsample: float = opt(1.0, "divide the source size by this", low=1.0, high=64.0)
    width: int = opt(0, "working width in pixels; 0: source width / downsample", low=0, high=8192)
    height: int = opt(0, "working height in pixels; 0: follows width", low=0, high=8192)
    start: int = opt(0, "first instant of the scene's clock that is used: first frame of the videos", low=0)
    num_frames: int = opt(0, "frames to use; 0: all instants that every camera has", low=0)
    stride: int = opt(1, "use every stride-th instant", low=1)
    order: str = opt(
        "auto",
        "poses of an n3dv folder follow its cameras by name (cam1, cam10, cam2) or by number (cam1, cam2, "
        "cam10); auto: where that differs, stop and ask",
        choices=("auto", "name", "number"),
    )
    offsets: dict = opt(
        {},
        "frames of the scene's clock by which cameras started late, by name: {cam03: 7} says that cam03's "
        "first frame shows instant 7; may be fractional or negative",
    )
    capture: str = opt(
        "auto",
        "transforms.json: film, one camera's frames in order; rig, several cameras told apart by folder or "
        "name; auto: as its times say, and stop where it has none",
        choices=("auto", "film", "rig"),
    )
    check: bool = opt(
        True, "compare poses with pictures before a run, and stop where they certainly do not fit"
    )
    drop: list = opt([], "cameras left out, by name")
    held_out: list = opt([], "cameras never trained on nor edited, by name; may be empty")
    bounds: BoundsKind | Literal["auto"] = opt("auto", "field space", choices=("auto", *get_args(BoundsKind)))
    aabb: list = opt([], "[[x,y,z],[x,y,z]] of the box; empty: from the cameras' common frustum")
    near: float = opt(0.0, "nearest depth in world units; 0: from the file or the cameras", low=0.0)
    far: float = opt(0.0, "farthest depth in world units; 0: likewise", low=0.0)
    block_frames: int = opt(25, "frames per block written by prepare", low=1, high=1000)


@dataclass
class FieldConfig:
    """The 4D field and how it is fitted; what every kind of field has."""

    kind: str = opt(
        "vector_matrix",
        "kind of field; others come with packages that bring the entry point i4d.fields",
        pattern="[a-z][a-z0-9_]*",
    )
    fit_steps: int = opt(20000, "steps of the reconstruction", low=1)
    refit_steps: int = opt(3000, "steps of the refit in each round", low=0)
    exposure: str = opt(
        "auto",
        "camera: brightness and white balance of trained cameras are fitted along, pictures are neutral; "
        "auto: where the check finds that cameras differ by a third of a stop",
        choices=("auto", "off", "camera"),
    )
    refit_loss: str = opt(
        "squared",
        "error that refits lessen; perceptual: with LPIPS of patches (needs its weights); auto: so "
        "where they are found, on a GPU",
        choices=("auto", "squared", "robust", "gradient", "perceptual"),
    )


@dataclass
class EditorConfig:
    """The editor; what every kind of editor has."""

    kind: str = opt(
        "auto",
        "kind of editor; auto: the one that loads the weights, by their model_index.json; others come with "
        "packages that bring the entry point i4d.editors",
        pattern="[a-z][a-z0-9_]*",
    )
    weights: str = opt(
        "auto",
        "folder or hub id (owner/name, owner/name@revision); auto: timbrooks/instruct-pix2pix on GPUs, the "
        "bundled tiny-ip2p on CPUs",
    )
    attention: Attention | Literal["auto"] = opt(
        "auto",
        "keys and values of self-attention; auto: anchor, of a single edited camera anchor_self",
        choices=("auto", *get_args(Attention)),
    )
    mode: Mode = opt(
        "exact",
        "exact; turbo: faster, approximate; plain: the anchor anew in every window; authors: with "
        "joint GroupNorm too",
        choices=get_args(Mode),
    )
    batch: int = opt(
        0,
        "frames of a window that go through the editor at once; 0: as many as the smallest card has room for",
        low=0,
        high=64,
    )
    text_guidance: float | None = opt(
        None,
        "s_T (--guidance-scale); auto: what the weights' model card recommends, else 9.5",
        low=0.0,
        high=50.0,
        auto=float,
    )
    image_guidance: float | None = opt(
        None,
        "s_I (--image-guidance-scale); auto: likewise, else 1.5",
        low=0.0,
        high=20.0,
        auto=float,
    )
    dtype: str = opt(
        "auto", "auto: float16 on GPUs, float32 on CPUs", choices=("auto", "float32", "float16", "bfloat16")
    )
    noise: Noise = opt(
        "shared",
        "noise of a view's windows: one for all frames, or each its own",
        choices=get_args(Noise),
    )
    keep_unchanged: bool = opt(
        True,
        "where an edit only copies its original (mean difference under 0.03, blended 0.02), keep the "
        "original's pixels",
    )
    memory_cap_gb: float = opt(0.0, "cap on device memory per process; 0: none", low=0.0)


@dataclass
class FlowConfig:
    """Optical flow of the originals."""

    method: str = opt(
        "auto",
        "auto: RAFT where a checkpoint is found, else DIS",
        choices=("auto", "raft", "dis", "lucas_kanade", "horn_schunck", "none"),
    )
    checkpoint: str = opt("", "RAFT checkpoint (small or large, public key names)")
    iterations: int = opt(20, "RAFT update iterations", low=1, high=64)
    mask: bool = opt(True, "keep a warp only where forward and backward flow agree")


@dataclass
class ScheduleConfig:
    """Rounds, key frame and windows (method page, sections 3 and 4)."""

    method: str = opt(
        "key_frame",
        "key_frame, key_views (some cameras first, the others follow them), adaptive (so too, weaker "
        "repaints where warps explain much); for comparison each_frame: every frame by itself; in2n: frames "
        "replaced one by one while the field fits; others come with packages that bring the entry point "
        "i4d.schedules",
        pattern="[a-z][a-z0-9_]*",
    )
    leading_views: int = opt(
        0, "key_views, adaptive: cameras whose windows go first; 0: a third of them", low=0, high=64
    )
    follow_num_steps: int = opt(600, "key_views: T of the repaint of the others' windows", low=1, high=1000)
    follow_diffusion_steps: int = opt(2, "key_views: n of that repaint", low=1, high=1000)
    references: References = opt(
        "last",
        "pulled into a window: the edited frame before it, the average of that and the edited key "
        "frame, or nothing",
        choices=get_args(References),
    )
    blend: int = opt(
        0,
        "average each edited frame with its neighbours along the flow, up to so many frames away",
        low=0,
        high=16,
    )
    blend_sigma: float = opt(
        0.04,
        "blending: how far a neighbour's original, pulled along, may be from the frame's own to "
        "count (standard deviation, of [0, 1]);"
        " 0: flow alone decides",
        low=0.0,
        high=1.0,
    )
    blend_detail: bool = opt(
        True,
        "blending: give a neighbour's pixels the frame's own light and detail, as the edit would render them",
    )
    forwards: int = opt(
        0,
        "each_frame, in2n: UNet forwards (images times branches) to spend; 0: as many as key_frame would",
        low=0,
    )
    rounds: int = opt(1, "edit-and-refit rounds, at most", low=1, high=100)
    round_share: float = opt(0.7, "strengths of a round relative to the round before", low=0.05, high=1.0)
    accumulate: bool = opt(
        False,
        "every round edits the originals anew at full strength (round_share does not apply); frames "
        "are the mean of what all rounds so far"
        " made of them",
    )
    stop_change: float = opt(
        0.01,
        "rounds end when edited frames and renders move by less than this share of full scale",
        low=0.0,
        high=1.0,
    )
    key_frame: int = opt(0, "frame of the key instant", low=0)
    key_steps: int = opt(12, "joint edits of the key frame", low=1, high=100)
    key_views: int = opt(5, "cameras edited jointly in each (at most the number of views)", low=1, high=64)
    key_shares: int = opt(
        1,
        "parts that a joint edit is split into, each edited with the anchor by an editor of its own",
        low=1,
        high=64,
    )
    propagation: str = opt(
        "outwards",
        "windows run outwards from key_frame; bidirectional: 0 means the middle frame, so that "
        "chains run both ways",
        choices=("outwards", "bidirectional"),
    )
    diffusion_steps: int = opt(20, "steps of a full edit (--diffusion-steps)", low=1, high=1000)
    refine_num_steps: int = opt(600, "T of a window's repaint (--refine-num-steps)", low=1, high=1000)
    refine_diffusion_steps: int = opt(
        4, "n of a window's repaint (--refine-diffusion-steps)", low=1, high=1000
    )
    restview_refine_num_steps: int = opt(
        700, "T of the repaint of the other cameras (--restview-refine-num-steps)", low=1, high=1000
    )
    restview_refine_diffusion_steps: int = opt(
        6, "n of that repaint (--restview-refine-diffusion-steps)", low=1, high=1000
    )
    sequence_length: int = opt(5, "new frames per window (--sequence-length)", low=1, high=64)
    match_threshold: float | None = opt(
        None,
        "3D points match below this share of the cameras' median scene depth; auto: 0.05, in NDC 0.025",
        low=0.0,
        auto=float,
    )
    fill_threshold: float | None = opt(
        None,
        "likewise when filling unedited cameras; auto: 0.02, in NDC 0.01",
        low=0.0,
        auto=float,
    )
    depth_warp: bool = opt(
        True,
        "average the key frame over cameras through depth; false leaves each as it was edited (for "
        "comparison)",
    )
    single: str = opt(
        "effective",
        "with one edited camera: effective: key frame T 1000, windows (700, 5); intended: a second "
        "round at 800 and (550, 3); off: as for several",
        choices=("effective", "intended", "off"),
    )
    refit: Refit = opt("overlap", "refit while windows land, or after all of them", choices=get_args(Refit))


@dataclass
class LocalConfig:
    """What the user says besides the sentence: where the edit may act (--where), what one picture shall look
    like (--reference).
    """

    where: str = opt(
        "",
        "mask video or folder of masks per camera, or a box x0,y0,z0,x1,y1,z1 in world units; empty: "
        "everywhere",
    )
    feather_px: int = opt(2, "pixels over which the edge of the region fades, outwards", low=0, high=64)
    segmenter: str = opt(
        "",
        'CLIPSeg for --where "the ball": folder or hub id in transformers\' format, such as '
        "CIDAS/clipseg-rd64-refined; none is bundled",
    )
    segment_threshold: float = opt(
        0.5, "probability from which a pixel belongs to the object that --where names", low=0.0, high=1.0
    )
    reference: str = opt(
        "",
        "picture: one camera's key frame as you edited it; the other cameras and frames follow it "
        "(--reference)",
    )
    reference_camera: str = opt("", "whose key frame that is; empty: the middle one of the edited cameras")
    carriers: int = opt(
        4, "cameras with masks that are asked for the region of a camera without", low=1, high=64
    )


@dataclass
class ClusterConfig:
    """Who computes."""

    executor: str = opt("ray", "ray, or threads in this process", choices=("ray", "local"))
    address: str = opt("", "Ray address to join; empty: start a local Ray")
    editors: int = opt(0, "editor workers; 0: from the devices there are", low=0, high=4096)
    device: str = opt(
        "auto", "auto, cpu or cuda; cuda on a host without one is an error", choices=("auto", "cpu", "cuda")
    )
    gpus: int = opt(0, "GPUs to use; 0: all there are", low=0)
    trainer_gpus: int = opt(
        1,
        "GPUs that fit the field together, with `field.rays` rays each (fewer steps do); needs ray",
        low=1,
        high=64,
    )
    threads: int = opt(0, "compute threads per service; 0: cores divided by services", low=0, high=1024)
    timeout_s: float = opt(600.0, "longest a single service call may take", low=1.0)
    start_timeout_s: float = opt(300.0, "longest a service may take to come up and warm up", low=1.0)
    max_retries: int = opt(3, "times one window is sent again before the run stops", low=0, high=100)
    strategy: str = opt(
        "PACK", "services close together, or spread over the nodes", choices=("PACK", "SPREAD")
    )
    elastic: bool = opt(False, "begin with the editors there is room for; the others join when nodes come")
    dashboard: bool = opt(True, "start Ray's dashboard with a local Ray")
