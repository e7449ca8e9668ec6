"""Videos as they are meant: colours by matrix and range, rotation, counts, what is cut off."""

import cv2
import numpy as np
import pytest
from capture_inputs import write_video

from i4d.errors import SceneError
from i4d.scenes.decode import probe, read_frames, read_video
from i4d.scenes.sources import VideoFiles

COLOURS = [(220, 30, 30), (30, 200, 40), (25, 40, 210), (235, 235, 235), (20, 20, 20), (128, 128, 128)]


def chart():
    image = np.zeros((32, 96, 3), np.uint8)
    for i, colour in enumerate(COLOURS):
        image[:, 16 * i : 16 * i + 16] = colour
    return image


def yuv(rgb, matrix, full):
    """YCbCr of R'G'B' in [0, 255] by the formulas of BT.601, BT.709 and BT.2020, quantised."""
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    r, g, b = np.asarray(rgb, float) / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if full:
        return np.round([255 * y, 128 + 255 * cb, 128 + 255 * cr])
    return np.round([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr])


def write_chart(path, matrix, full, declared):
    """Write planes computed here, so that no library's conversion is trusted on the way in."""
    import av

    container = av.open(str(path), "w")
    stream = container.add_stream("libx264", rate=12)
    stream.width, stream.height, stream.pix_fmt, stream.options = 96, 32, "yuv444p", {"qp": "0"}
    stream.codec_context.colorspace = declared
    stream.codec_context.color_range = 2 if full else 1
    planes = np.zeros((3, 32, 96), np.uint8)
    for i, colour in enumerate(COLOURS):
        planes[:, :, 16 * i : 16 * i + 16] = yuv(colour, matrix, full)[:, None, None]
    for _ in range(3):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        frame.colorspace, frame.color_range = declared, 2 if full else 1
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
    container.close()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_a_chart_of_every_matrix_and_range_comes_out_within_two_levels(matrix, full, tmp_path):
    write_chart(tmp_path / "x.mp4", matrix, full, matrix)
    (image,) = read_video(tmp_path / "x.mp4", 1, 2)
    assert np.abs(image.astype(int) - chart()).max() <= 2
    named = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020"}[matrix]
    assert probe(tmp_path / "x.mp4").colour == f"{named}, {'full' if full else 'limited'} range"


def test_an_undeclared_matrix_is_read_as_opencv_does_and_said(tmp_path):
    write_chart(tmp_path / "x.mp4", 5, False, 2)
    (image,) = read_video(tmp_path / "x.mp4", 0, 1)
    assert np.abs(image.astype(int) - chart()).max() <= 2
    assert probe(tmp_path / "x.mp4").colour == "BT.601 (not declared), limited range"
    there, theirs = cv2.VideoCapture(str(tmp_path / "x.mp4")).read()
    assert there and np.abs(theirs[..., ::-1].astype(int) - image).max() <= 3


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (8, "linear")])
def test_transfers_that_are_not_srgb_are_refused(transfer, name, tmp_path):
    how = {"codec": "libx264", "pixels": "yuv444p", "matrix": 9}
    write_video(tmp_path / "x.mp4", [chart()] * 3, **how, transfer=transfer)
    with pytest.raises(SceneError, match=f"transfer is {name}"):
        probe(tmp_path / "x.mp4")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied_as_opencv_does(rotation, tmp_path):
    image = chart()
    image[:10, :50] = 255
    write_video(tmp_path / "x.mp4", [image] * 3, rotation=rotation)
    (found,) = read_video(tmp_path / "x.mp4", 0, 1)
    facts = probe(tmp_path / "x.mp4")
    assert (facts.width, facts.height) == found.shape[1::-1] and facts.stored == (96, 32)
    there, theirs = cv2.VideoCapture(str(tmp_path / "x.mp4")).read()
    assert there and theirs.shape == found.shape
    assert np.abs(theirs[..., ::-1].astype(int) - found).max() <= 3
    assert np.array_equal(found, np.rot90(image, rotation // 90))


def test_a_display_that_mirrors_is_refused(tmp_path):
    import av

    container = av.open(str(tmp_path / "x.mp4"), "w")
    stream = container.add_stream("libx264rgb", rate=12)
    stream.width, stream.height, stream.pix_fmt = 96, 32, "rgb24"
    stream.set_display_matrix([-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])
    for packet in [*stream.encode(av.VideoFrame.from_ndarray(chart(), format="rgb24")), *stream.encode()]:
        container.mux(packet)
    container.close()
    with pytest.raises(SceneError, match="mirrors the picture"):
        probe(tmp_path / "x.mp4")


def numbered_frames(count):
    return [np.full((32, 32, 3), 8 * i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.webm", "x.avi"])
def test_frames_are_counted_and_come_in_order_whatever_the_container(name, tmp_path):
    how = {"codec": "libvpx-vp9", "pixels": "gbrp"} if name.endswith("webm") else {}
    write_video(tmp_path / name, numbered_frames(20), **how)
    assert probe(tmp_path / name).num_frames == 20
    found = [round(f.mean() / 8) for f in read_frames(tmp_path / name, [0, 3, 3, 4, 19])]
    assert found == [0, 3, 3, 4, 19]


def test_frames_that_vp8_hides_are_not_counted(tmp_path):
    import av

    container = av.open(str(tmp_path / "x.webm"), "w")
    stream = container.add_stream("libvpx", rate=12)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    stream.options = {"auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "5", "b": "300k"}
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for i in range(60):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(noise, i, 1)), format="rgb24")
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
    container.close()
    assert probe(tmp_path / "x.webm").num_frames == 60
    assert len(list(read_video(tmp_path / "x.webm", 0, 60))) == 60


def test_a_video_that_is_cut_off_says_so(tmp_path):
    rng = np.random.default_rng(0)
    write_video(tmp_path / "x.mkv", list(rng.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)))
    whole = (tmp_path / "x.mkv").read_bytes()
    (tmp_path / "y.mkv").write_bytes(whole[: len(whole) // 2])
    facts = probe(tmp_path / "y.mkv")
    assert 0 < facts.num_frames < 12
    with pytest.raises(SceneError, match="ends after|corrupt at|cannot be decoded"):
        list(read_frames(tmp_path / "y.mkv", range(12)))
    import av

    with av.open(str(tmp_path / "x.mkv")) as source:  # the index first, so that it survives the cut
        options = {"movflags": "faststart"}
        with av.open(str(tmp_path / "x.mp4"), "w", container_options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
    whole = (tmp_path / "x.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    facts, source = probe(tmp_path / "x.mp4"), VideoFiles({"cam03": tmp_path / "x.mp4"})
    assert 0 < facts.num_frames < facts.declared_frames == 12
    assert f"cam03: cut off: {facts.num_frames} of 12 frames are there" in source.notes(["cam03"])
    (tmp_path / "z.mp4").write_bytes(b"no video")
    with pytest.raises(SceneError, match="not a readable video"):
        probe(tmp_path / "z.mp4")
