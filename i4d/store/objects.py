"""Where bytes lie: one small protocol over a local folder or a URI that pyarrow can open (s3://, gs://,
file://).

An object is written whole or not at all. On a file system that means a temporary name in the same folder,
fsync, rename; object stores give it by themselves with one PUT. Keys are relative, with forward slashes.
"""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.fs as pafs

from i4d.errors import BlockError, ConfigError, StorageError

PATIENCE_S = 60.0  # that a remote store may refuse or not answer before it counts as gone
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
# What waiting does not cure, in the words of pyarrow and of the services behind it.
_HOPELESS = re.compile(
    r"ACCESS_DENIED|AccessDenied|NO_SUCH_BUCKET|NoSuchBucket|INVALID_ACCESS_KEY"
    r"|SIGNATURE|HTTP status 40[0-35-79]"
)

_FLAT = ("s3", "gcs", "abfs")  # file systems of pyarrow that have no folders to make

Bytes: TypeAlias = "bytes | bytearray | memoryview | pa.Buffer"

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

    def told(self) -> tuple[str, ...]:
        """Return what is worth telling of the store since the last time it was asked."""
        ...


def write_error(path: object, err: OSError) -> StorageError:
    """Return the one-line error for a write that the operating system refused."""
    if err.errno in _FULL:
        return StorageError(
            f"cannot write {path}: {_FULL[err.errno]}", "free some space, or set storage_path elsewhere"
        )
    if err.errno in _DENIED:
        return StorageError(f"cannot write {path}: {_DENIED[err.errno]}", "choose another folder")
    return StorageError(f"cannot write {path}: {_first_line(err)}")


def write_atomically(path: Path, data: Bytes) -> None:
    """Write a file so that it is seen complete or not at all, also after a power cut.

    Raises StorageError in one line naming the path when the disk is full or read-only; no temporary file
    remains.
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
    if not key or key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise BlockError(f"an object of a store cannot be called {key!r}", "a relative path without '..'")
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
        folder = self.root / (_checked(prefix) if prefix else "")
        found = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
        return sorted(p.relative_to(self.root).as_posix() for p in found)

    def delete(self, key: str) -> None:
        (self.root / _checked(key)).unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        return self.root / _checked(key)

    def told(self) -> tuple[str, ...]:
        return ()


class RemoteStore:
    """Objects behind a pyarrow file system (S3, Google Cloud Storage, HDFS ...). `base` is the path of the
    prefix.

    A request that fails is repeated, with growing pauses, for `patience_s`; then StorageError. `told` says
    how long it was.
    """

    def __init__(
        self,
        filesystem: pafs.FileSystem,
        base: str,
        uri: str,
        patience_s: float | None = None,  # PATIENCE_S
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.filesystem = filesystem
        self.base = base.rstrip("/")
        self.uri = uri  # opens the store again; `_place` is the same without its options, for people
        self._place = uri.partition("?")[0].rstrip("/")
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._clock, self._sleep = clock, sleep
        self._told: list[str] = []

    def _path(self, key: str) -> str:
        return f"{self.base}/{_checked(key)}"

    def _patiently(self, verb: str, key: str, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; FileNotFoundError passes, other failures are waited out or become a
        StorageError.
        """
        began, pause, failed = self._clock(), _FIRST_PAUSE_S, 0
        while True:
            try:
                answer = work()
            except FileNotFoundError:
                raise
            except OSError as err:
                failed += 1
                waited = self._clock() - began
                if _HOPELESS.search(str(err)) or waited + pause > self._patience_s:
                    since = f" after {failed} tries in {waited:.0f} s" if failed > 1 else ""
                    hopeless = _HOPELESS.search(str(err))
                    hint = (
                        "are bucket, keys and rights right?"
                        if hopeless
                        else "when it is there again, `i4d resume` goes on"
                    )
                    raise StorageError(
                        f"cannot {verb} {self._place}/{key}{since}: {_first_line(err)}", hint
                    ) from err
                self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            if failed:
                self._told.append(
                    f"{self._place} failed {failed} times and was waited for "
                    f"{self._clock() - began:.1f} s ({verb})"
                )
            return answer

    def put(self, key: str, data: Bytes) -> None:
        def work() -> None:
            if self.filesystem.type_name not in _FLAT:
                self.filesystem.create_dir(self._path(key).rpartition("/")[0], recursive=True)
            with self.filesystem.open_output_stream(self._path(key)) as stream:
                stream.write(data)

        try:
            self._patiently("write", key, work)
        except FileNotFoundError as err:  # the bucket or share itself
            raise StorageError(
                f"cannot write {self._place}/{key}: {_first_line(err)}", "does the bucket or folder exist?"
            ) from err

    def get(self, key: str) -> bytes:
        def work() -> bytes:
            with self.filesystem.open_input_file(self._path(key)) as stream:
                return stream.read()

        try:
            return self._patiently("read", key, work)
        except FileNotFoundError:
            raise BlockError(f"{self._place}/{key}: no such object in the store") from None

    def exists(self, key: str) -> bool:
        return (
            self._patiently("look for", key, lambda: self.filesystem.get_file_info(self._path(key))).type
            == pafs.FileType.File
        )

    def list(self, prefix: str = "") -> list[str]:
        where = f"{self.base}/{prefix}".rstrip("/")
        selector = pafs.FileSelector(where, recursive=True, allow_not_found=True)
        infos = self._patiently("list", prefix, lambda: self.filesystem.get_file_info(selector))
        return sorted(i.path[len(self.base) + 1 :] for i in infos if i.type == pafs.FileType.File)

    def delete(self, key: str) -> None:
        if self.exists(key):
            try:
                self._patiently("delete", key, lambda: self.filesystem.delete_file(self._path(key)))
            except FileNotFoundError:  # somebody else was quicker
                return

    def local_path(self, key: str) -> Path | None:
        return None

    def told(self) -> tuple[str, ...]:
        out, self._told = tuple(self._told), []
        return out


def _first_line(err: OSError) -> str:
    text = err.strerror or str(err)
    return text.splitlines()[0] if text else type(err).__name__


def open_store(uri: str | Path) -> ObjectStore:
    """Return the store at a local folder or URI; ConfigError names an address that pyarrow cannot open."""
    text = str(uri)
    if "://" not in text:
        return FolderStore(text)
    if text.startswith("file://"):
        return FolderStore(unquote(urlparse(text).path))
    if urlparse(text).username is not None:  # it would end up in the run folder, in logs and in the dashboard
        secret = text.replace(urlparse(text).netloc.rpartition("@")[0] + "@", "...@")
        raise ConfigError(
            f"storage_path = {secret}: keys do not belong there",
            "use the environment, such as AWS_ACCESS_KEY_ID, or a role",
        )
    try:
        filesystem, base = pafs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as err:
        raise ConfigError(f"storage_path = {text}: {str(err).splitlines()[0]}") from err
    return RemoteStore(filesystem, base, text.rstrip("/"))
