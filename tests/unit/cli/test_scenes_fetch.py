"""Fetching a public scene from a local server: resumed, checked, unpacked safely."""

import http.server
import io
import re
import struct
import threading
import zipfile

import pytest

from i4d.errors import SceneError
from i4d.scenes.fetch import PublicScene, describe, download, fetch, public_scene, unpack


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files with HTTP ranges; `cut` breaks the next answer off after that many bytes."""

    cut = 0
    asked: list = []

    def do_GET(self):
        data = (self.server.root / self.path.strip("/")).read_bytes()
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.asked.append(start)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = start + Ranges.cut if Ranges.cut else len(data)
        Ranges.cut = 0
        self.wfile.write(data[start:stop])
        self.close_connection = True

    def do_HEAD(self):
        path = self.server.root / self.path.strip("/")
        self.send_response(200 if path.exists() else 404)
        self.send_header("Content-Length", str(path.stat().st_size if path.exists() else 0))
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    served.root = tmp_path / "served"
    served.root.mkdir()
    Ranges.asked.clear()
    Ranges.cut = 0
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def scene_at(server, *files):
    return PublicScene("toy", f"http://127.0.0.1:{server.server_port}", files, "CC0")


MEMBERS = {"toy_v1/cam00.mp4": b"a" * 5000, "toy_v1/poses_bounds.npy": b"b" * 300}
PLENTY = 1 << 40


def test_a_scene_is_described_fetched_and_unpacked(server, tmp_path):
    (server.root / "toy.zip").write_bytes(packed(MEMBERS))
    scene, seen = scene_at(server, "toy.zip"), []
    text = describe(scene, tmp_path)
    assert scene.urls[0] in text and "CC0" in text and "GB" in text
    place = fetch(scene, tmp_path, PLENTY, lambda done, total: seen.append((done, total)), lambda text: None)
    assert (place / "cam00.mp4").read_bytes() == MEMBERS["toy_v1/cam00.mp4"] and (
        place / "poses_bounds.npy"
    ).exists()
    assert seen[-1][0] == seen[-1][1] and not list((tmp_path / ".fetch").iterdir())
    assert fetch(scene, tmp_path, 0, lambda done, total: None, lambda text: None) == place, (
        "what is there is not fetched again"
    )


def test_a_broken_fetch_goes_on_where_it_ended(server, tmp_path):
    data = packed(MEMBERS)
    (server.root / "toy.zip").write_bytes(data)
    scene = scene_at(server, "toy.zip")
    Ranges.cut = 1000
    with pytest.raises(SceneError, match="run the same command again"):
        fetch(scene, tmp_path, PLENTY, lambda *_: None, lambda text: None)
    assert not (tmp_path / "toy").exists() and (tmp_path / ".fetch" / "toy.zip").stat().st_size == 1000
    fetch(scene, tmp_path, PLENTY, lambda *_: None, lambda text: None)
    assert Ranges.asked == [0, 1000] and (tmp_path / "toy" / "cam00.mp4").exists()


def test_a_file_longer_than_announced_is_not_taken(server, tmp_path):
    (server.root / "file").write_bytes(b"x" * 100)
    with pytest.raises(SceneError, match="100 of 60 bytes"):
        download(scene_at(server, "file").urls[0], tmp_path / "file", 60, lambda count: None)
    assert not (tmp_path / "file").exists()


def split(data: bytes, cut: int) -> tuple[bytes, bytes]:
    """Return an archive as zip would split it in two at `cut`, which lies before its last member."""
    end = data.rfind(b"PK\x05\x06")
    directory = struct.unpack("<I", data[end + 16 : end + 20])[0]
    out, at = bytearray(data), directory
    while data[at : at + 4] == b"PK\x01\x02":
        lengths = struct.unpack("<HHH", data[at + 28 : at + 34])
        offset = struct.unpack("<I", data[at + 42 : at + 46])[0]
        on_second = offset >= cut
        out[at + 34 : at + 36] = struct.pack("<H", int(on_second))
        out[at + 42 : at + 46] = struct.pack("<I", offset - cut if on_second else offset)
        at += 46 + sum(lengths)
    out[end + 4 : end + 8] = struct.pack("<HH", 1, 1)
    out[end + 16 : end + 20] = struct.pack("<I", directory - cut)
    return bytes(out[:cut]), bytes(out[cut:])


def test_a_split_archive_is_read_across_its_parts(server, tmp_path):
    members = {"toy/a.bin": bytes(range(256)) * 8, "toy/b.bin": b"second" * 90}
    data = packed(members)
    cut = data.find(b"PK\x03\x04", 10)
    for inside in (cut, 700):  # between two members, and within the first
        first, second = split(data, inside)
        (server.root / "toy.z01").write_bytes(first)
        (server.root / "toy.zip").write_bytes(second)
        root = tmp_path / str(inside)
        root.mkdir()
        place = fetch(
            scene_at(server, "toy.z01", "toy.zip"), root, PLENTY, lambda *_: None, lambda text: None
        )
        assert {p.name: p.read_bytes() for p in place.iterdir()} == {
            "a.bin": members["toy/a.bin"],
            "b.bin": members["toy/b.bin"],
        }


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "toy/../../outside.txt"])
def test_archives_that_would_write_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "bad.zip").write_bytes(packed({"toy/fine.txt": b"1", name: b"2"}))
    with pytest.raises(SceneError, match="outside its folder"):
        unpack([tmp_path / "bad.zip"], tmp_path / "data" / "toy")
    assert not (tmp_path / "data" / "toy").exists() and not (tmp_path / "outside.txt").exists()


def test_corrupt_archives_leave_no_scene(tmp_path):
    data = bytearray(packed(MEMBERS))
    data[200] ^= 255  # a byte of the first video: its checksum fails
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(SceneError, match="not a sound archive"):
        unpack([tmp_path / "bad.zip"], tmp_path / "toy")
    assert not (tmp_path / "toy").exists() and not list(tmp_path.glob(".toy*"))


def test_what_cannot_be_had_is_said_in_one_line(server, tmp_path):
    with pytest.raises(SceneError, match="coffee_martini"):
        public_scene("tea_martini")
    with pytest.raises(SceneError, match="cannot be reached"):
        describe(scene_at(server, "nothing.zip"), tmp_path)
    (server.root / "toy.zip").write_bytes(packed(MEMBERS))
    with pytest.raises(SceneError, match="are free"):
        fetch(scene_at(server, "toy.zip"), tmp_path, 100, lambda *_: None, lambda text: None)
    assert not list(tmp_path.glob(".fetch/*"))
