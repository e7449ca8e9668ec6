"""Scalars of known events, and files that hold them."""

import pytest

from i4d.report.tensorboard import scalars, write_tensorboard


def fit(step, psnr=20.0):
    return {
        "event": "FitProgress",
        "at_s": 1.0 * step,
        "step": step,
        "psnr_db": psnr,
        "rays": 1000,
        "seconds": 0.5,
    }


def window(reused=False, kept=0.9):
    return {"event": "WindowStored", "at_s": 9.0, "seconds": 2.0, "kept_share": kept, "reused": reused}


def test_a_refit_goes_on_where_the_fit_ended():
    found = [
        (step, value)
        for tag, value, step, _ in scalars([fit(10), fit(20), fit(5, 25.0)])
        if tag == "fit/psnr_db"
    ]
    assert found == [(10, 20.0), (20, 20.0), (25, 25.0)]
    assert {value for tag, value, *_ in scalars([fit(10)]) if tag == "fit/rays_per_s"} == {2000.0}


def test_windows_count_once_and_stages_by_round():
    stage = {"event": "StageFinished", "at_s": 2.0, "stage": "key frame", "round": 1, "seconds": 3.0}
    found = list(scalars([window(), window(reused=True), window(kept=None), stage]))
    assert [step for tag, _, step, _ in found if tag == "edit/window_s"] == [1, 2]
    assert [step for tag, _, step, _ in found if tag == "edit/share_carried_by_flow"] == [1]
    assert ("stage_s/key_frame", 3.0, 1, 2.0) in found


def test_files_are_written(tmp_path):
    pytest.importorskip("tensorboardX")

    class Run:
        def events(self):
            return [fit(1), fit(2), window()]

        def read_json(self, name):
            return {
                "reconstruction": {"psnr_db": 31.0},
                "edit": {"temporal_ratio": 0.9, "cross_view_ratio": None},
            }

    assert write_tensorboard(Run(), tmp_path / "tb") == 4 + 2 + 2
    files = list((tmp_path / "tb").iterdir())
    assert len(files) == 1 and b"metrics/temporal_ratio" in files[0].read_bytes()
