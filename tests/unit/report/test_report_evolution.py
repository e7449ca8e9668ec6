"""The sections about how an edit came about: warps of a known motion, occlusions tinted, every picture named."""

import numpy as np
from reported_run import build, rig, videos

from i4d.report.evolution import evolution, flow_overlays, tinted, warped_frame
from i4d.report.footage import Footage


def moving(shift):
    y, x = np.mgrid[0:60, 0:80].astype(np.float32)
    x = x + shift
    picture = np.stack([0.5 + 0.3 * np.sin(x / 5 + k) * np.cos(y / 6 - k) for k in range(3)], -1)
    return (picture * 255).round().astype(np.uint8)


def test_an_edit_follows_a_known_motion():
    reference, frame = moving(0), moving(3)
    warped, explained = warped_frame(reference, frame, 255 - reference)
    inside = (slice(6, -6), slice(6, -10))
    assert explained[inside].mean() > 0.95
    assert np.abs(warped[inside].astype(int) - (255 - frame)[inside]).mean() < 8


def test_only_what_is_not_explained_is_tinted():
    frame, where = moving(0), np.zeros((60, 80), bool)
    where[10:20, 10:20] = True
    out = tinted(frame, where)
    assert np.array_equal(out[~where], frame[~where])
    assert out[where][:, 0].mean() > frame[where][:, 0].mean() + 30


def test_an_unedited_run_has_neither_and_an_edited_one_names_its_pictures(tmp_path):
    scene = rig(width=40, height=30)
    shown = videos(scene)
    plain = Footage(build(tmp_path / "plain", scene, shown, {"before/cam00": shown[0]}))
    assert evolution(plain) == "" == flow_overlays(plain)
    run = build(tmp_path / "edited", scene, shown, {"before/cam00": shown[0]}, {v: shown[v] for v in scene.train_views})
    page = flow_overlays(Footage(run))
    assert "What the flow carries" in page and page.count("<img alt=") == page.count("data:image/png") > 2
    assert "not explained" in page and "%)" in page
