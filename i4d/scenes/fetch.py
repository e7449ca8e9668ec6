"""Public scenes from their authors' releases: described before anything is fetched, resumable, checked,
unpacked safely.

Files are fetched into `<data root>/.fetch/` with HTTP ranges, so a broken connection costs nothing; an
archive's own checksums are tested as it is unpacked into a folder that gets the scene's name only when it is
complete.
"""

from __future__ import annotations

import io
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from i4d.errors import SceneError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

N3DV = "https://github.com/facebookresearch/Neural_3D_Video/releases/download/v1.0"
N3DV_LICENCE = "CC-BY-NC 4.0 (no commercial use); Neural 3D Video Synthesis, Li et al., CVPR 2022"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PublicScene:
    """Where a scene is published. Several files are the parts of one split archive, in order, the .zip
    last.
    """

    name: str
    base: str
    files: tuple[str, ...]
    licence: str

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"{self.base}/{name}" for name in self.files)


def _n3dv(name: str, *files: str) -> PublicScene:
    return PublicScene(name, N3DV, files or (f"{name}.zip",), N3DV_LICENCE)


PUBLIC = {
    scene.name: scene
    for scene in (
        _n3dv("coffee_martini"),
        _n3dv("cook_spinach"),
        _n3dv("cut_roasted_beef"),
        _n3dv("flame_steak"),
        _n3dv("sear_steak"),
        _n3dv("flame_salmon", *(f"flame_salmon_1_split.{end}" for end in ("z01", "z02", "z03", "zip"))),
    )
}


def public_scene(name: str) -> PublicScene:
    """Return a public scene; SceneError lists the known ones otherwise."""
    if name not in PUBLIC:
        raise SceneError(
            f"no public scene is called '{name}'",
            f"there are {', '.join(sorted(PUBLIC))}; the demo makes itself",
        )
    return PUBLIC[name]


def describe(scene: PublicScene, root: Path) -> str:
    """Return address, size, licence and destination as lines; SceneError where the release does not
    answer.
    """
    sizes = [size_of(url) for url in scene.urls]
    lines = [f"{url}  ({size / 1e9:.2f} GB)" for url, size in zip(scene.urls, sizes, strict=True)]
    into = f"into {root / scene.name} (about {2 * sum(sizes) / 1e9:.1f} GB while it is unpacked)"
    return "\n".join(
        [
            f"scene:   {scene.name}",
            *(f"from:    {line}" for line in lines),
            f"size:    {sum(sizes) / 1e9:.2f} GB, {into}",
            f"licence: {scene.licence}",
        ]
    )


def size_of(url: str) -> int:
    """Return the size in bytes that the server declares."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
            size = answer.headers.get("Content-Length")
    except (urllib.error.URLError, OSError) as err:
        raise SceneError(
            f"{url}: cannot be reached ({_reason(err)})", "check the network, or download it by hand"
        ) from err
    if size is None:
        raise SceneError(f"{url}: the server does not say how large it is", "download it by hand")
    return int(size)


def fetch(
    scene: PublicScene,
    root: Path,
    free_bytes: int,
    progress: Callable[[int, int], None],
    say: Callable[[str], None] = print,
) -> Path:
    """Fetch and unpack a scene; returns its folder. What is there already is not fetched again.

    SceneError: no room, no connection (run it again to go on), a file that is not what was announced, an
    unsafe archive.
    """
    place = root / scene.name
    if place.exists():
        say(f"{place} is there already")
        return place
    sizes = [size_of(url) for url in scene.urls]
    parts = [root / ".fetch" / name for name in scene.files]
    missing = sum(sizes) - sum(_stored(part) for part in parts)
    needed = missing + sum(sizes)
    if needed > free_bytes:
        raise SceneError(
            f"{root}: {free_bytes / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed",
            "choose another --data",
        )
    parts[0].parent.mkdir(parents=True, exist_ok=True)

    def told(before: int, count: int) -> None:
        progress(before + count, sum(sizes))

    done = 0
    for url, part, size in zip(scene.urls, parts, sizes, strict=True):
        download(url, part, size, partial(told, done))
        done += size
    say("unpacking")
    unpack(parts, place)
    for part in parts:
        part.unlink()
    return place


def _stored(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def download(url: str, path: Path, size: int, progress: Callable[[int], None]) -> None:
    """Bring a file to its full size, going on where an earlier attempt ended."""
    have = _stored(path)
    if have > size:
        path.unlink()
        have = 0
    if have == size:
        return progress(size)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, open(path, "ab") as file:
            if answer.status != 206:  # the server gives the whole file whatever was asked
                file.truncate(0)
                have = 0
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                progress(have)
    except (urllib.error.URLError, OSError) as err:
        where = f"{url}: broken off after {_stored(path) / 1e6:.1f} MB ({_reason(err)})"
        raise SceneError(where, "run the same command again: it goes on") from err
    if have != size:
        if have > size:
            path.unlink()
        raise SceneError(f"{url}: {have} of {size} bytes arrived", "run the same command again: it goes on")


class _Parts(io.RawIOBase):
    """Several files read as one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [open(path, "rb") for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self._size, self._at = sum(sizes), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not 0 <= self._at < self._size:
            return 0
        index = max(i for i, start in enumerate(self.starts) if start <= self._at)
        self._files[index].seek(self._at - self.starts[index])
        count = self._files[index].readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(parts: Sequence[Path], place: Path) -> None:
    """Unpack an archive (or the parts of a split one) so that `place` exists only when it is complete.

    A single top folder inside the archive is left out. SceneError for a corrupt archive or one that would
    write elsewhere.
    """
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    source = _Parts(parts)
    try:
        with zipfile.ZipFile(source) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(parts) > 1:
                _place_on_disks(archive, members, source.starts)
            names = [_safe_name(info, parts[-1]) for info in members]
            tops = {name.parts[0] for name in names}
            strip = len(tops) == 1 and all(len(name.parts) > 1 for name in names)
            for info, name in zip(members, names, strict=True):
                target = partial.joinpath(*name.parts[1 if strip else 0 :])
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file, CHUNK_BYTES)
        partial.rename(place)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as err:
        raise SceneError(
            f"{parts[-1]}: not a sound archive ({err})", f"remove {parts[-1].parent} and fetch it again"
        ) from err
    except OSError as err:
        raise SceneError(
            f"{place}: cannot be unpacked ({_reason(err)})",
            "free some space, then run the same command again",
        ) from err
    finally:
        source.close()
        shutil.rmtree(partial, ignore_errors=True)


def _place_on_disks(
    archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], starts: Sequence[int]
) -> None:
    """Correct where members begin: a split archive counts from the start of each part, zipfile from the last
    one's.
    """
    added = archive.start_dir - _directory_offset(archive)
    for info in members:
        info.header_offset += starts[info.volume] - added


def _directory_offset(archive: zipfile.ZipFile) -> int:
    """Return the offset of the central directory as the archive's end record gives it."""
    file = archive.fp
    assert file is not None
    size = file.seek(0, io.SEEK_END)
    begin = max(0, size - 65_557)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[at + 16 : at + 20], "little")


def _safe_name(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    linked = stat.S_ISLNK(info.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0] or linked:
        raise SceneError(
            f"{archive}: holds {info.filename!r}, which would be written outside its folder",
            "do not trust this archive",
        )
    return name


def _reason(err: Exception) -> str:
    return str(getattr(err, "reason", None) or getattr(err, "strerror", None) or err)
