"""A disk that really fills in the middle of a run: one line, nothing half-written, and a resume once there is
room.
"""

import os
import subprocess

import pytest
from null_rig import NullRig

from i4d.driver import events
from i4d.errors import StorageError
from i4d.exec.local import LocalExecutor


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "i4d-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def executor():
    executor = LocalExecutor(grace_s=60)
    yield executor
    executor.shutdown()


def test_a_disk_that_fills_stops_the_run_and_room_lets_it_resume(small_disk, tmp_path, executor):
    place = small_disk
    expected = NullRig(tmp_path / "roomy").go(executor, 1)
    rig = NullRig(tmp_path / "run", storage=str(place / "store"))
    filler = place / "filler"

    def fill(event):
        if isinstance(event, events.WindowStored) and event.done == 3 and event.round == 1:
            handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
            with pytest.raises(OSError, match="No space left"):
                while os.write(handle, bytes(4096)):
                    pass
            os.close(handle)

    with pytest.raises(StorageError, match="the disk is full .*free some space") as caught:
        rig.go(executor, 1, [fill])
    assert "\n" not in str(caught.value)
    executor.shutdown()  # waits for the window that was being written as the run ended
    assert not [p for p in (place / "store").rglob("*.tmp")]
    filler.unlink()
    again = NullRig(tmp_path / "run", fresh=False)
    assert again.go(executor, 1).digest == expected.digest
    done = [
        e.task
        for run in (rig, again)
        for e in run.events
        if isinstance(e, events.WindowStored) and not e.reused
    ]
    assert len(done) == len(set(done))
