"""Blocks: the immutable arrays that frames, depth and flow are kept in.

A block is one Arrow IPC file with a single column of fixed-size binaries, one row per frame; dtype and row
shape stand in the schema's metadata. Its name is the blake2b digest of dtype, shape and pixels, so equal
content has one name on every machine and with every version of Arrow. Readers map files into memory: no copy
until used.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from i4d.errors import BlockError
from i4d.store.names import checked_digest
from i4d.store.objects import ObjectStore, write_atomically
from i4d.store.private import cache_folder, own_folder
from i4d.types import BlockRef, FrameAddress

DTYPES = ("uint8", "float16", "float32")
_VERIFIED: dict[Path, set[str]] = {}  # by cache folder: the blocks that this process has checked
_OPEN_BLOCKS = 512  # mappings kept per reader: each costs address space and one file handle at most


def block_key(digest: str) -> str:
    """Return where a block lies in a store; BlockError for a name that is no digest."""
    return f"blocks/{checked_digest(digest)[:2]}/{digest}.arrow"


def digest_of(array: np.ndarray) -> str:
    """Return the 128-bit hex digest that names an array's content (dtype, shape and bytes)."""
    array = np.ascontiguousarray(array)
    hasher = hashlib.blake2b(f"{array.dtype.name}|{array.shape}|".encode(), digest_size=16)
    hasher.update(array.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def write_block(store: ObjectStore, array: np.ndarray) -> BlockRef:
    """Store an array (row, ...) of uint8, float16 or float32 and return its reference; writing it twice costs
    once. ValueError for an array that no block can hold.
    """
    if array.ndim < 1 or array.size == 0:
        raise ValueError(f"a block needs rows, got shape {array.shape}")
    if array.dtype.name not in DTYPES:
        raise ValueError(f"a block holds {', '.join(DTYPES)}, got {array.dtype}")
    array = np.ascontiguousarray(array)
    digest = digest_of(array)
    ref = BlockRef(digest, array.shape[0], tuple(array.shape[1:]), array.dtype.name, array.nbytes)
    if not store.exists(block_key(digest)):
        store.put(block_key(digest), _encode(array))
    return ref


def _encode(array: np.ndarray) -> pa.Buffer:
    row_bytes = array.nbytes // array.shape[0]
    shape = ",".join(map(str, array.shape[1:]))
    kind = pa.binary(row_bytes)
    column = pa.FixedSizeBinaryArray.from_buffers(kind, len(array), [None, pa.py_buffer(array)])
    schema = pa.schema([pa.field("row", kind, False)], {"dtype": array.dtype.name, "row_shape": shape})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    return sink.getvalue()


def _decode(source: pa.NativeFile, place: str) -> np.ndarray:
    try:
        reader = pa.ipc.open_file(source)
        meta = reader.schema.metadata
        dtype = np.dtype(meta[b"dtype"].decode())
        shape = tuple(int(n) for n in meta[b"row_shape"].decode().split(",") if n)
        batch = reader.get_batch(0)
        column = batch.column(0)
        rows = np.frombuffer(
            column.buffers()[1], dtype, count=len(column) * int(np.prod(shape, dtype=np.int64))
        )
        rows = rows.reshape(len(column), *shape)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, IndexError) as err:
        raise BlockError(f"{place}: corrupt block", str(err).splitlines()[0] if str(err) else "") from err
    rows.flags.writeable = False
    return rows


class BlockReader:
    """Reads blocks by digest as read-only arrays mapped into memory.

    Local stores are mapped in place. Blocks of remote stores are copied once into `cache_dir` (None: the
    user's own cache of this machine), checked against their digest as they come and whenever a process opens
    one for the first time; the least recently used are removed beyond `cache_bytes`. Several processes of a
    user may share it; a folder that others could write into is refused.
    """

    def __init__(
        self,
        store: ObjectStore,
        cache_bytes: int = 8 << 30,
        cache_dir: str | Path | None = None,
        verify: bool = False,
    ) -> None:
        self.store = store
        self.cache_bytes = cache_bytes
        self._cache_dir = Path(cache_dir) if cache_dir else None
        self._checked_cache: Path | None = None  # the same, once it was seen to be the user's own
        self.verify = verify
        self._open: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()  # of `_open`: a viewer's threads share a reader

    def rows(self, digest: str) -> np.ndarray:
        """Return all rows (row, ...) of a block, read-only; BlockError names a missing or corrupt one."""
        with self._lock:
            if digest in self._open:
                self._open.move_to_end(digest)
                return self._open[digest]
        local = self.store.local_path(block_key(digest))
        path = self._cached(digest) if local is None else local
        try:
            source = pa.memory_map(str(path))
        except FileNotFoundError:
            raise BlockError(f"{path}: block is missing from the store") from None
        except (OSError, pa.ArrowException) as err:
            raise BlockError(f"{path}: block cannot be read", str(err).splitlines()[0]) from err
        rows = _decode(source, str(path))
        if self.verify and digest_of(rows) != digest:
            raise BlockError(f"{path}: corrupt block: its content does not match its name")
        with self._lock:
            self._open[digest] = rows
            while len(self._open) > _OPEN_BLOCKS:
                self._open.popitem(last=False)
        return rows

    def row(self, address: FrameAddress) -> np.ndarray:
        """Return one row of one block, read-only, without its leading axis."""
        rows = self.rows(address.digest)
        if not 0 <= address.row < len(rows):
            raise BlockError(f"block {address.digest}: has {len(rows)} rows, row {address.row} was asked for")
        return rows[address.row]

    def rows_of(self, addresses: Sequence[FrameAddress]) -> np.ndarray:
        """Return a new array with the addressed rows stacked, all of one shape and dtype."""
        rows = [self.row(a) for a in addresses]
        if len({(r.shape, r.dtype) for r in rows}) > 1:
            raise BlockError("blocks of different shape or dtype were asked for together")
        return np.stack(rows)

    def images(self, addresses: Sequence[FrameAddress]) -> np.ndarray:
        """Return the addressed frames as float32 in [0, 1], whether they lie as uint8 sRGB or as floats."""
        out = [self.row(a) for a in addresses]
        return np.stack(
            [r.astype(np.float32) / 255 if r.dtype == np.uint8 else r.astype(np.float32) for r in out]
        )

    def ref(self, digest: str) -> BlockRef:
        """Return the reference of a stored block, read from the block itself."""
        rows = self.rows(digest)
        return BlockRef(digest, rows.shape[0], tuple(rows.shape[1:]), rows.dtype.name, rows.nbytes)

    @property
    def cache_dir(self) -> Path:
        """The folder that blocks of a remote store are copied into; StorageError where it is not the user's
        own.
        """
        if self._checked_cache is None:
            given = self._cache_dir
            self._checked_cache = cache_folder("blocks") if given is None else own_folder(given)
        return self._checked_cache

    def _cached(self, digest: str) -> Path:
        path = self.cache_dir / f"{digest}.arrow"
        if digest in _VERIFIED.get(self.cache_dir, ()) and path.exists():
            os.utime(path)
            return path
        if not self._holds_what_it_says(path, digest):
            data = self.store.get(block_key(digest))
            if digest_of(_decode(pa.BufferReader(data), f"{self.store.uri}/{block_key(digest)}")) != digest:
                raise BlockError(
                    f"{self.store.uri}/{block_key(digest)}: corrupt block: content does not match its name"
                )
            self._make_room(len(data))
            write_atomically(path, data)
        _VERIFIED.setdefault(self.cache_dir, set()).add(digest)
        return path

    @staticmethod
    def _holds_what_it_says(path: Path, digest: str) -> bool:
        """Return whether a file of the cache is the block that its name says: one that is not is fetched
        anew.
        """
        if path.is_symlink() or not path.is_file():
            path.unlink(missing_ok=True)
            return False
        try:
            good = digest_of(_decode(pa.memory_map(str(path)), str(path))) == digest
        except (BlockError, OSError, pa.ArrowException):
            good = False
        if good:
            os.utime(path)
        else:
            path.unlink(missing_ok=True)
        return good

    def _make_room(self, size_bytes: int) -> None:
        """Remove the least recently used blocks so that `size_bytes` more fit; open mappings stay
        readable.
        """
        stats = []
        for path in self.cache_dir.glob("*.arrow"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process of this node has just removed it
                continue
            stats.append((stat.st_mtime, stat.st_size, path))
        used = sum(size for _, size, _ in stats)
        for _, size, path in sorted(stats):
            if used + size_bytes <= self.cache_bytes:
                break
            path.unlink(missing_ok=True)
            used -= size
