"""The reconstruction that a run reports is that of the fit alone, and the bench's: one definition."""

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_demo import run

from i4d.fields.frames import FrameBank
from i4d.fields.vector_matrix.fit import Fitter
from i4d.fields.vector_matrix.spaces import space_for
from i4d.fields.workers import Workers
from i4d.metrics.image import as_uint8, image_psnr
from i4d.report.footage import Footage
from i4d.scenes.procedural.rigs import write_rig
from i4d.store.run_folder import RunFolder

PRESET = """
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 60, rays: 64, samples: 12,
        proposals: 24}
"""
SCENE = """
scene: {name: toy, reader: n3dv, root: %s, held_out: [cam00], check: false}
"""


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "scripts" / "bench_scenes.py"
    spec = importlib.util.spec_from_file_location("bench_scenes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_scenes"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_scenes"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels add up in another order each time")
def test_run_fit_and_bench_tell_one_figure(tmp_path, bench):
    """Six cameras, so that the space is tried; a plain Fitter with the run's seed, frames and space."""
    write_rig(tmp_path / "toy", "narrow", 1, 48, 36, 4, 6)
    (tmp_path / "preset.yaml").write_text(PRESET)
    (tmp_path / "scene.yaml").write_text(SCENE % (tmp_path / "toy"))
    out, scene_file = tmp_path / "run", tmp_path / "scene.yaml"
    options = [
        "--preset",
        tmp_path / "preset.yaml",
        "--local",
        "--device",
        "cpu",
        "--set",
        "cluster.threads=1",
    ]
    assert run("train", "--scene", scene_file, "--out", out, *options) == 0
    told = json.loads((out / "metrics.json").read_text())["reconstruction"]

    footage = Footage(RunFolder.open(out))
    scene, frames = footage.scene, range(footage.scene.num_frames)
    args = Namespace(
        preset=[tmp_path / "preset.yaml"], set=[], steps=0, seconds=[], measured=0, data=None, toy=False
    )
    config = bench.scene_settings(str(scene_file), args, tmp_path)
    bank = FrameBank(scene.cameras, scene.train_views, scene.num_frames)
    for view in scene.train_views:
        bank.put(view, 0, np.stack([footage.original(view, f) for f in frames]))
    space = space_for(scene.bounds, scene.cameras)
    fitter = Fitter(config.field, space, scene.num_frames, 0, "cpu", Workers(1), views=scene.train_views)
    fitter.begin("fit", config.field.fit_steps)
    fitter.advance(bank, config.field.fit_steps)
    shown = [as_uint8(fitter.image(scene.cameras[0], f).rgb) for f in frames]
    assert all((footage.rendered("before/cam00", f) == shown[f]).all() for f in frames), "to the bit"
    alone = float(np.mean([image_psnr(shown[f], footage.original(0, f)) for f in frames]))
    assert told["psnr_db"] == pytest.approx(alone, abs=1e-3) and told["frames"] == len(frames)

    (row,) = bench.fits(bench.read(config, None), config, 0, args, None)
    assert row["held_out"]["psnr_db"] == pytest.approx(alone, abs=1e-3)
    assert row["held_out"]["ssim"] == pytest.approx(told["ssim"], abs=1e-4)
    depth = {"depth_within_2_percent", "edges_within_5_percent", "matched", "correct_matches"}
    assert depth <= set(row["held_out"])
