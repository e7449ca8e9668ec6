"""Where bytes lie: one small protocol over a local folder or a URI that pyarrow can open (s3://, gs://, file://).

An object is written whole or not at all. On a file system that means a temporary name in the same folder, fsync,
rename; object stores give it by themselves with one PUT. Keys are relative, with forward slashes.
"""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.fs as pafs

from i4d.errors import BlockError, ConfigError, I4DError

_FLAT = ("s3", "gcs", "abfs")  # file systems of pyarrow that have no folders to make

Bytes = bytes | bytearray | memoryview | pa.Buffer

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_DENIED = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a file stands where a folder is needed",
}


class ObjectStore(Protocol):
    """Named, immutable byte strings."""

    uri: str

    def put(self, key: str, data: Bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def list(self, prefix: str = "") -> list[str]: ...
    def delete(self, key: str) -> None: ...
    def local_path(self, key: str) -> Path | None:
        """Return where the object lies on this machine's file system, or None for a remote store."""
        ...


def write_error(path: object, err: OSError) -> I4DError:
    """Return the one-line error for a write that the operating system refused."""
    if err.errno in _FULL:
        return I4DError(f"cannot write {path}: {_FULL[err.errno]}", "free some space, or set storage_path elsewhere")
    if err.errno in _DENIED:
        return I4DError(f"cannot write {path}: {_DENIED[err.errno]}", "choose another folder")
    return I4DError(f"cannot write {path}: {err.strerror or err}")


def write_atomically(path: Path, data: Bytes) -> None:
    """Write a file so that it is seen complete or not at all, also after a power cut.

    Raises I4DError in one line naming the path when the disk is full or read-only; no temporary file remains.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as err:
        raise write_error(path, err) from err


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checked(key: str) -> str:
    parts = PurePosixPath(key).parts
    assert key and not key.startswith("/") and ".." not in parts, f"bad object key {key!r}"
    return key


class FolderStore:
    """Objects as files under one folder: the store of a single node or of a shared file system."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)

    def put(self, key: str, data: Bytes) -> None:
        write_atomically(self.root / _checked(key), data)

    def get(self, key: str) -> bytes:
        try:
            return (self.root / _checked(key)).read_bytes()
        except FileNotFoundError:
            raise BlockError(f"{self.root / key}: no such object in the store") from None

    def exists(self, key: str) -> bool:
        return (self.root / _checked(key)).is_file()

    def list(self, prefix: str = "") -> list[str]:
        folder = self.root / prefix
        found = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
        return sorted(p.relative_to(self.root).as_posix() for p in found)

    def delete(self, key: str) -> None:
        (self.root / _checked(key)).unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        return self.root / _checked(key)


class RemoteStore:
    """Objects behind a pyarrow file system (S3, Google Cloud Storage, HDFS ...). `base` is the path of the prefix."""

    def __init__(self, filesystem: pafs.FileSystem, base: str, uri: str) -> None:
        self.filesystem = filesystem
        self.base = base.rstrip("/")
        self.uri = uri

    def _path(self, key: str) -> str:
        return f"{self.base}/{_checked(key)}"

    def put(self, key: str, data: Bytes) -> None:
        try:
            if self.filesystem.type_name not in _FLAT:
                self.filesystem.create_dir(self._path(key).rpartition("/")[0], recursive=True)
            with self.filesystem.open_output_stream(self._path(key)) as stream:
                stream.write(data)
        except OSError as err:
            raise write_error(f"{self.uri}/{key}", err) from err

    def get(self, key: str) -> bytes:
        try:
            with self.filesystem.open_input_file(self._path(key)) as stream:
                return stream.read()
        except FileNotFoundError:
            raise BlockError(f"{self.uri}/{key}: no such object in the store") from None
        except OSError as err:
            raise BlockError(f"{self.uri}/{key}: cannot be read: {str(err).splitlines()[0]}") from err

    def exists(self, key: str) -> bool:
        return self.filesystem.get_file_info(self._path(key)).type == pafs.FileType.File

    def list(self, prefix: str = "") -> list[str]:
        where = f"{self.base}/{prefix}".rstrip("/")
        selector = pafs.FileSelector(where, recursive=True, allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(i.path[len(self.base) + 1 :] for i in infos if i.type == pafs.FileType.File)

    def delete(self, key: str) -> None:
        if self.exists(key):
            self.filesystem.delete_file(self._path(key))

    def local_path(self, key: str) -> Path | None:
        return None


def open_store(uri: str | Path) -> ObjectStore:
    """Return the store at a local folder or URI; ConfigError names an address that pyarrow cannot open."""
    text = str(uri)
    if "://" not in text:
        return FolderStore(text)
    if text.startswith("file://"):
        return FolderStore(unquote(urlparse(text).path))
    try:
        filesystem, base = pafs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as err:
        raise ConfigError(f"storage_path = {text}: {str(err).splitlines()[0]}") from err
    return RemoteStore(filesystem, base, text.rstrip("/"))
