"""Blocks come back as they were written, are named by content, and say in one line when they are broken."""

import os
import pickle
import subprocess

import numpy as np
import pyarrow.fs as pafs
import pytest

from i4d.errors import BlockError, ConfigError, I4DError
from i4d.store.blocks import BlockReader, block_key, digest_of, write_block
from i4d.store.named import checkpoint_key, get_checkpoint, get_named, put_checkpoint, put_named
from i4d.store.objects import FolderStore, RemoteStore, open_store
from i4d.types import FrameAddress


def remote(folder):
    """A store that behaves like an object store: no local paths."""
    folder.mkdir()
    return RemoteStore(
        pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem()), "run", "test://bucket/run"
    )


@pytest.fixture(params=["folder", "remote"])
def store(request, tmp_path):
    return FolderStore(tmp_path / "store") if request.param == "folder" else remote(tmp_path / "remote")


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (7, 5), (4,)])
def test_a_block_comes_back_as_it_was(store, tmp_path, dtype, shape):
    array = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    ref = write_block(store, array)
    rows = BlockReader(store, cache_dir=tmp_path / "cache", verify=True).rows(ref.digest)
    assert rows.dtype == array.dtype and np.array_equal(rows, array)
    assert not rows.flags.writeable
    with pytest.raises(ValueError):
        rows[0] = 0
    assert (ref.num_rows, ref.row_shape, ref.dtype, ref.size_bytes) == (
        shape[0],
        shape[1:],
        dtype,
        array.nbytes,
    )
    assert BlockReader(store, cache_dir=tmp_path / "cache").ref(ref.digest) == ref


def test_the_name_follows_from_content_shape_and_dtype_only():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert digest_of(array) == digest_of(np.asfortranarray(array))
    others = [array.reshape(2, 4, 3), array.astype(np.float16), array[::-1]]
    assert len({digest_of(array), *map(digest_of, others)}) == 4


def test_rows_are_addressed_one_by_one(store, tmp_path):
    a = np.arange(6, dtype=np.uint8).reshape(3, 2)
    b = np.arange(6, 10, dtype=np.uint8).reshape(2, 2)
    refs = [write_block(store, x).digest for x in (a, b)]
    reader = BlockReader(store, cache_dir=tmp_path / "cache")
    got = reader.rows_of([FrameAddress(refs[1], 1), FrameAddress(refs[0], 2)])
    assert np.array_equal(got, [b[1], a[2]])
    assert np.allclose(reader.images([FrameAddress(refs[0], 2)]), a[2] / np.float32(255))
    with pytest.raises(BlockError, match="has 3 rows, row 3"):
        reader.row(FrameAddress(refs[0], 3))


def test_local_blocks_are_mapped_not_read(tmp_path):
    store = FolderStore(tmp_path)
    rows = BlockReader(store).rows(write_block(store, np.zeros((64, 1 << 20), np.uint8)).digest)
    with open("/proc/self/maps") as maps:
        assert any(str(tmp_path) in line for line in maps)
    assert rows.shape == (64, 1 << 20)


def test_the_cache_of_a_remote_store_stays_within_its_size(tmp_path):
    store = remote(tmp_path / "remote")
    arrays = [np.full((1, 1000), i, np.uint8) for i in range(6)]
    digests = [write_block(store, a).digest for a in arrays]
    reader = BlockReader(store, cache_bytes=5000, cache_dir=tmp_path / "cache")
    for array, digest in zip(arrays, digests, strict=True):
        assert np.array_equal(reader.rows(digest), array)
        assert sum(p.stat().st_size for p in (tmp_path / "cache").iterdir()) <= 5000
    assert np.array_equal(reader.rows(digests[0]), arrays[0])  # its file is gone, its mapping is not


def test_a_missing_block_is_one_line(store, tmp_path):
    with pytest.raises(BlockError, match="missing|no such") as caught:
        BlockReader(store, cache_dir=tmp_path / "cache").rows("0" * 32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_block_is_one_line(store, tmp_path, damage):
    digest = write_block(store, np.ones((3, 100), np.uint8)).digest
    store.put(block_key(digest), damage(store.get(block_key(digest))))
    with pytest.raises(BlockError) as caught:
        BlockReader(store, cache_dir=tmp_path / "cache").rows(digest)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_when_verifying(store, tmp_path):
    digest = write_block(store, np.ones((3, 1000), np.uint8)).digest
    data = bytearray(store.get(block_key(digest)))
    data[data.index(b"\x01" * 1000) + 500] ^= 1
    store.put(block_key(digest), data)
    with pytest.raises(BlockError, match="does not match"):
        BlockReader(store, cache_dir=tmp_path / "cache", verify=True).rows(digest)


def test_names_point_to_blocks(store):
    assert get_named(store, "flow/abc") is None
    ref = write_block(store, np.ones((2, 4, 4, 2), np.float16))
    put_named(store, "flow/abc", ref)
    assert get_named(store, "flow/abc") == ref
    store.delete(block_key(ref.digest))
    assert get_named(store, "flow/abc") is None


def test_checkpoints_are_checked_against_their_name(store):
    digest = put_checkpoint(store, b"weights")
    assert get_checkpoint(store, digest) == b"weights" and put_checkpoint(store, b"weights") == digest
    store.put(checkpoint_key(digest), b"weightz")
    with pytest.raises(BlockError, match="corrupt checkpoint"):
        get_checkpoint(store, digest)


def test_list_and_delete(store):
    assert store.list("blocks") == []
    for key in ("blocks/aa/1", "blocks/bb/2", "other"):
        store.put(key, b"x")
    assert store.list("blocks") == ["blocks/aa/1", "blocks/bb/2"]
    store.delete("blocks/aa/1")
    store.delete("blocks/aa/1")
    assert store.list() == ["blocks/bb/2", "other"]


def test_an_address_that_cannot_be_opened_names_the_key():
    with pytest.raises(ConfigError, match="storage_path = nosuch://x"):
        open_store("nosuch://x")
    assert open_store("file:///tmp/a%20b").uri == "/tmp/a b"


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(I4DError, match="a file stands where a folder is needed") as caught:
        FolderStore(tmp_path / "file").put("a/b", b"x")
    assert "\n" not in str(caught.value)


@pytest.fixture
def tiny_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mount = tmp_path / "tiny"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tiny_disk):
    store = FolderStore(tiny_disk)
    kept = write_block(store, np.ones((1, 50_000), np.uint8))
    with pytest.raises(I4DError, match="the disk is full") as caught:
        write_block(store, np.full((4, 100_000), 2, np.uint8))
    assert str(tiny_disk) in str(caught.value) and "\n" not in str(caught.value)
    files = [p for p in tiny_disk.rglob("*") if p.is_file()]
    assert files == [store.local_path(block_key(kept.digest))]


def test_references_cross_processes(store):
    ref = write_block(store, np.ones((2, 3), np.uint8))
    assert pickle.loads(pickle.dumps(ref)) == ref
