"""A tiny edit of the bundled scene through the real command line, on threads: files, figures, stop and
resume, ckpt.
"""

import json
import re

import pytest

from i4d import cli
from i4d.scenes.decode import probe
from i4d.store.run_folder import RunFolder

SMALL = """
scene: {width: 48, height: 36, num_frames: 4, drop: [cam02, cam03, cam04, cam06, cam07, cam08, cam09]}
field: {grid_start: 4096, grid_end: 8000, growth_at: [0.5], fit_steps: 24, refit_steps: 12,
         rays: 64, samples: 12, proposals: 24}
schedule: {key_frame: 1, key_steps: 2, key_views: 2, diffusion_steps: 2, refine_diffusion_steps: 1,
  restview_refine_diffusion_steps: 1, sequence_length: 2, refit: barrier}
cluster: {threads: 1}
"""
FLAT_DB = 15.9  # a picture of the mean colour has 15.4 dB here: so short a fit has learned something


def run(*arguments):
    """Run the command line in this process; return its exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code or 0


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_editor_folder):
    folder = tmp_path_factory.mktemp("e2e")
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def common(place, tiny_editor_folder):
    return [
        "--local",
        "--data",
        place / "data",
        "--config",
        place / "small.yaml",
        "--weights",
        tiny_editor_folder,
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="module")
def common_train(place):
    return ["--local", "--data", place / "data", "--config", place / "small.yaml", "--device", "cpu"]


@pytest.fixture(scope="module")
def edited(place, common):
    out = place / "runs" / "edited"
    assert run("edit", "--scene", "demo", "--prompt", "turn the ball <gold>", "--out", out, *common) == 0
    return out


def digests(out):
    manifests = RunFolder.open(out).manifests()
    return {index: (m["table"], m["checkpoint"]["digest"]) for index, m in manifests.items()}


def test_a_run_leaves_figures_videos_and_a_page(edited):
    metrics = json.loads((edited / "metrics.json").read_text())
    assert metrics["reconstruction"]["psnr_db"] > FLAT_DB and 0.1 < metrics["reconstruction"]["ssim"] <= 1
    assert "other weights" in metrics["edit"]["known_answer_reason"], "random ones, not the bundled editor's"
    assert metrics["edit"]["temporal_warp_error"] > 0 and metrics["edit"]["cross_view_error"] > 0
    assert metrics["timing"] and all(seconds >= 0 for seconds in metrics["timing"].values())
    videos = sorted((edited / "videos").glob("*.mp4"))
    assert videos and all(probe(video).width >= 96 for video in videos), "small scenes are enlarged"
    page = (edited / "report" / "index.html").read_text()
    assert "&lt;gold&gt;" in page and "<gold>" not in page, "what the user typed is escaped"
    assert not re.search(r'(src|href)="(https?:|/|\.\./)', page), "the page needs nothing but itself"
    assert "data:video/mp4;base64," in page and "<svg" in page
    config = RunFolder.open(edited).config()
    assert config["editor"]["text_guidance"] == 9.5 and config["scene"]["root"].startswith("/"), (
        "what was chosen is stored"
    )


def test_a_stopped_run_resumes_to_the_same_result(edited, place, common, monkeypatch, capsys):
    out, asked = place / "runs" / "stopped", []
    before = RunFolder.stop_requested

    def stop_later(folder):
        asked.append(1)
        return len(asked) > 6 or before(folder)

    monkeypatch.setattr(RunFolder, "stop_requested", stop_later)
    assert run("edit", "--scene", "demo", "--prompt", "turn the ball <gold>", "--out", out, *common) == 130
    assert f"i4d resume {out}" in capsys.readouterr().err
    assert not (out / "metrics.json").exists()
    monkeypatch.undo()
    assert run("resume", out, "--local", "--device", "cpu", "--set", "cluster.threads=1") == 0
    assert digests(out) == digests(edited)
    assert (out / "report" / "index.html").exists()


def test_an_edit_starts_from_a_trained_field(edited, place, common, common_train, capsys):
    trained, out = place / "runs" / "trained", place / "runs" / "from-ckpt"
    assert run("train", "--scene", "demo", "--out", trained, *common_train) == 0
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["reconstruction"]["psnr_db"] > FLAT_DB and "edit" not in metrics
    assert digests(trained)[0][1] == digests(edited)[0][1], "the same fit"
    capsys.readouterr()
    assert (
        run(
            "edit",
            "--scene",
            "demo",
            "--prompt",
            "turn the ball <gold>",
            "--out",
            out,
            "--ckpt",
            trained,
            *common,
        )
        == 0
    )
    assert "  fit: done" not in capsys.readouterr().err
    assert digests(out) == digests(edited)


def test_more_can_be_rendered_measured_and_reported(edited, capsys):
    for path in ("spiral", "held-out", "side-by-side"):
        assert run("render", edited, "--path", path, "--local", "--device", "cpu") == 0
        assert probe(edited / "videos" / f"{path}.mp4").num_frames == 4
    before = json.loads((edited / "metrics.json").read_text())
    assert run("eval", edited) == 0 and run("report", edited) == 0
    after = json.loads((edited / "metrics.json").read_text())
    assert after["edit"] == before["edit"], "measured alike"
    assert after["reconstruction"] == before["reconstruction"]
    assert (
        run("eval", edited, "--each-frame", "3") == 0
        and run("eval", edited) == 0
        and run("report", edited) == 0
    )
    found = json.loads((edited / "metrics.json").read_text())["edit"]
    assert (
        found["temporal"]["each_frame_by_itself"]["frames"] == 3
        and found["cross_view"]["each_frame_by_itself"]["frames"] == 2
    )
    assert "edited by itself" in (edited / "report" / "index.html").read_text()
    capsys.readouterr()
    assert run("status", edited) == 0
    assert "state: finished" in capsys.readouterr().out
    assert run("logs", edited) == 0
    told = capsys.readouterr().out
    assert (
        "placement: " in told
        and "round 1 of 1" in told
        and "renders: done in" in told
        and "finished in" in told.splitlines()[-1]
    )


def test_prepared_blocks_are_found_again(place, common_train, monkeypatch, capsys):
    out = place / "runs" / "prepared"
    small = [x for x in common_train if x not in ("--local", "--device", "cpu")]
    assert run("prepare", "--scene", "demo", "--out", out, *small) == 0
    monkeypatch.setattr("i4d.scenes.prepare.working_frames", lambda *_: pytest.fail("decoded again"))
    assert run("train", "--scene", "demo", "--out", out, *common_train) == 0


def test_a_full_disk_is_one_line_and_the_run_can_go_on(place, common_train, monkeypatch, capsys):
    """ENOSPC from the operating system while blocks are prepared: no folder is left."""
    import errno
    import os

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out, counted, real = place / "runs" / "full", [], os.fsync

    def full_later(handle):
        counted.append(1)
        return real(handle) if len(counted) < 5 else full(handle)

    monkeypatch.setattr("i4d.store.objects.os.fsync", full_later)
    assert run("train", "--scene", "demo", "--out", out, *common_train) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "the disk is full" in told[0] and not out.exists()
