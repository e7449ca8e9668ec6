"""The configuration of a run: dataclasses with defaults, YAML files on top, `--set a.b=c` on top of that.

Unknown keys are refused with the nearest known one; values are checked against type, choices and range. The
resolved configuration is stored in the run folder, so a run can be read, resumed and compared without its
command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sysconfig
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from i4d.errors import ConfigError
from i4d.types import Attention, BoundsKind, Mode, Noise, Norm, References, Refit


def opt(
    default: Any,
    help: str,
    *,
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
    pattern: str = "",
    auto: type | None = None,
) -> Any:
    """Declare an option: default, one line of help, and what it may be (inclusive range, whole pattern of a
    string). `auto`: the type of an option that may also be "auto", which is None here.
    """
    meta = {"help": help, "choices": choices, "low": low, "high": high, "pattern": pattern, "auto": auto}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


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
    """The 4D field and how it is fitted (method page, section 6)."""

    kind: str = opt(
        "vector_matrix",
        "kind of field; others come with packages that bring the entry point i4d.fields",
        pattern="[a-z][a-z0-9_]*",
    )
    grid_start: int = opt(2097152, "voxels at the start (128^3)", low=512)
    grid_end: int = opt(262144000, "voxels at the end (640^3)", low=512)
    growth_at: list = opt([0.1, 0.2, 0.35, 0.5], "growth points as shares of `fit_steps`")
    density_components: list = opt([16, 16, 16], "components per plane-line pair: xy, xz, yz")
    colour_components: list = opt([24, 24, 24], "likewise for appearance")
    channels_per_frame: float = opt(2.0, "new streaming channels per frame", low=0.0, high=16.0)
    feature_dim: int = opt(27, "appearance features", low=3, high=256)
    mlp_width: int = opt(128, "hidden width of the colour MLP", low=8, high=1024)
    permanent_share: float = opt(
        0.5, "share of the components that never leave; the others stream", low=0.0, high=1.0
    )
    view_frequencies: int = opt(
        0,
        "frequencies of the viewing direction in colour; 0: none. A dozen cameras are learned by heart",
        low=0,
        high=8,
    )
    density: str = opt("softplus", "activation of density", choices=("relu", "softplus"))
    density_scale: float = opt(25.0, "density per field unit of an activation of 1 (distance scale)", low=0.0)
    density_shift: float = opt(
        -3.0, "added before softplus; a fit that starts as fog finds surfaces,", low=-100.0, high=100.0
    )
    samples: int = opt(0, "intervals per ray; 0: from the grid's resolution", low=0, high=8192)
    proposals: int = opt(
        0, "looks at the coarse density map per ray; 0: from the grid's resolution", low=0, high=8192
    )
    shaded: int = opt(
        16,
        "places per ray where colour is read: groups of intervals of about equal weight; 0: every interval",
        low=0,
        high=8192,
    )
    exposure: str = opt(
        "auto",
        "camera: brightness and white balance of trained cameras are fitted along, pictures are neutral; "
        "auto: where the check finds that cameras differ by a third of a stop",
        choices=("auto", "off", "camera"),
    )
    cameras: str = opt(
        "fixed",
        "refined: small corrections of the trained cameras' poses and focal lengths are found in the fit",
        choices=("fixed", "refined"),
    )
    background: list = opt([], "colour behind the field, RGB in [0, 1]; empty: the field's far end is opaque")
    learn_background: bool = opt(
        False, "fit the colour behind the field along, from `background` or, where that is empty, from grey"
    )
    fit_steps: int = opt(20000, "steps of the reconstruction", low=1)
    refit_steps: int = opt(3000, "steps of the refit in each round", low=0)
    rays: int = opt(8192, "rays per step", low=16)
    lr_grid: float = opt(0.05, "Adam rate of planes and lines", low=0.0)
    lr_mlp: float = opt(0.001, "Adam rate of the MLP", low=0.0)
    lr_decay: float = opt(0.1, "rate at the end of a phase relative to its start", low=0.0, high=1.0)
    refit_rate: float = opt(0.4, "rates of a refit relative to the fit's", low=0.0)
    tv_weight: float = opt(5.0, "total variation weight (planes x 1e-2, lines x 1e-3)", low=0.0)
    distortion: float = opt(
        0.0,
        "weight of the distortion loss in a fit: draws the weight of a ray together (mip-NeRF 360)",
        low=0.0,
        high=10.0,
    )
    refit_loss: str = opt(
        "squared",
        "error that refits lessen; perceptual: with LPIPS of patches (needs its weights); auto: so "
        "where they are found, on a GPU",
        choices=("auto", "squared", "robust", "gradient", "perceptual"),
    )
    refit_perceptual: float = opt(
        0.01, "weight of the perceptual term beside the squared error", low=0.0, high=10.0
    )
    refit_patch: int = opt(
        48, "pixels a side of the patch that the perceptual term compares in every step", low=36, high=512
    )
    refit_variation: float = opt(
        1.0,
        "total variation of a refit relative to the fit's: less keeps more of an edit's texture",
        low=0.0,
        high=10.0,
    )
    refit_geometry: float = opt(
        0.1, "rate of density in a refit relative to colour's: edits seldom move things", low=0.0, high=10.0
    )
    motion_share: float = opt(
        0.2, "share of rays from moving pixels in a fit and the first half of a refit", low=0.0, high=1.0
    )
    dtype: str = opt("auto", "compute type", choices=("auto", "float32", "bfloat16", "float16"))
    kernels: str = opt(
        "auto",
        "fused GPU kernels; auto: in CUDA graphs where Triton is installed; eager: without graphs",
        choices=("auto", "graphs", "eager", "off"),
    )


@dataclass
class EditorConfig:
    """The diffusion editor."""

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
    turbo_keys: int = opt(
        16, "turbo: anchor keys thinned to one in so many at the top level", choices=(1, 4, 16)
    )
    turbo_second_keys: int = opt(4, "turbo: likewise at the second level", choices=(1, 4, 16))
    turbo_depth: int = opt(2, "turbo: deeper levels of the UNet at every n-th step", low=1, high=8)
    turbo_guidance: int = opt(
        2, "turbo: guidance branches besides the full one at every n-th step", low=1, high=8
    )
    batch: int = opt(
        0,
        "frames of a window that go through the editor at once; 0: as many as the smallest card has room for",
        low=0,
        high=64,
    )
    compile: str = opt(
        "off",
        "torch.compile on top of the editor's own kernels, in exact and turbo mode; takes minutes; auto: off",
        choices=("auto", "off", "on"),
    )
    norm: Norm = opt("frame", "GroupNorm over one frame or the whole window", choices=get_args(Norm))
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


@dataclass
class Config:
    """A whole run."""

    seed: int = opt(0, "everything random follows from this", low=0)
    storage_path: str = opt("", "folder or URI that all nodes reach; empty: the run folder")
    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    editor: EditorConfig = dataclasses.field(default_factory=EditorConfig)
    flow: FlowConfig = dataclasses.field(default_factory=FlowConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    local: LocalConfig = dataclasses.field(default_factory=LocalConfig)
    cluster: ClusterConfig = dataclasses.field(default_factory=ClusterConfig)


def known_keys(cls: type = Config, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Return every dotted key and the dataclass field behind it."""
    hints = typing.get_type_hints(cls)
    keys: dict[str, dataclasses.Field] = {}
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            keys |= known_keys(hints[f.name], f"{prefix}{f.name}.")
        else:
            keys[prefix + f.name] = f
    return keys


def _section(config: Config, key: str) -> tuple[Any, str]:
    *parents, leaf = key.split(".")
    for name in parents:
        config = getattr(config, name)
    return config, leaf


def set_key(config: Config, key: str, value: Any, where: str) -> None:
    """Set one dotted key in place, or raise a ConfigError that names it, the value and what it may be."""
    keys = known_keys()
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
        raise ConfigError(f"{where}: unknown key '{key}'", f"did you mean '{near[0]}'?")
    section, leaf = _section(config, key)
    setattr(section, leaf, _checked(key, value, keys[key], type(getattr(section, leaf)), where))


def _checked(key: str, value: Any, option: dataclasses.Field, kind: type, where: str) -> Any:
    meta = option.metadata
    if meta["auto"] is not None:
        if value is None or value == "auto":
            return None
        kind = meta["auto"]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is str and value is None:
        value = ""
    if (
        kind is str and isinstance(value, bool) and "off" in meta["choices"]
    ):  # YAML 1.1 reads on and off as booleans
        value = "on" if value else "off"
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: {key} = {value!r} is not a {kind.__name__}", meta["help"])
    if meta["pattern"] and not re.fullmatch(meta["pattern"], str(value)):
        raise ConfigError(f"{where}: {key} = {value!r}", meta["help"])
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{where}: {key} = {value!r}", f"one of {', '.join(map(str, meta['choices']))}")
    low, high = meta["low"], meta["high"]
    if kind in (int, float) and (
        value != value or (low is not None and value < low) or (high is not None and value > high)
    ):
        raise ConfigError(
            f"{where}: {key} = {value} is out of range", f"{low} to {high if high is not None else 'any'}"
        )
    return value


def merge(config: Config, tree: dict, where: str, prefix: str = "") -> None:
    """Set every leaf of a nested mapping in place."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: expected a mapping, found {type(tree).__name__}")
    sections = {k.rsplit(".", 1)[0] for k in known_keys() if "." in k}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in sections:
            merge(config, value or {}, where, key + ".")
        else:
            set_key(config, key, value, where)


def read_yaml(path: Path) -> dict:
    """Return the mapping in a YAML file; ConfigError names the file and line otherwise."""
    try:
        tree = yaml.safe_load(path.read_bytes())  # bytes: UTF-8 or -16, whatever the locale
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror})") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        raise ConfigError(f"{path}{f', line {mark.line + 1}' if mark else ''}: not valid YAML") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping, found {type(tree).__name__}")
    return tree or {}


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `a.b=c`; the value is read as YAML, so lists, numbers and booleans work."""
    key, sep, value = text.partition("=")
    if not sep or not key.strip():
        raise ConfigError(f"--set {text}: expected key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value is not valid YAML") from None


def shipped(kind: str) -> Path:
    """Return the folder of shipped configs (`kind` "scenes" or "presets"), installed or in a checkout."""
    checkout = Path(__file__).resolve().parent.parent / "configs"
    for root in (checkout, Path(sysconfig.get_path("data")) / "share" / "i4d" / "configs"):
        if (root / kind).is_dir():
            return root / kind
    raise ConfigError(f"the {kind} shipped with i4d are missing", "reinstall the package")


def to_dict(config: Config) -> dict:
    """Return the configuration as nested plain values, ready for YAML or JSON."""
    return dataclasses.asdict(config)


def from_dict(tree: dict, where: str) -> Config:
    """Return a Config from nested plain values (a stored run's resolved configuration)."""
    config = Config()
    merge(config, tree, where)
    return config
