"""Inputs as people bring them, made from the demo scene: by PyAV, by renaming, by a few bytes of metadata.

`CASES` holds one entry for each way. `make(clean, root)` writes a scene into `root`; `settings` are what
`scene:` of a scene file then says. What the demo's clean folder gives is the right answer for all that are
mended. `mend` are settings that turn a refusal into the right answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from i4d.config import Config, SceneConfig, merge
from i4d.scenes.procedural.demo import FPS, write_demo
from i4d.scenes.readers.n3dv import read_n3dv

LATE, CAMERA = 7, "cam03"


@dataclass(frozen=True, eq=False)
class Clean:
    """The demo scene as it should be read: frames (frame, height, width, 3) by camera, rows of poses."""

    root: Path
    frames: dict[str, np.ndarray]
    rows: np.ndarray

    @property
    def names(self) -> list[str]:
        return sorted(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[self.names[0]].shape[2], self.frames[self.names[0]].shape[1]


@dataclass(frozen=True)
class Case:
    """One way in which input comes. `says`: part of what is told of it, or of the refusal. `mend`: None where
    the input is read right as it is.
    """

    make: Callable[[Clean, Path], None]
    says: str
    settings: dict = field(default_factory=dict)
    mend: dict | None = None
    refused: bool = False
    psnr_db: float = 0.0  # prepared frames are that near to the clean ones; 0: equal to the bit


def scene_config(**settings) -> SceneConfig:
    config = Config()
    merge(config, {"scene": {"name": "capture", "bounds": "auto", **settings}}, "test")
    return config.scene


def clean_demo(root: Path, width: int = 48, height: int = 36, frames: int = 24) -> Clean:
    """Return the demo scene, made in `root` where it is not there yet."""
    if not (root / "scene.json").exists():
        write_demo(root, width, height, frames)
    scene = read_n3dv(scene_config(), root)
    pixels = {c.name: np.stack(list(scene.source.read(c.name, 0, frames))) for c in scene.cameras}
    return Clean(root, pixels, np.load(root / "poses_bounds.npy"))


# ------------------------------------------------------------------------------------------------ writing
def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[float] | None = None,
    *,
    rotation: int = 0,
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    matrix: int = 0,
    full: bool = False,
    transfer: int = 2,
) -> None:
    """Write frames at `times` (seconds; None: 12 a second), to the bit as long as `pixels` are RGB.

    `matrix`, `transfer`: numbers of ITU-T H.273; the conversion to YUV follows the matrix and range that are
    declared.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    container = av.open(str(path), "w")
    stream = container.add_stream(codec, rate=FPS)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = pixels
    stream.options = {"lossless": "1"} if "vp9" in codec else {"qp": "0"}
    context, base = stream.codec_context, Fraction(1, 12000)
    context.time_base = base
    rgb = pixels in ("rgb24", "gbrp")
    context.colorspace, context.color_range, context.color_trc = matrix, 2 if full or rgb else 1, transfer
    if rotation:
        stream.set_display_rotation(rotation)
    for i, image in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        if rgb:
            frame = frame.reformat(format=pixels)
        else:
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=2 if full else 1)
        frame.colorspace, frame.color_trc = matrix, transfer
        frame.pts = round((i / FPS if times is None else times[i]) / base)
        frame.time_base = base
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
    container.close()


def write_rig(
    clean: Clean, root: Path, special: Callable[[Path, np.ndarray], None] | None = None, names=None
) -> None:
    """Write all cameras as videos, that of CAMERA by `special(path, frames)`; poses in the cameras' order."""
    root.mkdir(parents=True, exist_ok=True)
    for name in clean.names:
        path = root / f"{(names or {}).get(name, name)}.mp4"
        if special and name == CAMERA:
            special(path, clean.frames[name])
        else:
            write_video(path, clean.frames[name])
    np.save(root / "poses_bounds.npy", clean.rows)


def write_cameras_json(
    clean: Clean, root: Path, special: Callable[[Path, np.ndarray], dict] | None = None
) -> None:
    """Write the rig with `cameras.json`; `special` writes CAMERA's video and returns changes of its entry."""
    scene, entries = read_n3dv(scene_config(), clean.root), []
    for camera in scene.cameras:
        pose = np.linalg.inv(camera.world_from_camera)
        entry = {
            "name": camera.name,
            "video": f"{camera.name}.mp4",
            "width": camera.width,
            "height": camera.height,
            "K": camera.K.tolist(),
            "R": pose[:3, :3].tolist(),
            "t": pose[:3, 3].tolist(),
        }
        if special and camera.name == CAMERA:
            entry |= special(root / entry["video"], clean.frames[camera.name])
        else:
            write_video(root / entry["video"], clean.frames[camera.name])
        entries.append(entry)
    (root / "cameras.json").write_text(json.dumps({"cameras": entries}))


def write_pictures(clean: Clean, root: Path, name: Callable[[int], str], without: Sequence[int] = ()) -> None:
    """Write frames/CAMERA/*.png; `without`: frames that one camera lacks."""
    for camera in clean.names:
        folder = root / "frames" / camera
        folder.mkdir(parents=True)
        for i, image in enumerate(clean.frames[camera]):
            if camera != CAMERA or i not in without:
                Image.fromarray(image).save(folder / name(i))
    np.save(root / "poses_bounds.npy", clean.rows)


def turned_pictures(clean: Clean, root: Path) -> None:
    """Pictures of one camera as a phone held upside down stores them: EXIF orientation 3."""
    write_pictures(clean, root, "{:05d}.png".format)
    exif = Image.Exif()
    exif[0x0112] = 3
    for i, image in enumerate(clean.frames[CAMERA]):
        path = root / "frames" / CAMERA / f"{i:05d}.png"
        Image.fromarray(np.ascontiguousarray(image[::-1, ::-1])).save(path, exif=exif)


def write_transforms(
    clean: Clean, root: Path, times: bool, cameras: Sequence[str], frames: Sequence[int]
) -> None:
    """Write some cameras' frames as one transforms.json, listed instant by instant."""
    scene = read_n3dv(scene_config(), clean.root)
    listed = []
    for i in frames:
        for camera in (c for c in scene.cameras if c.name in cameras):
            file = root / "images" / camera.name / f"{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(clean.frames[camera.name][i]).save(file)
            pose = camera.world_from_camera @ np.diag([1.0, -1, -1, 1])
            entry = {"file_path": str(file.relative_to(root)), "transform_matrix": pose.tolist()}
            listed.append({**entry, **({"time": i / 100} if times else {})})
    f, (width, height) = scene.cameras[0].K[0, 0], clean.size
    tree = {"fl_x": f, "fl_y": f, "cx": width / 2, "cy": height / 2, "w": width, "h": height, "fps": FPS}
    (root / "transforms.json").write_text(json.dumps({**tree, "frames": listed}))


# ------------------------------------------------------------------------------------------------ ways
def counted(clean: Clean, root: Path) -> None:
    write_rig(clean, root, names={n: f"cam{i + 1}" for i, n in enumerate(clean.names)})


def dropped(path: Path, frames: np.ndarray) -> None:
    keep = [i for i in range(len(frames)) if i not in (8, 9, 15)]
    write_video(path, frames[keep], [i / FPS for i in keep])


def twice_the_rate(path: Path, frames: np.ndarray) -> None:
    write_video(path, frames.repeat(2, 0), [i / (2 * FPS) for i in range(2 * len(frames))])


def half_the_rate(path: Path, frames: np.ndarray) -> None:
    write_video(path, frames[::2], [i / FPS for i in range(0, len(frames), 2)])


def variable(path: Path, frames: np.ndarray) -> None:
    away = np.random.default_rng(3).uniform(-0.25, 0.25, len(frames))
    away[0] = 0
    write_video(path, frames, (np.arange(len(frames)) + away) / FPS)


def late(path: Path, frames: np.ndarray) -> None:
    write_video(path, frames[LATE:])


def turned(quarters: int) -> Callable[[Path, np.ndarray], None]:
    return lambda path, frames: write_video(path, np.rot90(frames, -quarters, (1, 2)), rotation=90 * quarters)


def turned_but_declared_stored(path: Path, frames: np.ndarray) -> dict:
    turned(1)(path, frames)
    return {"width": frames.shape[1], "height": frames.shape[2]}


def lens(model: str, numbers: Sequence[float], scale: int = 4) -> Callable[[Path, np.ndarray], dict]:
    """Return a writer of CAMERA's video as a lens sees it, `scale` times as large so that little is lost."""

    def write(path: Path, frames: np.ndarray) -> dict:
        _, height, width = frames.shape[:3]
        K = read_n3dv(scene_config(), path.parent.parent / "clean").cameras[3].K
        large = K * np.array([[scale], [scale], [1.0]])
        at = large - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        grid = np.stack(np.meshgrid(np.arange(width * scale), np.arange(height * scale)), -1)
        grid = grid.reshape(-1, 1, 2).astype(np.float64)
        undo = cv2.fisheye.undistortPoints if "FISHEYE" in model else cv2.undistortPoints
        where = undo(grid, at, np.array(numbers, float), P=at).reshape(height * scale, width * scale, 2)
        where = where.astype(np.float32)
        images = []
        for image in frames:
            big = cv2.resize(image, (width * scale, height * scale), interpolation=cv2.INTER_LANCZOS4)
            images.append(cv2.remap(big, where, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE))
        write_video(path, images)
        size = {"width": width * scale, "height": height * scale, "K": large.tolist()}
        return {**size, "model": model, "distortion": list(numbers)}

    return write


def coloured(matrix: int, full: bool) -> Callable[[Path, np.ndarray], None]:
    return lambda path, frames: write_video(
        path, frames, codec="libx264", pixels="yuv444p", matrix=matrix, full=full
    )


def hdr(path: Path, frames: np.ndarray) -> None:
    write_video(path, frames, codec="libx264", pixels="yuv444p", matrix=9, transfer=18)


def uncounted(suffix: str) -> Callable[[Clean, Path], None]:
    def make(clean: Clean, root: Path) -> None:
        for name in clean.names:
            how = {"codec": "libvpx-vp9", "pixels": "gbrp"} if suffix == ".webm" else {}
            write_video(root / f"{name}{suffix}", clean.frames[name], **how)
        np.save(root / "poses_bounds.npy", clean.rows)

    return make


def bomb(clean: Clean, root: Path) -> None:
    write_pictures(clean, root, "{:05d}.png".format)
    with Image.new("1", (30000, 30000)) as image:
        image.save(root / "frames" / CAMERA / "00000.png")


def n3dv(special: Callable[[Path, np.ndarray], None]) -> Callable[[Clean, Path], None]:
    return lambda clean, root: write_rig(clean, root, special)


def rig(special: Callable[[Path, np.ndarray], dict]) -> Callable[[Clean, Path], None]:
    return lambda clean, root: write_cameras_json(clean, root, special)


def transforms(times: bool, several: bool, step: int = 1) -> Callable[[Clean, Path], None]:
    def make(clean: Clean, root: Path) -> None:
        names = clean.names if several else [CAMERA]
        write_transforms(clean, root, times, names, range(0, len(clean.frames[CAMERA]), step))

    return make


RIG = {"reader": "rig", "width": 48, "height": 36}
LISTED = {"reader": "nerfstudio", "near": 1.0, "far": 8.0}
BARREL, RATIONAL = (-0.08, 0.02, 0.0, 0.0), (0.1, 0.05, 0.001, -0.002, 0.01, 0.15, 0.02, 0.01)
FISHEYE = (0.05, -0.01, 0.002, 0.0)
CASES = {
    "cameras cam1 ... cam10": Case(  # unchecked: the calibration check would tell which
        counted, "by name (cam1, cam10, cam2, cam3 ...)", {"check": False}, {"order": "number"}
    ),
    "pictures 1.png ... 24.png": Case(
        lambda c, r: write_pictures(c, r, lambda i: f"{i + 1}.png"), "pictures are ordered by the number"
    ),
    "a picture missing": Case(
        lambda c, r: write_pictures(c, r, lambda i: f"{i + 1}.png", [11]),
        "cam03: 1 of 24 frames missing (11)",
    ),
    "pictures with an EXIF orientation": Case(turned_pictures, "cam03: pictures are turned as their EXIF"),
    "frames dropped inside a video": Case(n3dv(dropped), "cam03: 3 of 24 frames missing (8-9, 15)"),
    "a camera of twice the rate": Case(n3dv(twice_the_rate), "cam03: 24 frames a second, brought onto"),
    "a camera of half the rate": Case(n3dv(half_the_rate), "cam03: 6 frames a second, brought onto"),
    "a camera of variable rate": Case(n3dv(variable), "cam03: frames lie up to 0."),
    "one camera 7 frames late": Case(
        n3dv(late), "cam03: its first frame is taken as instant 7", {"offsets": {CAMERA: LATE}}
    ),
    "a display rotation of 180 degrees": Case(n3dv(turned(2)), "cam03: shown turned by 180 degrees"),
    "a display rotation of 90 degrees": Case(n3dv(turned(1)), "cam03: shown turned by 90 degrees"),
    "a rotation, and the stored size declared": Case(
        rig(turned_but_declared_stored), "is declared 36x48, as its video is stored", RIG, refused=True
    ),
    "lens OPENCV_FISHEYE": Case(
        rig(lens("OPENCV_FISHEYE", FISHEYE)), "cam03: undistorted by OpenCV's fisheye model", RIG, psnr_db=34
    ),
    "lens FULL_OPENCV": Case(
        rig(lens("FULL_OPENCV", RATIONAL)), "cam03: undistorted by OpenCV's lens model", RIG, psnr_db=34
    ),
    "lens OPENCV": Case(
        rig(lens("OPENCV", BARREL)), "cam03: undistorted by OpenCV's lens model", RIG, psnr_db=34
    ),
    "lens FOV": Case(
        rig(lambda p, f: write_video(p, f) or {"model": "FOV", "distortion": [0.9]}),
        "lens FOV",
        RIG,
        refused=True,
    ),
    "a BT.709 video": Case(
        n3dv(coloured(1, False)), "cam03: colours are read as BT.709, limited range", psnr_db=48
    ),
    "a full-range video": Case(
        n3dv(coloured(5, True)), "cam03: colours are read as BT.601, full range", psnr_db=48
    ),
    "a BT.2020 video": Case(
        n3dv(coloured(9, False)), "cam03: colours are read as BT.2020, limited range", psnr_db=48
    ),
    "an HDR video": Case(n3dv(hdr), "its transfer is HLG", refused=True),
    "transforms.json of several cameras, with times": Case(
        transforms(True, True), "10 cameras (cam00, cam01, cam02 and 7 more), told apart by folder", LISTED
    ),
    "transforms.json of several cameras, without times": Case(
        transforms(False, True),
        "frames without times are one camera's film, or a photo set",
        LISTED,
        {"capture": "rig"},
    ),
    "transforms.json of a still scene, without times": Case(
        lambda c, r: write_transforms(c, r, False, c.names, [0]), "scene.capture: film", LISTED, refused=True
    ),
    "webm without a frame count": Case(uncounted(".webm"), ""),
    "mkv without a frame count": Case(uncounted(".mkv"), ""),
    "a decompression bomb": Case(bomb, "too large a picture", refused=True),
}
