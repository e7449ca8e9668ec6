"""Regions of local edits: boxes, edges that fade, masks carried from camera to camera; each against a slow
twin or a known case.
"""

import numpy as np
import torch

from i4d.geometry.cameras import unproject
from i4d.geometry.regions import carried, in_box, inside_of, with_soft_edge
from i4d.types import Camera

W, H = 24, 18


def camera(x=0.0, name="c"):
    pose = np.eye(4)
    pose[0, 3] = x
    return Camera(name, W, H, np.array([[20.0, 0, W / 2], [0, 20.0, H / 2], [0, 0, 1]]), pose)


def test_a_box_holds_its_own_points_and_no_others():
    points = torch.tensor([[[0.0, 0, 2], [1, 1, 3], [1.01, 0, 2], [0, 0, 1.99], [float("nan"), 0, 2]]])
    assert in_box(points, ((0.0, -1.0, 2.0), (1.0, 1.0, 3.0))).tolist() == [[1, 1, 0, 0, 0]]


def test_an_edge_fades_with_the_distance():
    """Slow twin: the largest over the mask's pixels of 1 - d / (feather + 1), d the larger of rows and
    columns between.
    """
    share = (torch.rand(H, W, generator=torch.Generator().manual_seed(1)) > 0.97).float()
    places = share.nonzero().tolist()
    for feather in (0, 1, 3):
        slow = torch.zeros(H, W)
        for y in range(H):
            for x in range(W):
                near = min(max(abs(y - b), abs(x - a)) for b, a in places)
                slow[y, x] = max(0.0, 1 - near / (feather + 1))
        torch.testing.assert_close(with_soft_edge(share, feather), slow)


def test_a_mask_is_carried_to_where_another_camera_sees_the_same_surface():
    """A wall 4 away with a plate 2 away in front of it: shifted by 0.4, a camera sees the plate 4 pixels and
    the wall 2 further left.

    The region is the left half of the plate. What lies behind the plate's edge must not be taken for it.
    """
    depth = torch.full((H, W), 4.0)
    depth[6:12, 8:16] = 2.0
    mask = torch.zeros(H, W)
    mask[6:12, 8:12] = 1
    there = torch.full((H, W), 4.0)
    there[6:12, 4:12] = 2.0
    expected = torch.zeros(H, W)
    expected[6:12, 4:8] = 1
    found = carried(unproject(there, camera(0.4)), [mask], [depth], [camera()], 0.05)
    torch.testing.assert_close(found, expected)
    nobody = carried(unproject(there, camera(0.4)), [mask], [depth + 1], [camera()], 0.05)
    assert not nobody.any()


def test_inside_is_the_edit_and_outside_the_original():
    edited, original = torch.rand(2, 3, H, W), torch.rand(2, 3, H, W)
    share = torch.zeros(2, 1, H, W)
    share[:, :, :4] = 1
    share[:, :, 4] = 0.25
    mixed = inside_of(edited, original, share)
    assert torch.equal(mixed[:, :, 5:], original[:, :, 5:])
    torch.testing.assert_close(mixed[:, :, :4], edited[:, :, :4])
    torch.testing.assert_close(mixed[:, :, 4], 0.25 * edited[:, :, 4] + 0.75 * original[:, :, 4])
