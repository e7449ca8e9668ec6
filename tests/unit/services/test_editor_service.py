"""EditorService on a toy model: answers are functions of the task, whatever was computed before and by
whom.
"""

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.errors import BlockError, ClusterError, EditError, WeightsError
from i4d.schedules.windows import sources_along
from i4d.services.device import choose_device
from i4d.services.editor import EditorService
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import Camera, EditSettings, FrameAddress, KeyFrameTask, RepaintTask, Strength, WindowTask

pytestmark = pytest.mark.usefixtures("one_thread")
HEIGHT, WIDTH, FRAMES = 21, 30, 7
SETTINGS = EditSettings("make it night", 5.0, 1.5)
STRENGTH = Strength(600, 2)


@pytest.fixture
def scene(tmp_path, tiny_editor_folder):
    """A store with 7 moving frames, and a function that makes services on it."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (HEIGHT, WIDTH + FRAMES, 3), dtype=np.uint8)
    frames = np.stack([wide[:, f : f + WIDTH] for f in range(FRAMES)])
    store = open_store(tmp_path / "store")
    block = write_block(store, frames)
    edited = write_block(store, 255 - frames[:1])

    def service(where=store, **changes):
        editor = InstructPix2PixConfig(weights=str(tiny_editor_folder))
        return EditorService(where.uri, **({"editor": editor, "device": "cpu"} | changes))

    return store, block.digest, edited.digest, service


def window_task(scene, window=1, frames=(1, 2, 3), reference=0, references="last", **changes):
    _, originals, edited, _ = scene
    at = tuple(FrameAddress(originals, f) for f in frames)
    task = WindowTask(
        run_seed=3,
        round=1,
        view=2,
        window=window,
        frames=frames,
        originals=at,
        current=at,
        anchor_frame=0,
        anchor_original=FrameAddress(originals, 0),
        anchor_edited=FrameAddress(edited, 0),
        reference_frame=reference,
        reference_original=FrameAddress(originals, reference),
        reference_edited=FrameAddress(edited, 0),
        batch=4,
        strength=STRENGTH,
        settings=SETTINGS,
    )
    task = dataclasses.replace(task, **changes)
    return with_settings(task, task.settings, references)


def with_settings(task, settings, references="last"):
    """Return a task with the settings, and the sources, that a schedule would give it."""
    along = ("none", 0) if settings.flow == "none" else (references, settings.blend)
    sources = sources_along(task.view, task.frames, task.reference_frame, task.anchor_frame, *along)
    return dataclasses.replace(task, settings=settings, sources=sources)


def test_warming_up_says_what_will_be_used(scene):
    info = scene[3](name="editor-1").warm_up()
    text = " ".join(info.notes)
    assert info.name == "editor-1" and info.device == "cpu" and info.warm_up_s > 0
    assert "editor:" in text and "flow:" in text and "guidance" in text
    pickle.loads(pickle.dumps(info))


def test_a_window_is_stored_and_its_receipt_tells_what_it_cost(scene):
    store, *_ = scene
    receipt = scene[3](name="e").edit_window(window_task(scene))
    rows = BlockReader(store).rows(receipt.block.digest)
    assert rows.shape == (3, HEIGHT, WIDTH, 3) and rows.dtype == np.uint8
    assert receipt.task == "r1/v02/w01" and receipt.worker == "e" and receipt.device == "cpu"
    assert receipt.unet_forwards == (1 + 3) * 3 * 2 and receipt.flow_passes == 6
    assert (
        0 < receipt.kept_share <= 1
        and receipt.seconds >= receipt.flow_seconds > 0
        and receipt.peak_bytes > 1 << 20
    )
    assert pickle.loads(pickle.dumps(receipt)) == receipt


def test_answers_do_not_depend_on_what_was_computed_before(scene, tmp_path, tiny_editor_folder):
    first, second = scene[3](), scene[3]()
    a1 = first.edit_window(window_task(scene))
    a2 = first.edit_window(window_task(scene, 2, (4, 5, 6), 3))
    b2 = second.edit_window(window_task(scene, 2, (4, 5, 6), 3))  # flow from the store, anchor made anew
    b1 = second.edit_window(window_task(scene))
    assert (a1.block, a2.block) == (b1.block, b2.block)
    assert a2.unet_forwards == 3 * 3 * 2 and b2.unet_forwards == 4 * 3 * 2  # the anchor was held, or was not
    assert a2.flow_passes == 6 and b2.flow_passes == 0 and b1.flow_passes == 0
    empty = open_store(tmp_path / "other")  # nothing cached at all
    reader = BlockReader(scene[0])
    for digest in scene[1:3]:
        write_block(empty, np.array(reader.rows(digest)))
    assert scene[3](empty).edit_window(window_task(scene)).block == a1.block


def test_seed_round_view_and_instruction_change_the_answer_the_window_number_does_not(scene):
    service = scene[3]()
    base = service.edit_window(window_task(scene)).block
    for change in (
        {"run_seed": 4},
        {"round": 2},
        {"view": 1},
        {"settings": dataclasses.replace(SETTINGS, instruction="x")},
    ):
        assert service.edit_window(window_task(scene, **change)).block.digest != base.digest, change
    assert service.edit_window(window_task(scene, window=9)).block == base  # noise belongs to view and round


def test_a_later_round_joins_the_mean_of_those_before(scene):
    service, reader = scene[3](), BlockReader(scene[0])
    alone = window_task(scene, round=3)
    earlier = tuple(FrameAddress(scene[1], row) for row in alone.frames)
    tasks = alone, dataclasses.replace(alone, earlier=earlier)
    single, joined = (reader.rows(service.edit_window(task).block.digest).astype(float) for task in tasks)
    before = np.stack([reader.row(address) for address in earlier]).astype(float)
    assert np.abs(joined - (2 * before + single) / 3).max() <= 1, (
        "two rounds before and this one, each a third"
    )
    key = dataclasses.replace(key_task(scene), round=2)
    rows = tuple(FrameAddress(scene[1], row) for row in range(len(key.views)))
    one, two = (
        reader.rows(service.edit_key_frame(t).block.digest).astype(float)
        for t in (key, dataclasses.replace(key, earlier=rows))
    )
    before = np.stack([reader.row(address) for address in rows]) / 255.0
    np.testing.assert_allclose(two, (one + before) / 2, atol=2e-3)


def test_a_frame_that_is_its_own_reference_needs_no_flow(scene):
    task = window_task(scene, frames=(0,), reference=0)
    receipt = scene[3]().edit_window(task)
    assert receipt.flow_passes == 0 and receipt.kept_share == 1.0 and receipt.block.num_rows == 1


CHANGES = [{"norm": "joint"}, {"attention": "own"}, {"attention": "anchor_self"}, {"noise": "frame"}]


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_edit_too_and_differ(scene, change):
    service = scene[3]()
    task = window_task(scene, settings=dataclasses.replace(SETTINGS, **change))
    assert service.edit_window(task).block != service.edit_window(window_task(scene)).block


def key_task(scene, step=0):
    _, originals, _, _ = scene
    cameras = []
    for x in (0.0, 0.1, 0.2):
        pose = np.eye(4)
        pose[0, 3] = x
        K = np.array([[20.0, 0, WIDTH / 2], [0, 20.0, HEIGHT / 2], [0, 0, 1]])
        cameras.append(Camera(str(x), WIDTH, HEIGHT, K, pose))
    depth = write_block(scene[0], np.full((3, HEIGHT, WIDTH), 2.0, np.float32))
    at = tuple(FrameAddress(originals, v) for v in range(3))
    return KeyFrameTask(
        run_seed=3,
        round=1,
        step=step,
        num_steps=2,
        frame=0,
        views=(0, 2, 5),
        sample=(5, 0),
        cameras=tuple(cameras),
        originals=at,
        current=at,
        depth=depth.digest,
        strength=STRENGTH,
        settings=SETTINGS,
        match_threshold=0.05,
        fill_threshold=0.02,
    )


def test_a_key_frame_answers_for_every_view(scene):
    task, service = key_task(scene), scene[3]()
    receipt = service.edit_key_frame(task)
    rows = BlockReader(scene[0]).rows(receipt.block.digest)
    assert rows.shape == (3, HEIGHT, WIDTH, 3) and rows.dtype == np.float16
    assert (
        receipt.task == "r1/key00" and receipt.unet_forwards == 2 * 3 * 2 and math.isnan(receipt.kept_share)
    )
    original = BlockReader(scene[0]).images(task.originals)
    assert all(np.abs(rows[i] - original[i]).mean() > 1e-3 for i in range(3))  # the view between is filled
    assert scene[3]().edit_key_frame(task).block == receipt.block
    assert service.edit_key_frame(key_task(scene, step=1)).block != receipt.block


def test_repainting_views_pads_to_the_plans_batch(scene):
    _, originals, _, service = scene
    at = tuple(FrameAddress(originals, v) for v in range(2))
    task = RepaintTask(3, 1, 0, 0, (1, 4), at, at, 3, STRENGTH, SETTINGS)
    receipt = service().repaint(task)
    assert receipt.task == "r1/rest00" and receipt.block.num_rows == 2 and receipt.unet_forwards == 3 * 3 * 2


def test_weights_leave_the_device_and_come_back(scene):
    service = scene[3]()
    before = service.edit_window(window_task(scene)).block
    service.set_active(False)
    with pytest.raises(EditError, match="off the device"):
        service.edit_window(window_task(scene))
    service.set_active(True)
    again = service.edit_window(window_task(scene))
    assert again.block == before and again.unet_forwards == 4 * 3 * 2  # what was held for the anchor is gone


def test_failures_name_the_task_or_the_place(scene, monkeypatch):
    service = scene[3]()
    with pytest.raises(BlockError, match="0123"):
        service.edit_window(window_task(scene, anchor_edited=FrameAddress("0123" * 8, 0)))
    with pytest.raises(WeightsError):
        scene[3](editor=InstructPix2PixConfig(weights="./nowhere")).warm_up()
    model = service._loaded().model
    monkeypatch.setattr(
        model, "decode", lambda latents, h, w: torch.full((len(latents), 3, h, w), float("nan"))
    )
    with pytest.raises(EditError, match="r1/v02/w01.*NaN"):
        service.edit_window(window_task(scene))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ClusterError, match="cuda"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_local_edit_keeps_the_originals_outside_its_region(scene):
    """An edit inside; originals, to the bit, outside, in key frame, repaint and window. A region of
    everything changes nothing.
    """
    store = scene[0]
    service, reader = scene[3](), BlockReader(store)
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    masks[0, :, :9], masks[1, 4:] = 255, 255
    region = tuple(FrameAddress(write_block(store, masks).digest, i) for i in range(3))
    at = tuple(FrameAddress(scene[1], v) for v in range(2))
    rest = RepaintTask(3, 1, 0, 0, (1, 4), at, at, 3, STRENGTH, SETTINGS)
    tasks = [("edit_key_frame", key_task(scene)), ("repaint", rest), ("edit_window", window_task(scene))]
    for method, task in tasks:
        whole = reader.images(
            [FrameAddress(getattr(service, method)(task).block.digest, i) for i in range(len(task.originals))]
        )
        local_task = dataclasses.replace(task, region=region[: len(task.originals)])
        local = reader.images(
            [FrameAddress(getattr(service, method)(local_task).block.digest, i) for i in range(len(whole))]
        )
        originals = reader.images(task.originals)
        inside = masks[: len(whole)] > 0
        assert np.abs(local[inside] - originals[inside]).mean() > 0.05, method
        assert (
            np.abs(local[~inside] - originals[~inside]).max() < 3e-4
            and np.abs(whole[~inside] - originals[~inside]).max() > 0.05
        )
        full = write_block(store, np.full((3, HEIGHT, WIDTH), 255, np.uint8)).digest
        everywhere = dataclasses.replace(task, region=tuple(FrameAddress(full, i) for i in range(len(whole))))
        again = reader.images(
            [FrameAddress(getattr(service, method)(everywhere).block.digest, i) for i in range(len(whole))]
        )
        assert np.abs(again - whole).max() < 2e-3, method
