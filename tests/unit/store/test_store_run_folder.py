"""The run folder: written whole, readable after a crash, held by one driver at a time."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from i4d.errors import BlockError, ConfigError, I4DError
from i4d.store.blocks import write_block
from i4d.store.named import put_checkpoint
from i4d.store.run_folder import Lines, RunFolder, check_run_id
from i4d.types import FrameAddress


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", {"seed": 3})


def test_a_run_is_found_again(folder, tmp_path):
    digest = write_block(folder.store, np.ones((1, 2), np.uint8)).digest
    again = RunFolder.open(folder.path)
    assert again.config()["seed"] == 3 and again.stored(digest)
    elsewhere = RunFolder.create(tmp_path / "other", {"seed": 3}, str(tmp_path / "storage"))
    put_checkpoint(elsewhere.store, b"x")
    assert RunFolder.open(elsewhere.path).store.uri == str(tmp_path / "storage")
    assert not (elsewhere.path / "store").exists()


def test_a_run_is_never_written_over(folder):
    with pytest.raises(ConfigError, match="holds a run already .*i4d resume"):
        RunFolder.create(folder.path, {})


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is not a run"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "x" * 65, "-dash", "a/b"])
def test_run_ids(name):
    with pytest.raises(ConfigError, match="cannot be called"):
        check_run_id(name)
    assert check_run_id("demo-2.van_gogh") == "demo-2.van_gogh"


def test_a_journal_outlives_a_line_that_was_cut_off(folder):
    folder.append({"id": 1})
    with open(folder.path / "journal.jsonl", "a") as file:
        file.write('{"id": 2, "rece')
    assert [r["id"] for r in folder.records()] == [1]
    folder.append({"id": 3})
    assert [r["id"] for r in RunFolder.open(folder.path).records()] == [1, 3]


def test_manifests_come_by_round(folder):
    for index in (0, 10, 2):
        folder.write_manifest(index, {"round": index})
    assert list(folder.manifests()) == [0, 2, 10] == folder.committed()
    assert not [p for p in folder.path.iterdir() if p.name.endswith(".tmp")]


def test_a_corrupt_file_is_one_line(folder):
    (folder.path / "plan.json").write_text("{")
    with pytest.raises(BlockError, match="plan.json: not valid JSON") as caught:
        folder.read_json("plan.json")
    assert "\n" not in str(caught.value) and folder.read_json("absent.json") is None


def test_a_file_that_is_needed_and_gone_is_one_line(folder):
    folder.write_json("scene.json", {"name": "demo"})
    assert folder.needed_json("scene.json") == {"name": "demo"}
    (folder.path / "scene.json").unlink()
    with pytest.raises(BlockError, match="scene.json: missing"):
        folder.needed_json("scene.json")


def test_stop_is_asked_for_and_forgotten(folder):
    assert not folder.stop_requested()
    RunFolder.open(folder.path).request_stop()
    assert folder.stop_requested()
    folder.clear_stop()
    assert not folder.stop_requested()
    folder.request_stop()
    with folder.lock():
        assert not folder.stop_requested(), "asked of a driver that is gone"
        folder.request_stop()
        with folder.lock():
            assert folder.stop_requested(), "asked while the run was being prepared"


def test_lines_come_once_and_whole(tmp_path):
    lines = Lines(tmp_path / "x.jsonl")
    assert lines.more() == []
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\nnot json\n{"b"')
    assert lines.more() == [{"a": 1}] and lines.more() == []
    with open(tmp_path / "x.jsonl", "ab") as file:
        file.write(': "é"}\n'.encode())
    assert lines.more() == [{"b": "é"}] and lines.more() == []


HOLD = """
import sys
from i4d.store.run_folder import RunFolder
with RunFolder.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_lock_holds_between_processes_and_dies_with_its_holder(folder):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(I4DError, match=f"is being driven by process {holder.pid} on"), folder.lock():
            raise AssertionError("two drivers")
        holder.kill()
    assert not folder.driven()
    with folder.lock():
        assert folder.driven() and RunFolder.open(folder.path).driven()
        with folder.lock():
            pass
        assert folder.driven(), "who takes it again does not let it go"
    assert not folder.driven()


def test_gather_stacks_rows_and_rounds_frames(folder):
    a = np.array([[0.0, 1.0], [0.5, 0.25]], np.float16)
    digest = write_block(folder.store, a).digest
    ref = folder.gather([FrameAddress(digest, 1), FrameAddress(digest, 0)])
    assert np.array_equal(folder.reader.rows(ref.digest), a[::-1])
    frames = folder.gather([FrameAddress(digest, 1)], as_frames=True)
    assert folder.reader.rows(frames.digest).tolist() == [[128, 64]] and frames.dtype == "uint8"


def test_events_are_lines_of_json(folder):
    folder.append_event({"event": "x"})
    assert json.loads((folder.path / "events.jsonl").read_text()) == {"event": "x"} == folder.events()[0]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(I4DError, match="a file stands where a folder is needed") as caught:
        RunFolder.create(tmp_path / "file" / "run", {})
    assert "\n" not in str(caught.value)


def test_asking_who_holds_a_run_never_keeps_a_driver_from_it(folder):
    """Four threads and a process ask all the time; the lock is taken 500 times."""
    over, answers = threading.Event(), {True: 0, False: 0}

    def ask():
        while not over.is_set():
            answers[RunFolder.open(folder.path).driven()] += 1

    with folder.lock():
        pass  # makes the file
    code = "import sys, pathlib; from i4d.store.run_folder import held; place = pathlib.Path(sys.argv[1])"
    code += "\nwhile True: held(place)"
    elsewhere = subprocess.Popen([sys.executable, "-c", code, str(folder.path)])
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            with RunFolder.open(folder.path).lock():
                assert folder.driven()
    finally:
        over.set()
        for thread in threads:
            thread.join()
        elsewhere.kill()
        elsewhere.wait()
    assert answers[True] and answers[False], "both were seen"
    assert not folder.driven()


def test_asking_about_a_held_run_lets_nobody_else_in(folder):
    with folder.lock():
        for _ in range(20):
            assert RunFolder.open(folder.path).driven()
        with pytest.raises(I4DError, match="is being driven by process"), RunFolder.open(folder.path).lock():
            pass
