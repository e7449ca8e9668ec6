"""What a window starts from in the service: the key frame beside the last frame, other cameras by depth,
blending, adaptive strength.
"""

import dataclasses

import numpy as np
import pytest
import torch
from test_editor_service import (  # noqa: F401
    FRAMES,
    HEIGHT,
    SETTINGS,
    WIDTH,
    scene,
    window_task,
    with_settings,
)

from i4d.editors.unchanged import BLENDED_COPY_ERROR, with_unchanged_given_back
from i4d.store.blocks import BlockReader, write_block
from i4d.types import Camera, FrameAddress, Sight, Strength

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def camera(x):
    K = np.array([[float(WIDTH), 0, WIDTH / 2], [0, WIDTH, HEIGHT / 2], [0, 0, 1]])
    pose = np.eye(4)
    pose[0, 3] = x
    return Camera(f"at {x}", WIDTH, HEIGHT, K, pose)


def seen(scene, threshold=0.05, frames=(1, 2, 3)):  # noqa: F811
    """A window whose instants another camera, one step to the right, has edited already; a wall 4 units
    away.
    """
    store, originals, _, _ = scene
    depth = write_block(store, np.full((FRAMES, HEIGHT // 3, WIDTH // 3), 4.0, np.float32)).digest
    edited = write_block(store, 255 - BlockReader(store).rows(originals)).digest
    at = tuple(FrameAddress(depth, f) for f in frames)
    sight = Sight(camera(0.5), tuple(FrameAddress(edited, f) for f in frames), at)
    return window_task(scene, camera=camera(0.0), depths=at, sights=(sight,), match_threshold=threshold)


def later(scene, **changes):  # noqa: F811
    """A second window: its reference is frame 3, its anchor frame 0."""
    edited = write_block(scene[0], BlockReader(scene[0]).rows(scene[1])[3:4] // 2).digest
    return window_task(scene, 2, (4, 5), 3, reference_edited=FrameAddress(edited, 0), **changes)


def test_each_way_of_starting_changes_the_answer_and_only_the_task_decides(scene):  # noqa: F811
    service, other = scene[3](), scene[3]()
    tasks = {
        "plain": later(scene),
        "both": later(scene, references="both"),
        "none": later(scene, references="none"),
        "blend": later(scene, settings=settings(blend=1)),
        "fine": later(scene, settings=settings(blend=1, blend_sigma=0.1)),
        "detail": later(scene, settings=settings(blend=1, blend_detail=True)),
        "frame noise": later(scene, settings=settings(noise="frame")),
        "seen": seen(scene),
        "alone": window_task(scene),
    }
    blocks = {name: service.edit_window(task).block.digest for name, task in tasks.items()}
    assert len(set(blocks.values())) == len(blocks)
    again = {name: other.edit_window(task).block.digest for name, task in reversed(tasks.items())}
    assert again == blocks


def test_points_that_never_meet_leave_a_window_as_it_is_without_other_cameras(scene):  # noqa: F811
    service = scene[3]()
    assert (
        service.edit_window(seen(scene, threshold=0.0)).block == service.edit_window(window_task(scene)).block
    )


def test_other_cameras_explain_more(scene):  # noqa: F811
    broken = settings(flow="none")
    service = scene[3]()
    alone = service.edit_window(window_task(scene, settings=broken))
    task = with_settings(seen(scene), broken)
    assert alone.kept_share == 0 and service.edit_window(task).kept_share == pytest.approx(
        1 - 0.5 * WIDTH / 4 / WIDTH, abs=0.05
    )


def test_blending_takes_flow_of_neighbours_and_nothing_where_there_is_none(scene):  # noqa: F811
    service = scene[3]()
    assert (
        service.edit_window(later(scene, settings=settings(blend=1))).flow_passes == 2 * 2 + 2
    )  # 3 to 4 and to 5, then 4 to 5
    none = later(scene, settings=settings(flow="none"))
    same = with_settings(none, settings(flow="none", blend=2))
    assert service.edit_window(none).block == service.edit_window(same).block


def test_what_was_left_unchanged_is_found_once_after_blending(scene):  # noqa: F811
    service, reader = scene[3](), BlockReader(scene[0])
    rows = {
        keep: reader.rows(
            service.edit_window(later(scene, settings=settings(blend=1, keep_unchanged=keep))).block.digest
        )
        for keep in (False, True)
    }
    planes = {
        keep: torch.from_numpy(found.astype(np.float32) / 255).permute(0, 3, 1, 2)
        for keep, found in rows.items()
    }
    originals = reader.images(later(scene).originals)
    once = with_unchanged_given_back(
        planes[False], torch.from_numpy(originals).permute(0, 3, 1, 2).float(), BLENDED_COPY_ERROR
    )
    torch.testing.assert_close(planes[True], once, atol=1.1 / 255, rtol=0)


def test_an_adaptive_window_that_is_explained_takes_fewer_forwards(scene):  # noqa: F811
    service = scene[3]()
    task = window_task(scene, 1, (1,), settings=settings(adaptive=True), strength=Strength(600, 4))
    spent = service.edit_window(task)
    unexplained = with_settings(task, settings(adaptive=True, flow="none"))
    whole = scene[3]().edit_window(unexplained)
    assert spent.kept_share > 0.75 and spent.unet_forwards < whole.unet_forwards == (1 + 3) * 3 * 4
