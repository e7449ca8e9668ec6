"""`--reference`: the user's picture as the editor will see it."""

import cv2
import numpy as np
import pytest
from test_where import H, W, scene

from i4d.config import Config, LocalConfig
from i4d.errors import ConfigError, SceneError
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.scenes.reference import at_working_size, check_reference, read_reference
from i4d.store.blocks import BlockReader
from i4d.store.objects import open_store
from i4d.types import Bounds, Scene


def picture(path, width=W, height=H):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image[..., ::-1])
    return image


def test_a_picture_is_brought_to_the_working_size(tmp_path):
    image = picture(tmp_path / "p.png", 2 * W, 2 * H)
    found = at_working_size(LocalConfig(reference=str(tmp_path / "p.png")), scene(), 1)
    assert np.array_equal(found, cv2.resize(image, (W, H), interpolation=cv2.INTER_AREA))
    assert read_reference(Config(), scene(), 1, 0, None) == (None, "")


def test_it_is_undistorted_with_its_video(tmp_path):
    """A mark 6 pixels right of the centre: with k1 = 2 and a focal length of 20, u (1 + 2 u^2) = 0.3 at
    u = 0.262, so 5.2 pixels."""
    image = np.zeros((H, W, 3), np.uint8)
    image[:, 15:17] = 255
    cv2.imwrite(str(tmp_path / "p.png"), image)
    bent = scene(1, distortion=(2.0, 0.0, 0.0, 0.0))
    row = at_working_size(LocalConfig(reference=str(tmp_path / "p.png")), bent, 0) / 255
    weight = row[H // 2, :17, 0]  # beyond, the rim is mirrored
    assert (weight * (np.arange(17) + 0.5)).sum() / weight.sum() == pytest.approx(W / 2 + 5.2, abs=0.3)


def test_pictures_that_do_not_fit_are_refused(tmp_path):
    picture(tmp_path / "p.png", W, W)
    with pytest.raises(SceneError, match="is 20x20, the video of cam01 20x14"):
        at_working_size(LocalConfig(reference=str(tmp_path / "p.png")), scene(), 1)
    with pytest.raises(ConfigError, match="no such file"):
        check_reference(LocalConfig(reference="nowhere.png"))
    with pytest.raises(ConfigError, match="without --reference"):
        check_reference(LocalConfig(reference_camera="cam01"))


class One:
    """A film of one camera in memory."""

    def __init__(self, images):
        self._images = images

    def read(self, camera, start, stop, stride=1, size=None):
        yield from self._images[start:stop:stride]


@pytest.fixture(scope="module")
def film():
    camera = demo_cameras()[4]
    images = np.stack(list(render_frames(camera, range(10, 14), 24)))
    bounds = Bounds("ndc", ((-1, -1, -1), (1, 1, 1)), 1.0, 3.0)
    return Scene("t", (camera,), 4, 12.0, bounds, (), One(images), (camera,)), images


def given(path, image):
    cv2.imwrite(str(path), image[..., ::-1])
    return Config(local=LocalConfig(reference=str(path)))


def sepia(image):
    return np.clip(
        image @ np.array([[0.4, 0.35, 0.27], [0.77, 0.69, 0.53], [0.19, 0.17, 0.13]]), 0, 255
    ).astype(np.uint8)


def test_a_picture_that_lies_right_stays_bit_for_bit(tmp_path, film):
    scene, images = film
    store = open_store(tmp_path / "store")
    address, told = read_reference(given(tmp_path / "p.png", sepia(images[2])), scene, 0, 2, store)
    expected = (sepia(images[2]).astype(np.float32) / 255).astype(np.float16)
    assert np.array_equal(BlockReader(store).row(address), expected) and told.endswith("lies on its frame")


def test_zoom_and_shift_are_undone_and_told(tmp_path, film):
    scene, images = film
    height, width = images.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, 1.05)
    matrix[:, 2] += 3, -1.2
    exact = sepia(images[2])
    moved = cv2.warpAffine(exact, matrix, (width, height), flags=cv2.INTER_CUBIC)
    store = open_store(tmp_path / "store")
    address, told = read_reference(given(tmp_path / "p.png", moved), scene, 0, 2, store)
    row = BlockReader(store).row(address).astype(np.float32) * 255
    inner = np.s_[10:-10, 12:-12]
    before, after = (
        -10 * np.log10(np.mean((x[inner].astype(float) - exact[inner]) ** 2) / 255**2) for x in (moved, row)
    )
    assert after > 35 and after > before + 9
    assert "moved by 3.0, -1.2 px, zoom 1.05" in told and told.endswith("undone")


def test_another_picture_is_refused_with_figures(tmp_path, film):
    scene, images = film
    other = next(render_frames(demo_cameras()[9], [2], 24))
    with pytest.raises(SceneError, match=r"does not lie on frame 2 of cam04: likeness 0\.\d+, \d+ % of the"):
        read_reference(given(tmp_path / "p.png", other), scene, 0, 2, open_store(tmp_path / "store"))
