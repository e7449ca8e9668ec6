"""The folder of one run: everything needed to read it, resume it or compare it.

config.yaml         the resolved configuration
plan.json           what will be done, with the digest that a resume must match
manifest-<r>.json   round r as committed; written last and whole, so a round is its manifest
journal.jsonl       a receipt per finished piece of work, on disk before the driver goes on
events.jsonl        what happened when, for people and plots
renders.json, metrics.json
lock, stop          one driver at a time; a file `stop` asks it to finish what it has in hand
store/              blocks and checkpoints, unless `storage_path` says otherwise
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from i4d.errors import BlockError, ConfigError, I4DError
from i4d.store.blocks import BlockReader, block_key, write_block
from i4d.store.named import checkpoint_key, delete_checkpoint
from i4d.store.objects import ObjectStore, open_store, write_atomically, write_error
from i4d.store.trust import absolute_storage, check_links, is_inside, remember_storage, storage_is_known
from i4d.types import BlockRef, FrameAddress

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Locks of the open file, not of the process: closing the file elsewhere in the process does not let go of
# them and, unlike those of flock, they can be asked for without being taken.
_SET, _ASK = fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK
_WRITE_LOCK = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock: the whole file
_MANIFEST = re.compile(r"manifest-(\d+)\.json")


def check_run_id(name: str) -> str:
    """Return the name of a run, or raise a ConfigError that says what a run may be called."""
    if not _RUN_ID.fullmatch(name):
        rule = "up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        raise ConfigError(f"a run cannot be called {name!r}", rule)
    return name


def _read_config(path: Path) -> dict:
    try:
        tree = yaml.safe_load((path / "config.yaml").read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path / 'config.yaml'}: not valid YAML", str(err).splitlines()[0]) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path / 'config.yaml'}: expected a mapping")
    return tree


def _without_cluster(tree: dict) -> dict:
    return {key: value for key, value in tree.items() if key != "cluster"}


def _ends_whole(path: Path) -> bool:
    """Return whether a file is empty or ends with a whole line."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class Lines:
    """A file of JSON lines that another process goes on writing; every call gives what was added since the
    last.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def more(self) -> list[dict]:
        """Return the whole lines that are new; a last line that is not at its end yet comes with a later
        call.
        """
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                lines = file.read()
        except FileNotFoundError:
            return []
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(_parsed(whole.splitlines()))


def _parsed(lines: Sequence[str | bytes]) -> Iterator[dict]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # cut off by a crash: the work it told of is done again
            continue


class RunFolder:
    """One run on disk. `create` makes it, `open` finds it again; both give its store."""

    def __init__(self, path: Path, storage: str | Path = "", trusted: bool = True) -> None:
        """`storage`: folder or URI of blocks and checkpoints, empty: inside the run. Opened when it is first
        needed, and only if it is `trusted`.
        """
        self.path = path
        self.storage = str(storage)
        self._trusted = trusted
        self._locked = False
        self._sizes: dict[str, int] = {}  # of files whose last line this process has written to its end

    @cached_property
    def store(self) -> ObjectStore:
        """Blocks and checkpoints; ConfigError where the run keeps them at a place that the user has never
        named.
        """
        self.require_trust()
        return open_store(self.storage or self.path / "store")

    def require_trust(self) -> None:
        """Raise ConfigError where the user has not named the place that the run keeps its blocks in."""
        if not self._trusted:
            raise ConfigError(
                f"{self.path} keeps its blocks in {self.storage}, which you have not named before",
                f"if you trust it: --storage-path {self.storage}, with resume, report, view, eval or render",
            )

    @cached_property
    def reader(self) -> BlockReader:
        """Reads the run's blocks."""
        return BlockReader(self.store)

    @property
    def keeps_its_own_store(self) -> bool:
        """Whether blocks and checkpoints lie inside the run folder, where no other run uses them."""
        return is_inside(self.storage, self.path)

    @staticmethod
    def create(path: str | Path, config: dict, storage_path: str = "") -> RunFolder:
        """Make a run folder with its resolved configuration; refuses a folder that is a run already.

        Where it was computed is not kept: that is for whoever goes on with it to say.
        """
        path = Path(path).absolute()
        check_run_id(path.name)
        if (path / "config.yaml").exists():
            raise ConfigError(
                f"{path} holds a run already", "choose another --out, or continue it with `i4d resume`"
            )
        run = RunFolder(path, storage_path)
        check_links(path)
        run.write_config(config)
        remember_storage(storage_path)
        return run

    @staticmethod
    def open(path: str | Path, storage_path: str = "") -> RunFolder:
        """Return an existing run; ConfigError if there is none, or one with links that lead out of it.

        A run that keeps its blocks elsewhere is read only where the user has named that place: as
        `storage_path` now, or with a run before.
        """
        path = Path(path).absolute()
        if not (path / "config.yaml").is_file():
            if not path.is_dir():
                raise ConfigError(f"{path}: no such run folder", "--out of `i4d edit` says where a run lies")
            raise ConfigError(f"{path} is not a run", "it has no config.yaml")
        check_links(path)
        stored = str(_read_config(path).get("storage_path") or "")
        if storage_path:
            storage_path = absolute_storage(storage_path)
            remember_storage(storage_path)
            return RunFolder(path, storage_path)
        return RunFolder(path, stored, storage_is_known(stored, path))

    def config(self) -> dict:
        """Return the resolved configuration as plain values; where to compute is no part of it."""
        return _without_cluster({**_read_config(self.path), "storage_path": self.storage})

    def write_config(self, config: dict) -> None:
        """Store the resolved configuration, with the run's own storage and nothing of where to compute."""
        tree = {**_without_cluster(config), "storage_path": self.storage}
        write_atomically(self.path / "config.yaml", yaml.safe_dump(tree, sort_keys=False).encode())

    def forget(self, rounds: Sequence[int], files: Sequence[str]) -> None:
        """Remove the manifests of some rounds, the last first, and other files of the run."""
        for name in [*(f"manifest-{index}.json" for index in sorted(rounds, reverse=True)), *files]:
            (self.path / name).unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------ whole files
    def write_json(self, name: str, tree: Any) -> None:
        """Write a JSON file of the run, whole or not at all."""
        write_atomically(self.path / name, (json.dumps(tree, indent=1) + "\n").encode())

    def read_json(self, name: str) -> Any | None:
        """Return what a JSON file of the run says, or None if there is none; BlockError if it is corrupt."""
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError as err:
            raise BlockError(f"{self.path / name}: not valid JSON", str(err)) from err

    def needed_json(self, name: str) -> Any:
        """Return what a JSON file of the run says; BlockError if there is none or it is corrupt."""
        found = self.read_json(name)
        if found is None:
            raise BlockError(f"{self.path / name}: missing, though the run needs it")
        return found

    def write_manifest(self, round_index: int, tree: dict) -> None:
        """Commit a round: everything it names is stored before this is called."""
        self.write_json(f"manifest-{round_index}.json", tree)

    def committed(self) -> list[int]:
        """Return the indices of the committed rounds, in order; 0 is the reconstruction. Reads no
        manifest.
        """
        found = (_MANIFEST.fullmatch(p.name) for p in self.path.iterdir())
        return sorted(int(m[1]) for m in found if m)

    def manifests(self) -> dict[int, dict]:
        """Return the committed rounds, by index."""
        return {index: self.needed_json(f"manifest-{index}.json") for index in self.committed()}

    # ------------------------------------------------------------------------------------------ line by line
    def append(self, *records: dict) -> None:
        """Add a line of each to the journal; they are on disk when this returns."""
        self._append_lines("journal.jsonl", records, sync=True)

    def records(self) -> list[dict]:
        """Return the journal. A last line that was cut off by a crash does not count."""
        return list(self._lines("journal.jsonl"))

    def append_event(self, tree: dict) -> None:
        """Add a line to events.jsonl."""
        self._append_lines("events.jsonl", [tree], sync=False)

    def events(self) -> list[dict]:
        """Return the events so far, as plain values."""
        return list(self._lines("events.jsonl"))

    def _append_lines(self, name: str, trees: Sequence[dict], sync: bool) -> None:
        path = self.path / name
        try:
            with open(path, "ab", buffering=0) as file:
                lines = b"".join(json.dumps(tree).encode() + b"\n" for tree in trees)
                size = os.fstat(file.fileno()).st_size
                if size != self._sizes.get(name) and not _ends_whole(path):
                    lines = b"\n" + lines  # a line cut off by a crash must not swallow this one
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if sync:
                    os.fsync(file.fileno())
                self._sizes[name] = size + len(lines)
        except OSError as err:
            raise write_error(path, err) from err

    def _lines(self, name: str) -> Iterator[dict]:
        path = self.path / name
        if not path.exists():
            return
        yield from _parsed(path.read_text().splitlines())

    # ------------------------------------------------------------------------------------------ stored things
    def stored(self, digest: str) -> bool:
        """Return whether a block is in the store."""
        return self.store.exists(block_key(digest))

    def has_checkpoint(self, digest: str) -> bool:
        """Return whether a field checkpoint is in the store."""
        return self.store.exists(checkpoint_key(digest))

    def drop_checkpoint(self, digest: str) -> None:
        """Remove a checkpoint that no manifest needs."""
        delete_checkpoint(self.store, digest)

    def gather(self, addresses: Sequence[FrameAddress], as_frames: bool = False) -> BlockRef:
        """Return one block whose rows are the addressed ones (such as a depth image per view).

        `as_frames`: rounded to uint8 sRGB, as frames lie at rest.
        """
        if not as_frames:
            return write_block(self.store, self.reader.rows_of(addresses))
        pixels = self.reader.images(addresses).clip(0, 1)
        return write_block(self.store, (pixels * 255).round().astype("uint8"))

    def share_of(self, addresses: Sequence[FrameAddress]) -> float:
        """Return the mean of uint8 rows over full scale, in [0, 1]: how much of the pictures masks cover."""
        return float(
            sum(self.reader.row(address).mean() for address in addresses) / (255 * max(1, len(addresses)))
        )

    # ------------------------------------------------------------------------------------------ control
    def request_stop(self) -> None:
        """Ask the driver of this run to finish what it has in hand and end."""
        write_atomically(self.path / "stop", b"")

    def stop_requested(self) -> bool:
        """Return whether `request_stop` was called since the last `clear_stop` (taking the lock is one)."""
        return (self.path / "stop").exists()

    def clear_stop(self) -> None:
        """Forget a request to stop."""
        (self.path / "stop").unlink(missing_ok=True)

    def driven(self) -> bool:
        """Return whether a driver holds this run's lock at this moment."""
        return held(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one driver; I4DError names the process that has it. A dead driver holds nothing.

        A request to stop from before does not count. Who has the lock by this object may take it again: then
        nothing happens.
        """
        if self._locked:
            yield
            return
        with locked(self.path):
            self.clear_stop()
            self._locked = True
            try:
                yield
            finally:
                self._locked = False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process, by a file `lock` in it; I4DError names the process that has it. A dead
    process holds nothing.
    """
    with os.fdopen(_opened(folder / "lock", os.O_RDWR | os.O_CREAT), "r+") as file:
        try:
            fcntl.fcntl(file, _SET, _WRITE_LOCK)
        except (BlockingIOError, PermissionError):
            raise I4DError(
                f"{folder} is being driven by {file.read().strip() or 'another process'}"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def held(folder: Path) -> bool:
    """Return whether a process holds a folder at this moment. It is asked without taking the lock, so asking
    never keeps a driver from it.
    """
    try:
        handle = _opened(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(handle, _ASK, _WRITE_LOCK)
    finally:
        os.close(handle)
    return struct.unpack_from("h", found)[0] != fcntl.F_UNLCK


def _opened(path: Path, flags: int) -> int:
    """Open a file of a run that is no link: whoever wrote the run could have pointed it anywhere."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise ConfigError(f"{path} is a link", "a run keeps its files in its own folder") from None
        raise
