"""A small edited run for the pages to show."""

import pytest

from i4d import cli

SMALL = """
scene: {width: 64, height: 48, num_frames: 4, drop: [cam02, cam03, cam04, cam06, cam07, cam08, cam09]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 60, refit_steps: 20,
         rays: 128, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 1, key_views: 2, diffusion_steps: 2, refine_diffusion_steps: 1,
  restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
cluster: {threads: 1}
"""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run folder with one committed round, made by the command line with the bundled editor."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "small.yaml").write_text(SMALL)
    arguments = [
        "edit",
        "--scene",
        "demo",
        "--prompt",
        "make it night",
        "--out",
        folder / "run",
        "--local",
        "--data",
        folder / "data",
    ]
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, [*arguments, "--config", folder / "small.yaml", "--device", "cpu"])])
    assert not end.value.code
    return folder / "run"
