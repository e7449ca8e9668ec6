"""The trainer service on a tiny scene in a temporary store."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from i4d.errors import BlockError, FitError, WeightsError
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.geometry.corrections import corrected
from i4d.services.trainer import TrainerScene, TrainerService
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.types import Bounds, Camera, LocalRender, Region, RenderTask, TableRun

WIDTH, HEIGHT, FRAMES = 20, 14, 2
FIELD = VectorMatrixConfig(
    grid_start=4000,
    grid_end=8000,
    growth_at=[0.5],
    density_components=[4, 2, 2],
    colour_components=[4, 2, 2],
    channels_per_frame=1.0,
    feature_dim=6,
    mlp_width=8,
    samples=12,
    proposals=24,
    shaded=6,
    rays=128,
    lr_grid=0.1,
    lr_mlp=0.01,
    refit_rate=1.0,
)


def rig():
    K = np.array([[20.0, 0, WIDTH / 2], [0, 20.0, HEIGHT / 2], [0, 0, 1]])
    cameras = []
    for i, x in enumerate((-0.2, 0.0, 0.2)):
        pose = np.eye(4)
        pose[0, 3] = x
        cameras.append(Camera(f"c{i}", WIDTH, HEIGHT, K, pose))
    return tuple(cameras)


SCENE = TrainerScene(rig(), Bounds("box", ((-3.0, -3.0, 1.0), (3.0, 3.0, 5.0)), 0.5, 20.0), FRAMES, (0, 2))


def colours(value):
    return np.full((FRAMES, HEIGHT, WIDTH, 3), value, np.uint8)


@pytest.fixture
def place(tmp_path):
    store = open_store(tmp_path)
    runs = tuple(TableRun(v, 0, FRAMES, write_block(store, colours(200)).digest) for v in (0, 2))
    return store, runs


def trainer(store, **options):
    service = TrainerService(store.uri, SCENE, FIELD, device="cpu", num_threads=1, **options)
    return service


def test_fits_renders_and_answers_with_receipts(place):
    store, runs = place
    service = trainer(store, name="t0")
    info = service.warm_up()
    assert (info.name, info.device) == ("t0", "cpu") and "box" in info.notes[0]
    service.start(runs, None, "fit", 60)
    first = service.advance((), 5)
    last = service.advance((), 55)
    assert (first.step, last.step, last.total_steps, last.rays) == (5, 60, 60, 55 * FIELD.rays)
    assert last.psnr_db > first.psnr_db and last.device == "cpu" and last.seconds > 0

    novel = Camera("novel", 10, 8, SCENE.cameras[1].K / 2, SCENE.cameras[1].world_from_camera)
    receipt = service.render(RenderTask(novel, (1, 0), FRAMES, ("rgb", "depth")))
    reader = BlockReader(store)
    rgb, depth = reader.rows(receipt.blocks["rgb"].digest), reader.rows(receipt.blocks["depth"].digest)
    assert (rgb.shape, rgb.dtype, depth.shape, depth.dtype) == (
        (2, 8, 10, 3),
        np.uint8,
        (2, 8, 10),
        np.float32,
    )
    assert abs(rgb.astype(float).mean() - 200) < 25
    assert depth.min() >= 0.5 and depth.max() <= 20
    half = service.render(RenderTask(novel, (1,), FRAMES, ("rgb",), "float16")).blocks["rgb"]
    assert half.dtype == "float16" and np.abs(reader.rows(half.digest)[0] * 255 - rgb[0]).max() <= 0.6


def test_a_trained_camera_can_be_shown_in_its_own_exposure(tmp_path):
    store, level = open_store(tmp_path), {0: 200, 2: 120}
    runs = tuple(TableRun(v, 0, FRAMES, write_block(store, colours(level[v])).digest) for v in (0, 2))
    field = replace(FIELD, exposure="camera", lr_mlp=0.03)
    service = TrainerService(store.uri, SCENE, field, device="cpu", num_threads=1)
    service.start(runs, None, "fit", 60)
    service.advance((), 60)
    reader = BlockReader(store)

    def shown(view, exposure_of):
        receipt = service.render(RenderTask(SCENE.cameras[view], (0,), FRAMES, exposure_of=exposure_of))
        return float(reader.rows(receipt.blocks["rgb"].digest).mean())

    assert abs(shown(0, 0) - 200) < 12 and abs(shown(2, 2) - 120) < 12
    assert (
        abs(shown(1, None) - (200 * 120) ** 0.5) < 12
    )  # a camera that was not trained on: neutral, the mean of logarithms
    with pytest.raises(FitError, match="view 1 has no exposure"):
        shown(1, 1)


def test_a_lost_trainer_goes_on_from_its_checkpoint(place):
    """The same bits come out whether the trainer died in between, and however the steps were cut."""
    store, runs = place
    whole = trainer(store)
    whole.start(runs, None, "fit", 24)
    whole.advance((), 24)
    first = trainer(store)
    first.start(runs, None, "fit", 24)
    first.advance((), 10)
    saved = first.save()
    second = trainer(store)
    assert second.load(saved.digest) == saved.step == 10
    second.advance(runs, 14)
    assert second.save().digest == whole.save().digest


def test_a_refit_takes_frames_as_they_land(place):
    store, runs = place
    service = trainer(store, seed=1)
    service.start(runs, None, "fit", 40)
    service.advance((), 40)
    before = service.save()
    dark = write_block(store, colours(40)).digest
    service.start(runs, before.digest, "refit", 80)
    service.advance((TableRun(0, 0, FRAMES, dark),), 20)
    service.advance((TableRun(2, 0, 1, dark), TableRun(2, 1, 2, dark, 1)), 60)
    receipt = service.render(RenderTask(SCENE.cameras[1], (0,), FRAMES))
    assert BlockReader(store).rows(receipt.blocks["rgb"].digest).mean() < 100
    assert service.load(before.digest) == 40


def test_mistakes_are_named(place):
    store, runs = place
    service = trainer(store)
    with pytest.raises(FitError, match="no field"):
        service.advance((), 1)
    service.start(runs[:1], None, "fit", 5)
    with pytest.raises(FitError, match="frame 0 of view 2"):
        service.advance((), 1)
    with pytest.raises(FitError, match="rows"):
        service.advance((TableRun(2, 0, FRAMES + 1, runs[1].digest),), 1)
    for wrong in (
        RenderTask(SCENE.cameras[0], (5,), FRAMES),
        RenderTask(SCENE.cameras[0], (0,), FRAMES, ("normals",)),
    ):
        with pytest.raises(FitError, match="render"):
            service.render(wrong)
    with pytest.raises(BlockError):
        service.load("0" * 32)


def test_the_loss_of_refits_is_settled_and_said(place, monkeypatch, tmp_path):
    store, _ = place
    monkeypatch.setenv("I4D_LPIPS", str(tmp_path))
    monkeypatch.setenv("I4D_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="LPIPS: trunk"):
        TrainerService(store.uri, SCENE, replace(FIELD, refit_loss="perceptual"), device="cpu", num_threads=1)
    service = TrainerService(store.uri, SCENE, replace(FIELD, refit_loss="auto"), device="cpu", num_threads=1)
    assert "refits by squared error (perceptual ones are for GPUs)" in service.warm_up().notes[0]


def test_set_active_keeps_the_field(place):
    store, runs = place
    service = trainer(store)
    service.start(runs, None, "fit", 5)
    service.advance((), 5)
    before = service.save().digest
    service.set_active(False)
    with pytest.raises(FitError, match="off the device"):
        service.advance((), 1)
    service.set_active(True)
    assert service.save().digest == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(place):
    store, runs = place
    service = TrainerService(store.uri, SCENE, FIELD, device="cuda")
    service.warm_up()
    service.start(runs, None, "fit", 60)
    assert service.advance((), 60).psnr_db > 15
    service.set_active(False)
    service.set_active(True)
    receipt = service.render(RenderTask(SCENE.cameras[1], (0,), FRAMES, ("rgb", "depth")))
    assert abs(BlockReader(store).rows(receipt.blocks["rgb"].digest).astype(float).mean() - 200) < 25


@pytest.mark.parametrize("loss", ["perceptual", "auto"])
def test_a_local_edit_is_shown_whatever_the_refits_lessen(loss, place, monkeypatch):
    store, runs = place
    monkeypatch.setattr("i4d.services.trainer.find_lpips", lambda device: lambda a, b: (a - b).square().sum())
    config = replace(FIELD, refit_loss=loss, refit_patch=4)
    service = TrainerService(store.uri, SCENE, config, device="cpu", num_threads=1)
    service.start(runs, None, "fit", 5)
    service.advance((), 5)
    unedited = service.save().digest
    service.start(runs, unedited, "refit", 2)
    service.advance((), 2)
    allocated = []
    monkeypatch.setattr("i4d.fields.vector_matrix.fit.SliceAdam", lambda *args, **kwargs: allocated.append(1))
    region = Region(box=((-1.0, -1.0, 1.0), (1.0, 1.0, 5.0)))
    task = RenderTask(SCENE.cameras[0], (0,), FRAMES, ("rgb", "region"), local=LocalRender(region, unedited))
    shown = service.render(task)
    assert shown.blocks["rgb"].num_rows == 1 and shown.blocks["region"].row_shape == (HEIGHT, WIDTH)
    assert not allocated, "the unedited field is only looked at"


def test_renders_of_trained_cameras_use_corrected_ones_and_others_do_not(place):
    store, runs = place
    field = replace(FIELD, cameras="refined")
    service = TrainerService(store.uri, SCENE, field, device="cpu", num_threads=1)
    service.start(runs, None, "fit", 20)
    service.advance((), 20)
    row = torch.tensor([0.0, 0.3, 0.0, 0.1, 0.0, 0.2, 0.1])
    service._field().field.tensors["camera_corrections"][1] = row  # of view 2
    reader = BlockReader(store)

    def depth(camera):
        receipt = service.render(RenderTask(camera, (0,), FRAMES, ("depth",)))
        return torch.tensor(np.array(reader.rows(receipt.blocks["depth"].digest)[0]))

    given, image = SCENE.cameras[2], service._field().image
    assert torch.equal(depth(given), image(corrected(given, row), 0).depth_z)
    assert not torch.equal(depth(given), image(given, 0).depth_z)
    half = given.resized(WIDTH // 2, HEIGHT // 2)
    assert torch.equal(depth(half), image(corrected(half, row), 0).depth_z)
    for camera in (SCENE.cameras[1], replace(given, world_from_camera=SCENE.cameras[1].world_from_camera)):
        assert torch.equal(depth(camera), image(camera, 0).depth_z)
