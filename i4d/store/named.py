"""Objects that are found by a key instead of a digest: flow of the originals, and field checkpoints."""

from __future__ import annotations

import hashlib
import json

from i4d.errors import BlockError
from i4d.store.blocks import block_key
from i4d.store.names import checked_digest
from i4d.store.objects import Bytes, ObjectStore
from i4d.types import BlockRef


def put_named(store: ObjectStore, name: str, ref: BlockRef) -> None:
    """Record that `name` (such as `flow/<key>`) is the block `ref`. The block must be stored already."""
    tree = {
        "digest": ref.digest,
        "num_rows": ref.num_rows,
        "row_shape": list(ref.row_shape),
        "dtype": ref.dtype,
        "size_bytes": ref.size_bytes,
    }
    store.put(f"named/{name}.json", json.dumps(tree).encode())


def get_named(store: ObjectStore, name: str) -> BlockRef | None:
    """Return the block behind a name, or None if there is none (or the block itself is gone)."""
    key = f"named/{name}.json"
    if not store.exists(key):
        return None
    try:
        tree = json.loads(store.get(key))
        ref = BlockRef(
            tree["digest"], tree["num_rows"], tuple(tree["row_shape"]), tree["dtype"], tree["size_bytes"]
        )
    except (ValueError, KeyError, TypeError) as err:
        raise BlockError(f"{store.uri}/{key}: corrupt entry", str(err)) from err
    return ref if store.exists(block_key(ref.digest)) else None


def checkpoint_key(digest: str) -> str:
    """Return where a field checkpoint lies in a store; BlockError for a name that is no digest."""
    return f"checkpoints/{checked_digest(digest)}.safetensors"


def put_checkpoint(store: ObjectStore, data: Bytes) -> str:
    """Store the bytes of a checkpoint and return the digest that names it."""
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if not store.exists(checkpoint_key(digest)):
        store.put(checkpoint_key(digest), data)
    return digest


def get_checkpoint(store: ObjectStore, digest: str) -> bytes:
    """Return the bytes of a checkpoint; BlockError if it is missing or does not match its name."""
    data = store.get(checkpoint_key(digest))
    if hashlib.blake2b(data, digest_size=16).hexdigest() != digest:
        raise BlockError(
            f"{store.uri}/{checkpoint_key(digest)}: corrupt checkpoint: content does not match its name"
        )
    return data


def delete_checkpoint(store: ObjectStore, digest: str) -> None:
    """Remove a checkpoint that nothing refers to any more."""
    store.delete(checkpoint_key(digest))
