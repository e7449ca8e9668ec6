"""A rectangle on a frame becomes a box around the surface there."""

import pytest
import torch

from i4d.commands.locate import box_around, of_one_thing, rectangle, within_ellipse
from i4d.errors import ConfigError


def test_a_box_holds_the_thing_and_not_the_wall_that_shows_beside_it():
    """Three quarters of the pixels show a plate 1 by 2 at z = 2, the others a wall at z = 9: the box stays at
    the plate.
    """
    generator = torch.Generator().manual_seed(0)
    plate = torch.rand(900, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.1]) + torch.tensor(
        [0.0, 0.0, 2.0]
    )
    wall = torch.rand(300, 3, generator=generator) + torch.tensor([0.0, 0.0, 9.0])
    both = torch.cat([plate, wall])
    kept = of_one_thing(both[:, 2])
    assert kept[:900].all() and not kept[900:].any()
    low, high = box_around(both[kept])
    inside = ((plate >= torch.tensor(low)) & (plate <= torch.tensor(high))).all(-1)
    assert inside.all() and high[2] < 2.2 and low[2] > 1.9
    assert low[0] > -0.2 and high[0] < 1.2 and low[1] > -0.4 and high[1] < 2.4


def test_the_corners_of_a_rectangle_do_not_count():
    inside = within_ellipse(30, 20)
    assert (
        inside.shape == (20, 30)
        and inside[10, 0]
        and inside[0, 15]
        and not inside[0, 0]
        and not inside[19, 28]
    )
    assert abs(inside.float().mean() - torch.pi / 4) < 0.02


def test_a_flat_thing_gets_a_box_with_inside():
    low, high = box_around(torch.tensor([[0.0, 0.0, 2.0], [1.0, 1.0, 2.0]]))
    assert all(a < b for a, b in zip(low, high, strict=True))


def test_a_rectangle_lies_in_the_picture():
    assert rectangle("1,2,30,20", 30, 20) == (1, 2, 30, 20)
    for wrong in ("1,2,3", "a,b,c,d", "5,0,5,3", "0,0,31,3", "-1,0,2,3"):
        with pytest.raises(ConfigError, match="--rect"):
            rectangle(wrong, 30, 20)
