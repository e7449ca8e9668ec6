"""Pictures: EXIF orientation as displayed, and files that are none."""

import numpy as np
import pytest
from PIL import Image

from i4d.errors import SceneError
from i4d.scenes.video import image_file, image_size


@pytest.mark.parametrize(
    ("orientation", "back"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: np.rot90(a, 2)),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, 1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_exif_orientation_is_applied(orientation, back, tmp_path):
    """`back` makes what a camera stores of a picture that is to be shown upright."""
    upright = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(back(upright))).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(image_file(tmp_path / "x.png"), upright) and image_size(tmp_path / "x.png") == (
        9,
        6,
    )


@pytest.mark.parametrize("size", [(60000, 60000), (20000, 20000)])
def test_a_bomb_is_refused_by_name(size, tmp_path):
    Image.new("1", (8, 8)).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    import struct
    import zlib

    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "x.png").write_bytes(bytes(data))
    with pytest.raises(SceneError, match=r"x\.png: too large a picture"):
        image_size(tmp_path / "x.png")


def test_damaged_and_deep_pictures_are_refused_by_name(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    whole = (tmp_path / "x.png").read_bytes()
    for cut in range(0, len(whole) - 100, 97):
        (tmp_path / "x.png").write_bytes(whole[:cut])
        with pytest.raises(SceneError, match=r"x\.png"):
            image_file(tmp_path / "x.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "y.png")
    with pytest.raises(SceneError, match="8 bits a channel"):
        image_file(tmp_path / "y.png")
