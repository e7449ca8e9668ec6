"""`--reference`: the user's picture as the editor will see it."""

import cv2
import numpy as np
import pytest
from test_where import H, W, scene

from i4d.config import LocalConfig
from i4d.errors import ConfigError, SceneError
from i4d.scenes.reference import check_reference, read_reference
from i4d.store.blocks import BlockReader
from i4d.store.objects import open_store


def picture(path, width=W, height=H):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image[..., ::-1])
    return image


def test_a_picture_is_brought_to_the_working_size(tmp_path):
    store = open_store(tmp_path / "store")
    image = picture(tmp_path / "p.png", 2 * W, 2 * H)
    address = read_reference(LocalConfig(reference=str(tmp_path / "p.png")), scene(), 1, store)
    row = BlockReader(store).row(address)
    expected = cv2.resize(image, (W, H), interpolation=cv2.INTER_AREA) / 255
    assert row.dtype == np.float16 and np.abs(row - expected).max() < 1e-3
    assert read_reference(LocalConfig(), scene(), 1, store) is None


def test_it_is_undistorted_with_its_video(tmp_path):
    store = open_store(tmp_path / "store")
    """A mark 6 pixels right of the centre: with k1 = 2 and a focal length of 20, u (1 + 2 u^2) = 0.3 at
    u = 0.262, so 5.2 pixels."""
    image = np.zeros((H, W, 3), np.uint8)
    image[:, 15:17] = 255
    cv2.imwrite(str(tmp_path / "p.png"), image)
    bent = scene(1, distortion=(2.0, 0.0, 0.0, 0.0))
    row = (
        BlockReader(store)
        .row(read_reference(LocalConfig(reference=str(tmp_path / "p.png")), bent, 0, store))
        .astype(float)
    )
    weight = row[H // 2, :17, 0]  # beyond, the rim is mirrored
    assert (weight * (np.arange(17) + 0.5)).sum() / weight.sum() == pytest.approx(W / 2 + 5.2, abs=0.3)


def test_pictures_that_do_not_fit_are_refused(tmp_path):
    picture(tmp_path / "p.png", W, W)
    with pytest.raises(SceneError, match="is 20x20, the video of cam01 20x14"):
        read_reference(LocalConfig(reference=str(tmp_path / "p.png")), scene(), 1, None)
    with pytest.raises(ConfigError, match="no such file"):
        check_reference(LocalConfig(reference="nowhere.png"))
    with pytest.raises(ConfigError, match="without --reference"):
        check_reference(LocalConfig(reference_camera="cam01"))
