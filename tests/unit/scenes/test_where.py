"""`--where`: what is a box, which masks belong to which camera, and what is said of those that do not fit."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from i4d.config import LocalConfig, SceneConfig
from i4d.errors import ConfigError, SceneError
from i4d.scenes.video import VideoWriter
from i4d.scenes.where import box_of, check_where, read_region, region_from_dict, region_to_dict
from i4d.store.blocks import BlockReader
from i4d.store.objects import open_store
from i4d.types import Bounds, Camera, Scene

W, H = 20, 14


def scene(num_cameras=3, frames=3, scale=1, distortion=()):
    K = np.array([[20.0, 0, W / 2], [0, 20.0, H / 2], [0, 0, 1]])
    cameras = tuple(Camera(f"cam{i:02d}", W, H, K, np.eye(4)) for i in range(num_cameras))
    sources = tuple(
        Camera(c.name, W * scale, H * scale, c.K * [[scale], [scale], [1]], np.eye(4), distortion)
        for c in cameras
    )
    bounds = Bounds("box", ((-1.0, -1.0, 1.0), (1.0, 1.0, 3.0)), 0.1, 10.0, unit=2.0)
    return Scene("t", cameras, frames, 12.0, bounds, ("cam00",) if num_cameras > 1 else (), None, sources)


def write_masks(folder, columns, width=W, height=H):
    folder.mkdir(parents=True)
    for i, column in enumerate(columns):
        image = np.zeros((height, width), np.uint8)
        image[:, column] = 255
        cv2.imwrite(str(folder / f"{i:03d}.png"), image)


def read(place, of=None, **config):
    store = open_store(place.parent / "store")
    region = read_region(LocalConfig(where=str(place)), SceneConfig(**config), of or scene(), store)
    return region, BlockReader(store)


def test_a_box_is_six_numbers():
    assert box_of("-1, 0,2.5,1e0,.5,3") == ((-1, 0, 2.5), (1, 0.5, 3))
    assert box_of("masks/") is None and box_of("the ball") is None
    for wrong in ("1,2,3", "0,0,0,1,1,0", "1,0,0,0,1,1"):
        with pytest.raises(ConfigError, match="--where"):
            box_of(wrong)
    region = read_region(LocalConfig(where="0,0,0,1,1,1", feather_px=5), SceneConfig(), scene(), None)
    assert (region.box, region.masks, region.feather_px, region.match_threshold) == (
        ((0, 0, 0), (1, 1, 1)),
        (),
        5,
        0.1,
    )


def test_an_object_by_name_names_what_is_missing():
    with pytest.raises(ConfigError, match="segmentation model"):
        check_where("the ball")
    with pytest.raises(ConfigError, match="no such file"):
        check_where("masks/cam00.mp4")


def test_masks_follow_their_cameras_frames_and_size(tmp_path):
    """cam01 as pictures twice as large, every second frame from the second on; cam02 as one still picture."""
    place = tmp_path / "masks"
    write_masks(place / "cam01", [slice(4 * i, 4 * i + 4) for i in range(6)], 2 * W, 2 * H)
    cv2.imwrite(str(place / "cam02.png"), np.pad(np.full((H, 5), 255, np.uint8), ((0, 0), (0, W - 5))))
    region, reader = read(place, replace(scene(scale=2), first=1), start=1, stride=2)
    assert [(r.view, r.start, r.stop) for r in region.masks] == [(1, 0, 3), (2, 0, 3)]
    first, still = (reader.rows(run.digest) for run in region.masks)
    for frame, source in enumerate((1, 3, 5)):
        expected = np.zeros((H, W), np.uint8)
        expected[:, 2 * source : 2 * source + 2] = 255
        assert np.array_equal(first[frame], expected)
    assert (still[2][:, :5] == 255).all() and not still[2][:, 5:].any()
    assert region_from_dict(region_to_dict(region)) == region


def test_a_mask_video_of_the_only_camera(tmp_path):
    with VideoWriter(tmp_path / "mask.mp4", W, H, 12, quality="archive") as video:
        for i in range(3):
            image = np.zeros((H, W, 3), np.uint8)
            image[:, 5 * i : 5 * i + 5] = 255
            video.write(image)
    region, reader = read(tmp_path / "mask.mp4", scene(1))
    masks = reader.rows(region.masks[0].digest)
    for i in range(3):
        assert masks[i][:, 5 * i : 5 * i + 5].min() > 200 and masks[i][:, :].sum() < 255 * 5.6 * H


def test_masks_are_undistorted_with_their_video(tmp_path):
    """Barrel distortion moves the rim: where the undistorted view looks beyond the file, there is no mask."""
    write_masks(tmp_path / "masks", [slice(0, W)] * 3)
    bent, reader = read(tmp_path / "masks", scene(1, distortion=(0.5, 0.0, 0.0, 0.0)))
    mask = reader.rows(bent.masks[0].digest)[0]
    assert mask[H // 2, W // 2] == 255 and mask[0, 0] == 0


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p: write_masks(p / "cam07", [slice(0, 3)] * 3), "cam07 is no camera"),
        (lambda p: write_masks(p / "cam00", [slice(0, 3)] * 3), "no masks of an edited camera"),
        (lambda p: write_masks(p / "cam01", [slice(0, 3)] * 2), "2 masks of cam01"),
        (lambda p: write_masks(p / "cam01", [slice(0, 3)] * 3, W, W), "is 20x20, its video 20x14"),
        (lambda p: write_masks(p / "cam01", [slice(0, 0)] * 3), "black everywhere"),
        (lambda p: write_masks(p, [slice(0, 3)] * 3), "one mask for 3 cameras"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path, make, says):
    make(tmp_path / "masks")
    with pytest.raises((ConfigError, SceneError), match=says):
        read(tmp_path / "masks")
