"""The editor service in its modes: shares of a joint edit against the whole, plain against exact; the
benchmark at toy size.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.schedules.windows import sources_along
from i4d.services.editor import EditorService
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import Camera, EditSettings, FrameAddress, KeyFrameTask, RepaintTask, Strength, WindowTask

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import bench_edit  # noqa: E402
import bench_whole_edit  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
VIEWS, STRENGTH = (0, 1, 2, 3), Strength(800, 2)


@pytest.fixture
def rig(tmp_path, tiny_editor_folder):
    store = open_store(tmp_path / "store")
    frames = np.random.default_rng(0).integers(0, 256, (6, 20, 28, 3), dtype=np.uint8)
    at = tuple(FrameAddress(write_block(store, frames).digest, i) for i in range(6))
    depth = write_block(store, np.full((4, 20, 28), 3.0, np.float32)).digest
    return (
        store,
        at,
        depth,
        lambda **more: EditorService(
            store.uri, editor=InstructPix2PixConfig(weights=str(tiny_editor_folder), **more), device="cpu"
        ),
    )


def key_task(at, depth, edited=()):
    K = np.array([[24.0, 0, 14], [0, 24.0, 10], [0, 0, 1]])
    cameras = tuple(Camera(f"{i}", 28, 20, K, np.eye(4)) for i in VIEWS)
    settings = EditSettings("night", 5.0, 1.5)
    return KeyFrameTask(
        0,
        1,
        0,
        1,
        0,
        VIEWS,
        (2, 0, 3),
        cameras,
        at[:4],
        at[:4],
        depth,
        STRENGTH,
        settings,
        0.05,
        0.02,
        edited,
    )


def test_shares_of_a_joint_edit_are_the_joint_edit(rig):
    store, at, depth, service = rig
    editor, reader = service(), BlockReader(store)
    whole = reader.rows(editor.edit_key_frame(key_task(at, depth)).block.digest).astype(np.float32)
    parts = {}
    for number, views in enumerate(((2, 0), (2, 3))):
        where = tuple(at[v] for v in views)
        task = RepaintTask(
            0, 1, 0, 0, views, where, where, 2, STRENGTH, EditSettings("night", 5.0, 1.5), number
        )
        receipt = editor.repaint(task)
        assert receipt.task == f"r1/key00/s{number}" and receipt.unet_forwards == 2 * 3 * 2
        parts |= {
            view: FrameAddress(receipt.block.digest, row)
            for row, view in enumerate(views)
            if view not in parts
        }
    receipt = editor.edit_key_frame(key_task(at, depth, tuple(parts[v] for v in (2, 0, 3))))
    assert receipt.unet_forwards == 0
    np.testing.assert_allclose(reader.rows(receipt.block.digest).astype(np.float32), whole, atol=2e-3)


def test_a_plain_window_equals_an_exact_one_and_costs_an_anchor_more(rig):
    store, at, _, service = rig
    rows = {}
    for mode in ("plain", "exact"):
        settings = EditSettings("night", 5.0, 1.5, mode=mode)
        task = WindowTask(
            0,
            1,
            0,
            0,
            (1, 2),
            at[1:3],
            at[1:3],
            0,
            at[0],
            at[4],
            0,
            at[0],
            at[4],
            3,
            Strength(600, 2),
            settings,
            sources_along(0, (1, 2), 0, 0, "last", 0),
        )
        editor = service(mode=mode)
        editor.edit_window(task)
        receipt = editor.edit_window(task)  # an exact editor holds the anchor by now
        assert receipt.unet_forwards == (3 if mode == "plain" else 2) * 3 * 2
        rows[mode] = BlockReader(store).rows(receipt.block.digest).astype(int)
    assert np.abs(rows["plain"] - rows["exact"]).max() <= 1


def test_the_benchmark_runs_at_toy_size(tmp_path):
    toy = ["--weights", "tiny-ip2p", "--size", "48x32", "--window", "2", "--steps", "2", "--repeats", "1"]
    toy += ["--device", "cpu", "--compile", "off"]
    figures = bench_edit.main(
        [*toy, "--modes", "authors,plain,exact,turbo", "--json", str(tmp_path / "bench.json")]
    )
    assert [row["mode"] for row in figures["modes"]] == ["authors", "plain", "exact", "turbo"]
    assert figures["latent"] == "24x16" and (tmp_path / "bench.json").exists()
    assert figures["tflop"]["exact"] < figures["tflop"]["plain"]
    assert all(row["window_s"] > 0 for row in figures["modes"])


def test_a_whole_edit_is_timed_at_toy_size_and_cut_off_when_time_is_over(tmp_path):
    toy = [
        "--executor",
        "local",
        "--weights",
        "tiny-ip2p",
        "--size",
        "48x32",
        "--views",
        "2",
        "--frames",
        "4",
        "--steps",
        "1",
    ]
    toy += ["--key-steps", "1", "--key-diffusion-steps", "1", "--device", "cpu", "--flow-processes", "1"]
    toy += ["--store", str(tmp_path / "store")]
    whole = bench_whole_edit.main([*toy, "--editors", "2:2", "--json", str(tmp_path / "whole.json")])
    (run,) = whole["runs"]
    assert run["complete"] and run["windows_done"] == run["windows"] == 2 and run["key_shares"] == 2
    assert len(run["idle_share_of_editors"]) == 2 and run["bound_of_work_s"] <= run["all_s"]
    (cut,) = bench_whole_edit.main([*toy, "--editors", "1", "--seconds", "0"])["runs"]
    assert not cut["complete"] and cut["windows_done"] == 0
