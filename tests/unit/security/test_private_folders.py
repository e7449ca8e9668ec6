"""Caches are the user's own: whatever somebody else could have put there is refused or fetched anew."""

import os
import shutil

import numpy as np
import pyarrow.fs as pafs
import pytest

from i4d.errors import StorageError
from i4d.store import private
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import FolderStore, RemoteStore


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A store that is reached over a file system object, as S3 is, and a cache home of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return RemoteStore(pafs.LocalFileSystem(), str(tmp_path / "bucket"), "test://bucket")


@pytest.fixture
def block(remote):
    rows = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    return rows, write_block(remote, rows)


def test_the_cache_is_made_for_the_user_alone(remote, block, tmp_path):
    rows, ref = block
    assert np.array_equal(BlockReader(remote).rows(ref.digest), rows)
    place = tmp_path / "home" / "i4d" / "blocks"
    assert place.stat().st_mode & 0o777 == 0o700 and (place / f"{ref.digest}.arrow").is_file()


def test_without_a_home_the_cache_carries_the_users_number(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "locked"))
    monkeypatch.setattr(private.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    plain = private.own_folder

    def no_home(path):
        if str(path).startswith(str(tmp_path / "locked")):
            raise PermissionError(13, "no")
        return plain(path)

    monkeypatch.setattr(private, "own_folder", no_home)
    assert private.cache_folder("blocks") == tmp_path / "tmp" / f"i4d-{os.getuid()}" / "blocks"


def planted(place, how, monkeypatch):
    if how == "link":
        (place.parent / "theirs").mkdir(parents=True)
        place.symlink_to(place.parent / "theirs")
        return
    place.mkdir(parents=True)
    place.chmod(0o777 if how == "open" else 0o700)
    if how == "another user":
        monkeypatch.setattr(private.os, "getuid", lambda: place.stat().st_uid + 1)


@pytest.mark.parametrize(
    "how, told", [("open", "open to other users"), ("link", "a link"), ("another user", "another user")]
)
def test_a_planted_cache_is_refused_in_one_line(how, told, remote, block, tmp_path, monkeypatch):
    planted(tmp_path / "home" / "i4d" / "blocks", how, monkeypatch)
    with pytest.raises(StorageError, match=told) as caught:
        BlockReader(remote).rows(block[1].digest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["other bytes", "no block", "link"])
def test_what_a_cache_holds_is_checked_when_a_process_first_opens_it(how, remote, block, tmp_path):
    rows, ref = block
    cache = private.own_folder(tmp_path / "mine" / "blocks")
    file, other = cache / f"{ref.digest}.arrow", tmp_path / "other"
    if how == "no block":
        file.write_bytes(b"nothing of the kind")
    else:
        written = write_block(FolderStore(other), 255 - rows)
        source = other / "blocks" / written.digest[:2] / f"{written.digest}.arrow"
        file.symlink_to(source) if how == "link" else shutil.copy(source, file)
    reader = BlockReader(remote, cache_dir=cache)
    assert np.array_equal(reader.rows(ref.digest), rows)
    assert not file.is_symlink()
    again = BlockReader(remote, cache_dir=cache)
    assert np.array_equal(again.rows(ref.digest), rows)


def test_files_are_checked_once_a_process_not_at_every_opening(remote, block, tmp_path, monkeypatch):
    from i4d.store import blocks

    cache, hashed = tmp_path / "mine" / "blocks", []
    plain = blocks.digest_of
    monkeypatch.setattr(blocks, "digest_of", lambda rows: hashed.append(1) or plain(rows))
    for _ in range(3):
        BlockReader(remote, cache_dir=cache).rows(block[1].digest)
    assert len(hashed) == 1
