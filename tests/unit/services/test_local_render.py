"""A local edit as it is shown: inside the region the edited field, outside the unedited one, at any
camera.
"""

import numpy as np
import pytest
import torch
from test_trainer_service import FRAMES, HEIGHT, SCENE, WIDTH, colours, trainer

from i4d.errors import FitError
from i4d.fields.protocol import FieldImage
from i4d.services.local import LocalScene
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import LocalRender, Region, RenderTask, TableRun


class Wall:
    """A grey wall at z = 4; counts how often it is looked at."""

    def __init__(self):
        self.looks = 0

    def image(self, camera, frame):
        self.looks += 1
        size = (camera.height, camera.width)
        return FieldImage(torch.full((*size, 3), 0.5), torch.full(size, 4.0), torch.ones(size))


def masked(tmp_path, feather=0):
    """Masks of view 0: its left half, at all frames; the scene's cameras stand 0.2 apart, the wall moves a
    pixel between them.
    """
    store = open_store(tmp_path)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    masks[:, :, : WIDTH // 2] = 255
    region = Region(None, (TableRun(0, 0, FRAMES, write_block(store, masks).digest),), feather, 2, 0.05)
    return region, BlockReader(store)


def test_a_camera_with_masks_shows_them_and_others_get_them_carried(tmp_path):
    region, reader = masked(tmp_path)
    wall = Wall()
    local = LocalScene(wall, region, SCENE.cameras, reader)
    own = local.share(SCENE.cameras[0], 1)
    assert wall.looks == 0, "a camera's own mask needs no field"
    assert own[:, : WIDTH // 2].all() and not own[:, WIDTH // 2 :].any()
    beside = local.share(SCENE.cameras[1], 1)
    assert (
        torch.equal(beside[:, : WIDTH // 2 - 1], torch.ones(HEIGHT, WIDTH // 2 - 1))
        and not beside[:, WIDTH // 2 - 1 :].any()
    )
    large = local.share(SCENE.cameras[0].resized(2 * WIDTH, 2 * HEIGHT), 1)
    assert large[:, : WIDTH - 1].min() == 1 and large[:, WIDTH + 1 :].max() == 0


def test_a_box_is_found_from_the_depth_and_its_edge_fades(tmp_path):
    box = ((-9.0, -9.0, 3.9), (0.0, 9.0, 4.1))
    local = LocalScene(Wall(), Region(box, (), 1), SCENE.cameras, BlockReader(open_store(tmp_path)))
    share = local.share(SCENE.cameras[1], 0)  # stands at x = 0: the left half of its picture lies at x < 0
    assert (
        (share[:, : WIDTH // 2] == 1).all()
        and (share[:, WIDTH // 2] == 0.5).all()
        and (share[:, WIDTH // 2 + 1 :] == 0).all()
    )
    nearer = LocalScene(
        Wall(), Region(((-9.0, -9.0, 1.0), (9.0, 9.0, 3.9))), SCENE.cameras, BlockReader(open_store(tmp_path))
    )
    assert not nearer.share(SCENE.cameras[1], 0).any()


def test_pictures_are_mixed_by_the_region(tmp_path):
    region, reader = masked(tmp_path, feather=1)
    local = LocalScene(Wall(), region, SCENE.cameras, reader)
    size = (HEIGHT, WIDTH)
    edited = FieldImage(torch.rand(*size, 3), torch.full(size, 2.0), torch.ones(size))
    shown = local.shown(edited, SCENE.cameras[0], 0)
    half = WIDTH // 2
    torch.testing.assert_close(shown.rgb[:, :half], edited.rgb[:, :half])
    torch.testing.assert_close(shown.rgb[:, half], 0.5 * edited.rgb[:, half] + 0.25)
    assert (shown.rgb[:, half + 1 :] == 0.5).all()
    assert (shown.depth_z[:, : half + 1] == 2).all() and (shown.depth_z[:, half + 1 :] == 4).all()


@pytest.mark.usefixtures("one_thread")
def test_the_trainer_shows_the_unedited_field_outside(tmp_path):
    region, reader = masked(tmp_path)
    store = open_store(tmp_path)
    service = trainer(store)
    runs = [
        tuple(TableRun(v, 0, FRAMES, write_block(store, colours(c)).digest) for v in (0, 2))
        for c in (200, 40)
    ]
    service.start(runs[0], None, "fit", 30)
    service.advance((), 30)
    unedited = service.save()
    camera = SCENE.cameras[0]
    before = reader.rows(service.render(RenderTask(camera, (0, 1), FRAMES)).blocks["rgb"].digest)
    service.start(runs[1], unedited.digest, "refit", 30)
    service.advance((), 30)
    plain = reader.rows(service.render(RenderTask(camera, (0, 1), FRAMES)).blocks["rgb"].digest)
    assert np.abs(plain.astype(int) - before).min() > 5, "the refit moved the field everywhere"

    local = LocalRender(region, unedited.digest)
    blocks = service.render(RenderTask(camera, (0, 1), FRAMES, ("rgb", "region"), local=local)).blocks
    shown, share = reader.rows(blocks["rgb"].digest), reader.rows(blocks["region"].digest)
    assert (share.shape, share.dtype) == ((2, HEIGHT, WIDTH), np.uint8)
    assert np.array_equal(shown[share == 0], before[share == 0]) and np.array_equal(
        shown[share == 255], plain[share == 255]
    )
    with pytest.raises(FitError, match="region of a local edit"):
        service.render(RenderTask(camera, (0,), FRAMES, ("region",)))
