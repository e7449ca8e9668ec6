"""Blocks and whole runs on a local S3 server, also while it fails: waited for, or stopped with one line and
resumed.
"""

import numpy as np
import pyarrow.fs as pafs
import pytest
from null_rig import NullRig
from s3_server import ENV, s3_server

from i4d.driver import events
from i4d.driver.retry import RetryPolicy
from i4d.errors import BlockError, ConfigError, StorageError
from i4d.exec.local import LocalExecutor
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import RemoteStore, open_store


@pytest.fixture(scope="module")
def s3():
    with pytest.MonkeyPatch.context() as patch:
        for key, value in ENV.items():
            patch.setenv(key, value)
        with s3_server() as server:
            yield server


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


def impatient(uri, patience_s):
    filesystem, base = pafs.FileSystem.from_uri(uri)
    return RemoteStore(filesystem, base, uri, patience_s)


def test_blocks_come_back_and_missing_ones_are_named(s3, tmp_path):
    store = open_store(s3.uri("blocks"))
    rows = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    ref = write_block(store, rows)
    assert np.array_equal(BlockReader(store, cache_dir=tmp_path).rows(ref.digest), rows)
    assert store.list("blocks") == [f"blocks/{ref.digest[:2]}/{ref.digest}.arrow"]
    with pytest.raises(BlockError, match="s3://i4d-tests/blocks/nothing: no such object"):
        store.get("nothing")


def test_a_store_that_fails_for_a_while_is_waited_for_and_tells(s3):
    store = impatient(s3.uri("while"), 30)
    s3.fail_for(2.5)
    store.put("a", b"x")
    assert store.get("a") == b"x" and s3.refused
    told = store.told()
    assert not told or "was waited for" in told[0]
    assert store.told() == ()


def test_a_store_that_stays_away_is_one_line(s3):
    store = impatient(s3.uri("gone"), 0.5)
    s3.fail_for(60)
    try:
        with pytest.raises(StorageError, match="cannot look for s3://i4d-tests/gone/a") as caught:
            store.exists("a")
        assert "\n" not in str(caught.value) and "endpoint_override" not in str(caught.value)
    finally:
        s3.fail_for(0)


def test_pauses_grow_and_end_with_the_patience():
    class Broken:
        type_name = "s3"

        def get_file_info(self, path):
            raise OSError("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation")

    now, pauses = [0.0], []

    def sleep(seconds):
        pauses.append(seconds)
        now[0] += seconds

    store = RemoteStore(Broken(), "bucket", "s3://bucket", 10.0, lambda: now[0], sleep)
    with pytest.raises(StorageError, match="after 6 tries in 8 s"):
        store.exists("a")
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0]


def test_what_waiting_does_not_cure_is_told_at_once(s3):
    store = impatient(s3.uri("x").replace("i4d-tests", "no-such-bucket"), 60)
    with pytest.raises(StorageError, match="NO_SUCH_BUCKET.*are bucket, keys and rights right"):
        store.put("a", b"x")


def test_keys_in_the_address_are_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="keys do not belong there") as caught:
        open_store("s3://AKIA123:very-secret@bucket/i4d")
    assert "very-secret" not in str(caught.value)


def on_s3(path, uri, fresh=True):
    return NullRig(path, fresh=fresh, storage=uri)


def test_a_run_on_s3_that_answers_500_in_the_middle_ends_with_the_same_digests(s3, tmp_path, executor):
    expected = NullRig(tmp_path / "folder").go(executor, 2)
    rig = on_s3(tmp_path / "bucket", s3.uri("run"))
    failed = []

    def fail(event):
        if isinstance(event, events.WindowStored) and not failed:
            failed.append(event)
            s3.fail_for(4)

    result = rig.go(executor, 2, [fail])
    assert failed and s3.refused and result.digest == expected.digest and result.renders == expected.renders


def test_a_run_whose_store_stays_away_stops_with_one_line_and_resumes(s3, tmp_path, executor, monkeypatch):
    expected = NullRig(tmp_path / "folder").go(executor, 2)
    monkeypatch.setattr("i4d.store.objects.PATIENCE_S", 0.3)
    rig = on_s3(tmp_path / "bucket", s3.uri("resumed"))

    def fail(event):
        if isinstance(event, events.WindowStored) and event.done == 3 and event.round == 1:
            s3.fail_for(120)

    with pytest.raises(StorageError, match="cannot .* s3://i4d-tests/resumed/.*resume") as caught:
        rig.go(executor, 2, [fail], policy=RetryPolicy(max_repeats=0))
    assert "\n" not in str(caught.value)
    assert isinstance(rig.events[-1], events.RunFailed) and rig.events[-1].kind == "storage"
    s3.fail_for(0)
    again = on_s3(tmp_path / "bucket", s3.uri("resumed"), fresh=False)
    result = again.go(executor, 2)
    assert result.digest == expected.digest
    stored = {e.task for e in rig.events if isinstance(e, events.WindowStored)}
    redone = {e.task for e in again.events if isinstance(e, events.WindowStored) and not e.reused}
    assert stored and not stored & redone
