"""What the viewer shows, asked for by several threads; a painter that fails says so and goes on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reported_run import build, rig, videos

from i4d import config as cfg
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.report.viewer import Painter, Viewer
from i4d.report.viewing import RunViews
from i4d.store.named import put_checkpoint

TINY = {
    "grid_start": 1000,
    "grid_end": 1000,
    "growth_at": [],
    "density_components": [2, 1, 1],
    "colour_components": [2, 1, 1],
    "feature_dim": 4,
    "mlp_width": 8,
    "samples": 6,
    "proposals": 12,
    "shaded": 3,
}
ROUNDS = 3


def run_with_fields(path, **field):
    """Return a run with a random field of its own for each of three rounds."""
    scene = rig()
    run = build(path, scene, videos(scene), {}, told=[])
    config = cfg.from_dict(run.config(), "test")
    for key, value in {**TINY, **field}.items():
        setattr(config.field, key, value)
    run.write_config(cfg.to_dict(config))
    plain = VectorMatrixConfig(**TINY)
    for index in range(ROUNDS):
        fitter = Fitter(plain, space_for(scene.bounds, scene.cameras), scene.num_frames, index)
        digest = put_checkpoint(run.store, fitter.save())
        tree = {"overrides": [], "receipts": {}, "checkpoint": {"digest": digest, "step": 0, "size_bytes": 1}}
        run.write_manifest(index, tree)
    return run


@pytest.fixture
def run(tmp_path, one_thread):
    return run_with_fields(tmp_path / "run")


def test_threads_that_ask_for_more_rounds_than_are_held_get_what_one_gets(run):
    views = RunViews(run, "cpu")
    camera = views.scene.cameras[0]
    expected = [views.render(camera, 1, index) for index in range(ROUNDS)]
    assert not np.array_equal(expected[0], expected[1])
    wanted = [i % ROUNDS for i in range(60)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda index: views.render(camera, 1, index), wanted))
    assert all(np.array_equal(picture, expected[index]) for picture, index in zip(made, wanted, strict=True))
    assert len(views._fields) == 2


@pytest.mark.parametrize("loss", ["perceptual", "auto"])
def test_a_run_whose_refits_are_perceptual_can_be_looked_at(loss, tmp_path, one_thread):
    views = RunViews(run_with_fields(tmp_path / "run", refit_loss=loss), "cpu")
    assert views.render(views.scene.cameras[0], 0, 1).shape == (16, 20, 3)
    assert torch.isfinite(views.unedited(views.scene.cameras[0], 0).depth_z).all()


def test_to_look_at_a_picture_no_optimiser_is_made(run, monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError("an optimiser was allocated")

    monkeypatch.setattr("i4d.fields.vector_matrix.fit.SliceAdam", refuse)
    views = RunViews(run, "cpu")
    assert views.render(views.scene.cameras[0], 0, 1).any()


class Browser:
    """What a painter needs of viser's client: where its camera stands, and a place for the picture."""

    client_id = 1

    def __init__(self):
        self.camera = SimpleNamespace(wxyz=(1, 0, 0, 0), position=(0, 0, 0), fov=0.9, aspect=1.25)
        self.scene, self.pictures, self.painted = self, [], threading.Event()

    def set_background_image(self, image, format):
        self.pictures.append(image)
        if len(image) == 16:
            self.painted.set()


class Page(Viewer):
    """A viewer without a server: one painter, the status as a list of what it said."""

    def __init__(self, views, wrong):
        self.views, self.height, self.chosen_look, self._trouble = views, 16, "after", ""
        self.frame, self.round = SimpleNamespace(value=0), SimpleNamespace(value="1", options=("0", "1"))
        self.go = SimpleNamespace(value=views.scene.cameras[0].name)
        self.said, self.told = [], threading.Event()
        self.status = self
        plain, wrong = views.render, list(wrong)
        views.render = lambda *args: self._fail(wrong.pop()) if wrong else plain(*args)

    def _fail(self, err):
        raise err

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "content":
            self.said.append(value)
            self.told.set()

    def show_photos(self):
        pass


def test_a_painter_that_fails_is_told_in_the_browser_and_goes_on(run):
    page, browser = Page(RunViews(run, "cpu"), [RuntimeError("out of\nmemory")]), Browser()
    painter = Painter(page, browser)
    try:
        painter.ask()
        assert page.told.wait(60), "nothing was said"
        assert "RuntimeError: out of memory" in page.said[0] and not browser.pictures
        painter.ask()
        assert browser.painted.wait(60), "the painter did not go on"
    finally:
        painter.close()
