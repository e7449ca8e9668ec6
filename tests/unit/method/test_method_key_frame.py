"""Key frame: views of one plane end up agreeing; uncovered pixels stay; the sample is edited jointly."""

import numpy as np
import pytest
import torch

from i4d.editors.instruct_pix2pix.kind import KIND
from i4d.editors.protocol import EditCost
from i4d.geometry.cameras import camera_rays
from i4d.method.key_frame import Agreement, InstantImages, agree, edit_key_frame
from i4d.types import Camera, EditSettings, Strength

pytestmark = pytest.mark.usefixtures("one_thread")


def rig(positions, width=40, height=24, z=4.0):
    """Cameras in a row in front of a painted plane: InstantImages with exact depth; `current` equals
    `originals`.
    """
    cameras, pictures = [], []
    for x in positions:
        pose = np.eye(4)
        pose[0, 3] = x
        K = np.array([[32.0, 0, width / 2], [0, 32.0, height / 2], [0, 0, 1]])
        cameras.append(Camera(f"{x}", width, height, K, pose))
        origins, directions = camera_rays(cameras[-1])
        point = origins + z * directions
        pictures.append(
            torch.stack([0.5 + 0.4 * torch.sin(point[..., 0] + k * point[..., 1]) for k in range(3)])
        )
    images = torch.stack(pictures)
    return InstantImages(images, images.clone(), torch.full((len(images), height, width), z), cameras)


def test_views_that_agree_already_stay_as_they_are():
    images = rig([-0.5, 0.0, 0.5])
    out = agree(images, [0, 1], images.originals[:2], Agreement(0.05, 0.05))
    torch.testing.assert_close(out, images.originals, atol=5e-3, rtol=0)


def test_edits_that_differ_are_averaged_by_coverage_and_mixed_half_into_the_rest():
    images = rig([0.0, 0.0, 0.0, 40.0])  # three views alike, one that sees another part of the plane
    edited = torch.stack([torch.full((3, 24, 40), v) for v in (0.2, 0.6)])
    out = agree(images, [0, 1], edited, Agreement(0.05, 0.05))
    torch.testing.assert_close(out[:2], torch.full((2, 3, 24, 40), 0.4), atol=1e-4, rtol=0)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(out[2][inner], (0.5 * 0.4 + 0.5 * images.current[2])[inner], atol=1e-4, rtol=0)
    assert torch.equal(out[3], images.current[3])


def test_a_given_view_stays_and_is_taken_whole_where_it_is_seen():
    images = rig([0.0, 0.0, 40.0])
    given = torch.full((1, 3, 24, 40), 0.3)
    out = agree(images, [0], given, Agreement(0.05, 0.05, fill_share=1.0))
    assert torch.equal(out[0], given[0]) and torch.equal(out[2], images.current[2])
    inner = (slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(out[1][inner], given[0][inner])


def test_the_edit_of_the_sample_is_one_joint_batch_anchored_on_its_first(tiny_editor_folder):
    editor = KIND.load(str(tiny_editor_folder))
    images, cost = rig([-0.4, 0.0, 0.4]), EditCost()
    settings, strength, seeds = EditSettings("night", 5.0, 1.5), Strength(800, 2), [1, 2]
    out = edit_key_frame(editor, images, [2, 0], strength, settings, seeds, Agreement(0.0, 0.0), cost)
    assert cost.unet_forwards == 2 * 3 * 2
    given = images.originals[[2, 0]], images.current[[2, 0]]
    joint = editor.repaint(*given, strength, settings, seeds, EditCost())
    torch.testing.assert_close(out[[2, 0]], joint)  # a threshold of nothing: no view matches another
    assert torch.equal(out[1], images.current[1])
