"""Fitting: laws of the schedule, exact resume, and recovery of a small known scene."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from i4d.errors import FitError
from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.checkpoint import decode, encode, restore
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.from_config import voxel_levels
from i4d.fields.vector_matrix.image import render_image
from i4d.fields.vector_matrix.losses import Loss
from i4d.fields.vector_matrix.model import Leaf
from i4d.fields.vector_matrix.optim import SliceAdam
from i4d.fields.vector_matrix.spaces import BoxSpace, space_for
from i4d.fields.workers import Workers
from i4d.geometry.cameras import camera_rays
from i4d.metrics.image import psnr
from i4d.scenes.bounds import rig_ndc_bounds
from i4d.types import Bounds, Camera

WIDTH, HEIGHT, FRAMES = 32, 24, 3
BOUNDS = Bounds("ndc", ((-1.6, -1.4, -1.0), (1.6, 1.4, 0.7)), near=1.0, far=6.0)
TINY = VectorMatrixConfig(
    grid_start=8000,
    grid_end=60000,
    growth_at=[0.3, 0.6],
    density_components=[6, 3, 3],
    colour_components=[8, 4, 4],
    channels_per_frame=1.0,
    feature_dim=8,
    mlp_width=16,
    view_frequencies=0,
    samples=20,
    proposals=32,
    shaded=8,
    fit_steps=40,
    rays=256,
    lr_grid=0.1,
    lr_mlp=0.01,
    tv_weight=0.1,
    density="softplus",
    density_shift=-6.0,
    refit_rate=1.0,
)


def cameras(xs=(-0.4, -0.2, 0.2, 0.4, 0.0)):
    K = np.array([[30.0, 0, WIDTH / 2], [0, 30.0, HEIGHT / 2], [0, 0, 1]])
    poses = [np.eye(4) for _ in xs]
    for i, (x, pose) in enumerate(zip(xs, poses, strict=True)):
        pose[:2, 3] = x, 0.15 * (-1) ** i * (x != 0)
    return tuple(Camera(f"c{i}", WIDTH, HEIGHT, K, pose) for i, pose in enumerate(poses))


def picture(camera, frame):
    """A textured wall at z = 4 and, before it at z = 2, a square that moves: colour (h, w, 3) uint8 and exact
    depth.
    """
    origins, directions = camera_rays(camera)
    wall = origins + (4 - origins[..., 2:]) * directions
    card = origins + (2 - origins[..., 2:]) * directions
    rgb = 0.5 + 0.4 * torch.sin(wall[..., :1] * 5 + torch.tensor([0.0, 1.0, 2.0])) * torch.cos(
        wall[..., 1:2] * 4.5
    )
    centre = -0.3 + 0.3 * frame
    on_card = ((card[..., 0] - centre).abs() < 0.35) & ((card[..., 1] - 0.05).abs() < 0.3)
    stripes = 0.5 + 0.4 * torch.sin((card[..., :1] - centre) * 9 + torch.tensor([3.0, 0.5, 1.0]))
    rgb = torch.where(on_card[..., None], stripes, rgb)
    return (rgb * 255).to(torch.uint8).numpy(), torch.where(on_card, 2.0, 4.0)


@pytest.fixture(scope="module")
def bank():
    return scene_bank()


def scene_bank():
    rig = cameras()
    bank = FrameBank(rig, (0, 1, 2, 3), FRAMES)
    for view in bank.views:
        rows = np.stack([picture(rig[view], f)[0] for f in range(FRAMES)])
        rows.flags.writeable = False
        bank.put(view, 0, rows)
    return bank


def fitter(config=TINY, seed=0):
    return Fitter(config, space_for(BOUNDS, cameras()), FRAMES, seed)


def tensors_equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_recovers_a_small_scene_with_its_depth(bank):
    """Held-out camera in the middle of four: the wall, the moving card and their depth come back."""
    fit = fitter(replace(TINY, fit_steps=200))
    fit.begin("fit", 200)
    first = fit.advance(bank, 10).psnr_db
    last = fit.advance(bank, 1000)
    assert last.step == last.total_steps == 200
    assert last.psnr_db > first + 4  # of all steps after the first ten
    held_out, errors = cameras()[4], []
    for frame in range(FRAMES):
        image = render_image(fit.field, fit.render_settings(), held_out, frame)
        rgb, depth = picture(held_out, frame)
        assert psnr(image.rgb, torch.from_numpy(rgb) / 255) > 22
        errors.append((image.depth_z - depth).abs().median().item())
    assert max(errors) < 0.15


def test_the_result_does_not_depend_on_how_steps_are_split(bank):
    whole, parts = fitter(), fitter()
    for fit, cuts in ((whole, [30]), (parts, [1, 7, 13, 9])):
        fit.begin("fit", 40)
        for n in cuts:
            fit.advance(bank, n)
    assert whole.step == parts.step == 30
    assert tensors_equal(whole.field.tensors, parts.field.tensors)
    assert tensors_equal(whole.adam.state(), parts.adam.state())


def test_two_workers_do_the_work_of_one(bank):
    """Same steps up to rounding, and the same bits every time."""
    fits = [Fitter(TINY, space_for(BOUNDS, cameras()), FRAMES, 0, "cpu", Workers(n)) for n in (1, 2, 2)]
    for fit in fits:
        fit.begin("fit", 40)
        fit.advance(bank, 3)
    one, two, again = (fit.field.tensors for fit in fits)
    assert tensors_equal(two, again)
    for (
        name
    ) in one:  # Adam turns a gradient's rounding into a step's: compare where steps agree, nearly everywhere
        assert (one[name] - two[name]).abs().median() < 1e-4
    images = [
        render_image(fit.field, fit.render_settings(), cameras()[4], 0, fit.workers).rgb for fit in fits
    ]
    assert torch.equal(images[1], images[2])


def test_a_saved_fit_goes_on_exactly(bank):
    whole, broken = fitter(), fitter()
    for fit in (whole, broken):
        fit.begin("fit", 40)
        fit.advance(bank, 17)
    revived = fitter(seed=0)
    restore(revived, encode(broken))
    for fit in (whole, revived):
        fit.advance(bank, 15)
    assert tensors_equal(whole.field.tensors, revived.field.tensors)
    assert encode(whole) == encode(revived)


def test_a_light_checkpoint_renders_the_same(bank):
    fit = fitter()
    fit.begin("fit", 12)
    fit.advance(bank, 12)
    light = encode(fit, light=True)
    assert len(light) < 0.5 * len(encode(fit))
    field, progress, adam = decode(light)
    assert progress.step == 12 and not adam
    expected = render_image(fit.field, fit.render_settings(), cameras()[4], 1)
    assert torch.equal(render_image(field, fit.render_settings(), cameras()[4], 1).rgb, expected.rgb)


def test_a_checkpoint_of_a_rig_that_stands_anywhere_keeps_the_way_there(bank):
    away = np.eye(4)
    away[:3, :3], away[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (2.0, 3.0, -4.0)
    moved = [replace(c, world_from_camera=away @ c.world_from_camera) for c in cameras()]
    bounds = rig_ndc_bounds(moved, 1.0, 6.0)
    fit = Fitter(TINY, space_for(bounds, moved), FRAMES, 0)
    field, _, _ = decode(encode(fit))
    assert field.space == fit.field.space and field.space.rig_from_world == bounds.rig_from_world
    assert b"rig_from_world" in encode(fit) and b"rig_from_world" not in encode(fitter())
    restore(Fitter(TINY, space_for(bounds, moved), FRAMES, 0), encode(fit))
    with pytest.raises(FitError, match="space"):
        restore(Fitter(TINY, replace(fit.field.space, rig_from_world=()), FRAMES, 0), encode(fit))


def test_checkpoints_of_something_else_are_refused(bank):
    fit = fitter()
    with pytest.raises(FitError, match="checkpoint"):
        decode(b"no checkpoint at all")
    with pytest.raises(FitError, match="checkpoint"):
        decode(encode(fit)[:-100])
    other = Fitter(TINY, fit.field.space, FRAMES + 1, 0)
    with pytest.raises(FitError, match="frames"):
        restore(other, encode(fit))
    elsewhere = Fitter(TINY, space_for(replace(BOUNDS, near=0.9), cameras()), FRAMES, 0)
    with pytest.raises(FitError, match="space"):
        restore(elsewhere, encode(fit))


def test_growth_keeps_the_picture(bank):
    fit = fitter()
    fit.begin("fit", 100)
    fit.advance(bank, 29)
    before, settings = render_image(fit.field, fit.render_settings(), cameras()[4], 1), fit.render_settings()
    cells = fit.field.cells
    fit.field.grow(20000)
    assert np.prod(fit.field.cells) > 1.5 * np.prod(cells)
    after = render_image(fit.field, settings, cameras()[4], 1)
    assert (after.rgb - before.rgb).abs().mean() < 0.02


def test_levels_are_log_spaced():
    assert voxel_levels(replace(TINY, grid_start=1000, grid_end=64000)) == [1000, 8000, 64000]
    assert voxel_levels(replace(TINY, growth_at=[])) == [60000]


def test_a_refit_keeps_grid_and_restarts_rates(bank):
    fit = fitter()
    fit.begin("fit", 20)
    fit.advance(bank, 20)
    cells, level = fit.field.cells, fit.level
    fit.begin("refit", 10)
    report = fit.advance(bank, 10)
    assert report.total_steps == 10 and fit.field.cells == cells and fit.level == level
    assert fit.advance(bank, 5).rays == 0  # nothing beyond the end


@pytest.mark.parametrize("loss", ["squared", "robust", "gradient"])
def test_refit_losses_lessen_the_error(bank, loss):
    one = fitter(replace(TINY, refit_loss=loss))
    one.begin("fit", 20)
    one.advance(bank, 20)
    one.begin("refit", 30)
    first = one.advance(bank, 6).psnr_db
    assert one.advance(bank, 24).psnr_db > first + 0.5
    assert loss in one.summary()


def test_neighbours_are_drawn_together_and_losses_equal_their_formulas(bank):
    drawn = bank.draw_pixels(1, 32, torch.Generator().manual_seed(0), 0.5, patch=2)
    patches = drawn.inside.reshape(-1, 4)
    assert (patches - patches[:, :1] == [0, 1, WIDTH, WIDTH + 1]).all() and patches.max() < WIDTH * HEIGHT
    assert (np.diff(drawn.slot.reshape(-1, 4), axis=1) == 0).all()
    seen, target = torch.rand(8, 3), torch.rand(8, 3)
    error = seen - target
    value, squared = Loss(patch=2, gradient=3.0)(seen, target)
    across = torch.stack([error[1] - error[0], error[3] - error[2], error[5] - error[4], error[7] - error[6]])
    along = torch.stack([error[2] - error[0], error[3] - error[1], error[6] - error[4], error[7] - error[5]])
    expected = error.square().mean() + 3 * (across.square().mean() + along.square().mean())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(squared, error.square().mean())
    robust, _ = Loss(robust=0.1)(seen, target)
    torch.testing.assert_close(robust, 0.2 * ((error.square() + 0.01).sqrt() - 0.1).mean())


def contrast(images, references):
    """A distance for the tests: of the differences to the right, squared; like LPIPS it knows nothing of
    offsets.
    """
    return (images.diff(dim=-1) - references.diff(dim=-1)).square().mean((1, 2, 3))


PERCEPTUAL = replace(TINY, refit_loss="perceptual", refit_patch=8, refit_perceptual=0.5)


def test_the_large_patch_is_drawn_last_and_counts_by_its_weight(bank):
    drawn = bank.draw_pixels(1, 32, torch.Generator().manual_seed(0), side=8)
    patch = drawn.inside[32:].reshape(8, 8)
    assert len(drawn.rgb) == 96 and len(set(drawn.slot[32:])) == 1
    assert (
        (np.diff(patch, axis=1) == 1).all()
        and (np.diff(patch, axis=0) == WIDTH).all()
        and patch.max() < WIDTH * HEIGHT
    )
    view = bank.views[drawn.slot[32]]
    np.testing.assert_array_equal(
        drawn.rgb[32:], picture(cameras()[view], 1)[0].reshape(-1, 3)[drawn.inside[32:]]
    )
    seen, target = torch.rand(40, 3), torch.rand(40, 3)
    value, squared = Loss(side=4, perceptual=0.5, distance=contrast)(seen, target)
    shown, wanted = (t[24:].view(4, 4, 3) for t in (seen, target))
    expected = (seen - target).square().mean() + 0.5 * (
        shown.diff(dim=1) - wanted.diff(dim=1)
    ).square().mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(squared, (seen - target).square().mean())


def test_a_perceptual_refit_is_the_same_for_any_number_of_workers(bank):
    seen = []
    for count in (1, 2):
        one = Fitter(
            PERCEPTUAL, space_for(BOUNDS, cameras()), FRAMES, 0, workers=Workers(count), distance=contrast
        )
        one.begin("fit", 20)
        assert one.advance(bank, 20).rays == 20 * TINY.rays
        one.begin("refit", 30)
        first = one.advance(bank, 6)
        assert first.rays == 6 * (TINY.rays + 64) and one.advance(bank, 24).psnr_db > first.psnr_db + 0.5
        seen.append(one.image(cameras()[4], 1).rgb)
    assert "perceptual" in one.summary()
    assert (seen[0] - seen[1]).abs().mean() < 0.01


def test_a_patch_larger_than_the_images_is_refused(bank):
    one = Fitter(
        replace(PERCEPTUAL, refit_patch=36), space_for(BOUNDS, cameras()), FRAMES, 0, distance=contrast
    )
    one.begin("refit", 2)
    with pytest.raises(FitError, match="refit_patch = 36: images have 24 pixels"):
        one.advance(bank, 1)


def test_a_refit_smooths_by_its_own_share_of_total_variation(bank):
    moved = {}
    for share in (0.0, 1.0):
        one = fitter(replace(TINY, tv_weight=100.0, refit_variation=share))
        one.begin("fit", 20)
        assert one.variation == 100.0
        one.advance(bank, 5)
        one.begin("refit", 20)
        assert one.variation == 100.0 * share
        one.advance(bank, 5)
        plane = one.field.tensors["colour0.plane"]
        moved[share] = float(plane.diff(dim=1).square().mean() + plane.diff(dim=2).square().mean())
    assert moved[1.0] < 0.9 * moved[0.0]


def test_the_colour_behind_the_field_is_learned_and_kept():
    """Rays that pass beside the field see nothing else; what lies inside must not matter to them."""
    space = BoxSpace(((-0.3, -0.3, 2.0), (0.3, 0.3, 4.0)), 0.1, 10.0)
    rig, colour = cameras((-0.4, 0.4)), np.array([200, 100, 40], np.uint8)
    bank = FrameBank(rig, (0, 1), FRAMES)
    for view in bank.views:
        bank.put(view, 0, np.broadcast_to(colour, (FRAMES, HEIGHT, WIDTH, 3)))
    one = Fitter(replace(TINY, learn_background=True, lr_mlp=0.2), space, FRAMES, 0)
    assert one.image(rig[0], 0).rgb[0, 0].tolist() == pytest.approx([0.5] * 3)
    one.begin("fit", 40)
    one.advance(bank, 40)
    plain = Fitter(TINY, space, FRAMES, 0)
    plain.load(one.save(light=True))
    for fit in (one, plain):
        assert fit.image(rig[0], 0).rgb[0, 0].tolist() == pytest.approx((colour / 255).tolist(), abs=0.03)
    given = Fitter(replace(TINY, learn_background=True, background=[0.2, 0.4, 0.6]), space, FRAMES, 0)
    assert given.image(rig[0], 0).rgb[0, 0].tolist() == pytest.approx([0.2, 0.4, 0.6])


def test_a_refit_holds_the_geometry(bank):
    one = fitter(replace(TINY, refit_geometry=0.0))
    one.begin("fit", 4)
    one.advance(bank, 4)
    before = {name: t.clone() for name, t in one.field.tensors.items()}
    one.begin("refit", 4)
    one.advance(bank, 4)
    same = {name: torch.equal(before[name], t) for name, t in one.field.tensors.items()}
    assert all(same[n] for n in same if n.startswith("density")) and not any(
        same[n] for n in same if n.startswith("colour")
    )


def test_a_loss_that_is_not_finite_names_its_step(bank):
    fit = fitter()
    fit.begin("fit", 20)
    fit.advance(bank, 3)
    fit.field.tensors["w3"].fill_(float("nan"))
    with pytest.raises(FitError, match="step 3"):
        fit.advance(bank, 2)


def test_bank_reads_the_pixels_it_names(bank):
    generator = torch.Generator().manual_seed(3)
    batch = bank.draw(1, 300, generator, motion_share=0.5)
    rig = {tuple(c.centre.round(4)): c for c in cameras()[:4]}
    for origin, direction, rgb in list(zip(batch.origins, batch.directions, batch.rgb, strict=True))[::20]:
        camera = rig[tuple(np.round(origin.double().numpy(), 4))]
        image = picture(camera, 1)[0]
        x, y = ((direction[:2] / direction[2]).numpy() * 30 + [WIDTH / 2, HEIGHT / 2]).astype(int)
        assert image[y, x] / 255 == pytest.approx(rgb.numpy(), abs=1e-5)


def test_every_frame_has_lines_of_its_own_that_only_its_steps_move():
    one = fitter(TINY)
    one.begin("fit", 10)
    one.advance(scene_bank(), 1)
    moved = [bool(one.field.tensors["density0.own"][frame].any()) for frame in range(FRAMES)]
    assert sum(moved) == 1
    frame = moved.index(True)
    own = one.field.tensors["colour0.own"]
    length = own.shape[-1]
    one.field.grow(4000)
    assert own.shape[:2] == one.field.tensors["colour0.own"].shape[:2] != own.shape[1:]
    assert one.field.tensors["colour0.own"].shape[-1] != length
    points = torch.rand(50, 3) * 2 - 1
    with_own = one.field.at(frame).density(points)
    for name, tensor in one.field.tensors.items():
        if name.endswith(".own"):
            tensor.zero_()
    assert not torch.equal(with_own, one.field.at(frame).density(points))


def test_between_frames_lines_of_their_own_are_blended():
    one = fitter(replace(TINY, permanent_share=1.0))
    for name, tensor in one.field.tensors.items():
        if name.endswith(".own"):
            tensor[0], tensor[1] = 0.2, 0.6
    halfway, points = one.field.at(0.5), torch.rand(50, 3) * 2 - 1
    seen = halfway.density(points)
    for name, tensor in one.field.tensors.items():
        if name.endswith(".own"):
            tensor[0] = 0.4
    assert torch.allclose(seen, one.field.at(0).density(points), atol=1e-5)


def test_moving_pixels_are_drawn_more_often():
    camera = cameras()[:1]
    bank = FrameBank(camera, (0,), 2)
    rows = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    rows[1, :6, :8] = 200  # a sixteenth of the picture moves
    bank.put(0, 0, rows)
    share = {}
    for motion in (0.0, 0.5):
        batch = bank.draw(1, 4000, torch.Generator().manual_seed(0), motion)
        share[motion] = (batch.rgb[:, 0] > 0.5).float().mean().item()
    assert share[0.0] == pytest.approx(1 / 16, abs=0.02)
    assert share[0.5] > 0.15


def test_bank_refuses_what_does_not_fit_and_newer_rows_win(bank):
    fresh = FrameBank(cameras(), (0, 2), FRAMES)
    assert len(fresh.missing()) == 2 * FRAMES
    rows = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    fresh.put(0, 1, rows)
    fresh.put(0, 1, rows + 9)
    assert fresh.missing() == [(0, 0), (2, 0), (2, 1), (2, 2)]
    assert (fresh.draw.__self__._frames[0, 2] == 9).all()
    for view, start, wrong in [
        (1, 0, rows),
        (0, 2, rows),
        (0, 0, rows.astype(np.float32)),
        (0, 0, rows[:, 1:]),
    ]:
        with pytest.raises(FitError):
            fresh.put(view, start, wrong)


@pytest.mark.parametrize("shared", [False, True])
def test_slice_adam_equals_adam_on_channels_that_are_always_read(shared):
    start = torch.randn(4, 3, 3)
    ours, theirs = {"p": start.clone()}, torch.nn.Parameter(start[1:3].clone())
    adam = SliceAdam(ours)
    reference = torch.optim.Adam([theirs], lr=0.05, betas=(0.9, 0.99))
    for i in range(6):
        grad = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(i))
        leaf = ours["p"][1:3].detach().requires_grad_(True)
        leaf.grad = grad.clone()
        theirs.grad = grad.clone()
        adam.step([Leaf("p", 1, 3, leaf, shared)], {"p": 0.05})
        reference.step()
    torch.testing.assert_close(ours["p"][1:3], theirs.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(ours["p"][[0, 3]], start[[0, 3]])
    assert adam.counts["p"].tolist() == [0, 6, 6, 0]
