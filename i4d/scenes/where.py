"""`--where`: the region of a local edit, from six numbers or from masks beside the videos.

    x0,y0,z0,x1,y1,z1     a box in the scene's world units
    mask.mp4, mask.png    a scene with one camera: a video, a still picture for all frames, or a folder of
    pictures
    masks/                per camera: cam01.mp4, cam01/ (pictures in order) or cam01.png (still)
    the ball              what a text-prompted segmentation model sees of it in the edited cameras
    (`local.segmenter`)

Masks are grey pictures, white inside, in step with the source videos (their frame i belongs to frame i
there), of any size of the same shape. They are decoded into blocks once, brought to the working size the way
the videos are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from i4d.config import LocalConfig, SceneConfig
from i4d.errors import ConfigError, SceneError
from i4d.geometry.regions import Box
from i4d.scenes.prepare import undistortion, working_frames
from i4d.scenes.segmenter import EXAMPLE, ObjectPicker, load_picker
from i4d.scenes.sources import ImageFolders, VideoFiles
from i4d.scenes.timeline import Timeline
from i4d.scenes.video import image_file
from i4d.store.blocks import write_block
from i4d.store.objects import ObjectStore
from i4d.types import MATCH_SHARE, Camera, Region, Scene, TableRun, corner

VIDEOS, PICTURES = (".mp4", ".mkv", ".mov", ".avi", ".webm"), (".png", ".jpg", ".jpeg")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FORMS = "six numbers x0,y0,z0,x1,y1,z1, a mask video or picture, or a folder of masks named like the cameras"


class MaskSource(Protocol):
    """What `sources.VideoFiles` and `sources.ImageFolders` have in common."""

    def num_frames(self, camera: str) -> int: ...
    def frames(self, camera: str, numbers: Sequence[int]) -> Iterator[np.ndarray]: ...


class Still:
    """One picture for all frames."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def num_frames(self, camera: str) -> int:
        return 0

    def frames(self, camera: str, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        image = image_file(self._path)
        return (image for _ in numbers)


def box_of(where: str) -> Box | None:
    """Return the box that `--where` writes as six numbers, or None where it is something else; ConfigError
    for a box without inside.
    """
    parts = [part.strip() for part in where.split(",")]
    if len(parts) < 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    if len(parts) != 6:
        raise ConfigError(
            f"--where {where}: {len(parts)} numbers", "a box is x0,y0,z0,x1,y1,z1: its two opposite corners"
        )
    low, high = corner(map(float, parts[:3])), corner(map(float, parts[3:]))
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise ConfigError(f"--where {where}: a box needs x0 < x1, y0 < y1 and z0 < z1")
    return low, high


def check_where(where: str, segmenter: str = "") -> None:
    """Raise ConfigError where `--where` is neither a box nor a place on disk, nor a text for a segmentation
    model.
    """
    if not where or box_of(where) is not None or Path(where).exists():
        return
    if Path(where).suffix or "/" in where:
        raise ConfigError(f"--where {where}: no such file or folder", FORMS)
    if not segmenter:
        raise ConfigError(
            f"--where {where!r}: picking an object by its name needs a segmentation model, and none "
            "is bundled",
            f"--set local.segmenter={EXAMPLE} (a CLIPSeg: folder or hub id), or give {FORMS}",
        )


def read_region(
    local: LocalConfig,
    config: SceneConfig,
    scene: Scene,
    store: ObjectStore,
    progress: Callable[[int, int], None] | None = None,
) -> Region | None:
    """Return the region that a configuration asks for, its masks decoded into the store; None where the edit
    acts everywhere.

    ConfigError or SceneError naming the camera where masks are missing, too few, of another shape or empty.
    """
    check_where(local.where, local.segmenter)
    if not local.where:
        return None
    threshold = scene.bounds.within(None, MATCH_SHARE)
    box = box_of(local.where)
    if box is not None:
        return Region(box, (), local.feather_px, local.carriers, threshold)
    if Path(local.where).exists():
        found = {
            view: mask_frames(source, config, scene, view)
            for view, source in find_masks(Path(local.where), scene).items()
        }
    else:
        picker = load_picker(local.segmenter, "cuda" if torch.cuda.is_available() else "cpu")
        found = {view: picked(picker, local, config, scene, view) for view in scene.train_views}
    runs, inside = [], 0
    for done, (view, frames) in enumerate(found.items(), 1):
        masks = np.stack(list(frames))
        inside += int((masks > 127).sum())
        runs.append(TableRun(view, 0, scene.num_frames, write_block(store, masks).digest))
        if progress:
            progress(done * scene.num_frames, len(found) * scene.num_frames)
    if not inside and not Path(local.where).exists():
        what = f"--where {local.where!r}: the segmenter sees nothing like it"
        raise ConfigError(what, "say it otherwise, or lower local.segment_threshold")
    if not inside:
        raise ConfigError(
            f"--where {local.where}: the masks are black everywhere", "white is where the edit may act"
        )
    return Region(None, tuple(runs), local.feather_px, local.carriers, threshold)


def find_masks(place: Path, scene: Scene) -> dict[int, MaskSource]:
    """Return where each view's masks come from; ConfigError for names that are no camera, or where no edited
    camera has any.
    """
    names = [camera.name for camera in scene.cameras]
    pictures = place.is_dir() and any(
        p.suffix.lower() in PICTURES and p.stem not in names for p in place.iterdir()
    )
    if place.is_file() or pictures:
        if len(names) > 1:
            raise ConfigError(
                f"--where {place}: one mask for {len(names)} cameras",
                f"give a folder with one per camera, such as {names[0]}.mp4 or {names[0]}/",
            )
        return {0: _source(place, names[0])}
    found: dict[int, MaskSource] = {}
    for entry in sorted(p for p in place.iterdir() if not p.name.startswith(".")):
        name = entry.name if entry.is_dir() else entry.stem
        if name not in names:
            raise ConfigError(
                f"--where {place}: {entry.name} is no camera of {scene.name}", f"cameras: {', '.join(names)}"
            )
        if names.index(name) in found:
            raise ConfigError(
                f"--where {place}: two masks for {name}", "one video, folder or picture per camera"
            )
        found[names.index(name)] = _source(entry, name)
    if not set(found) & set(scene.train_views):
        edited = ", ".join(names[v] for v in scene.train_views)
        raise ConfigError(
            f"--where {place}: no masks of an edited camera", f"edited cameras: {edited}; a box needs none"
        )
    return found


def _source(place: Path, name: str) -> MaskSource:
    if place.is_dir():
        return ImageFolders({name: place})
    if place.suffix.lower() in VIDEOS:
        return VideoFiles({name: place})
    if place.suffix.lower() in PICTURES:
        return Still(place)
    raise ConfigError(
        f"--where {place}: not a mask",
        f"videos {', '.join(VIDEOS)}, pictures {', '.join(PICTURES)}, or folders of pictures",
    )


def mask_frames(source: MaskSource, config: SceneConfig, scene: Scene, view: int) -> Iterator[np.ndarray]:
    """Yield a view's masks, uint8 (height, width) at the working size, undistorted with its video."""
    camera, original = scene.cameras[view], scene.source_cameras[view]
    stop = scene.first + (scene.num_frames - 1) * config.stride + 1
    numbers: Sequence[int] = range(scene.first, stop, config.stride)
    if isinstance(scene.source, Timeline):
        numbers = scene.source.numbers(camera.name, scene.first, stop, config.stride)
    if 0 < source.num_frames(camera.name) <= numbers[-1]:
        raise SceneError(
            f"--where: {source.num_frames(camera.name)} masks of {camera.name}, frames up to "
            f"{numbers[-1]} are edited",
            "one mask per frame of the source video, or one still picture",
        )
    for image in source.frames(camera.name, numbers):
        height, width = image.shape[:2]
        if abs(width * original.height - height * original.width) > 0.02 * width * original.height:
            raise SceneError(
                f"--where: the mask of {camera.name} is {width}x{height}, its video "
                f"{original.width}x{original.height}",
                "masks may be smaller or larger, but of the same shape",
            )
        yield _working_mask(image.max(-1), camera, original)


def _working_mask(mask: np.ndarray, camera: Camera, original: Camera) -> np.ndarray:
    if original.distortion:
        maps = undistortion(original.resized(mask.shape[1], mask.shape[0]))
        mask = cv2.remap(mask, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if mask.shape == (camera.height, camera.width):
        return np.ascontiguousarray(mask)
    shrinking = camera.width < mask.shape[1]
    return cv2.resize(
        mask, (camera.width, camera.height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    )


def picked(
    picker: ObjectPicker, local: LocalConfig, config: SceneConfig, scene: Scene, view: int
) -> Iterator[np.ndarray]:
    """Yield where a segmentation model sees what `--where` names in a view's frames, as `mask_frames`."""
    return (
        picker.mask(frame, local.where, local.segment_threshold)
        for frame in working_frames(scene, config, view)
    )


def region_to_dict(region: Region) -> dict:
    """Return a region as plain values: what a run keeps of it."""
    masks = [[r.view, r.start, r.stop, r.digest, r.row] for r in region.masks]
    return {
        "box": region.box,
        "masks": masks,
        "feather_px": region.feather_px,
        "carriers": region.carriers,
        "match_threshold": region.match_threshold,
    }


def region_from_dict(tree: dict | None) -> Region | None:
    """Return the region that `region_to_dict` wrote; None for None. SceneError if the record is not one."""
    if tree is None:
        return None
    try:
        box = tree["box"] and tuple(tuple(map(float, corner)) for corner in tree["box"])
        masks = tuple(TableRun(int(v), int(a), int(b), str(d), int(r)) for v, a, b, d, r in tree["masks"])
        return Region(
            box, masks, int(tree["feather_px"]), int(tree["carriers"]), float(tree["match_threshold"])
        )
    except (KeyError, TypeError, ValueError) as err:
        raise SceneError("region.json of this run is not a region", f"{type(err).__name__}: {err}") from err
