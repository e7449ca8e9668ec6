"""The sections about how an edit came about: warps of a known motion, occlusions tinted, every picture
named.
"""

import numpy as np
import pytest
from reported_run import build, rig, videos

from i4d.errors import ConfigError
from i4d.plain import plain
from i4d.report.embed import picture_uri
from i4d.report.evolution import evolution, flow_overlays, shown_view, tinted, warped_frame
from i4d.report.footage import Footage
from i4d.report.page import key_frames
from i4d.store.blocks import write_block


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
    assert evolution(plain, 1) == "" == flow_overlays(plain, 1)
    run = build(
        tmp_path / "edited",
        scene,
        shown,
        {"before/cam00": shown[0]},
        {v: shown[v] for v in scene.train_views},
    )
    page = flow_overlays(Footage(run), 1)
    assert "What the flow carries" in page and page.count("<img alt=") == page.count("data:image/png") > 2
    assert "not explained" in page and "%)" in page


def test_every_round_shows_what_its_own_windows_began_with_and_the_kept_one_says_so(tmp_path):
    scene = rig(width=40, height=30)
    shown = videos(scene)
    run = build(
        tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {v: shown[v] for v in scene.train_views}
    )
    edited = {
        index: [255 - shown[v] if index == 1 else shown[v] // 2 for v in scene.train_views]
        for index in (1, 2)
    }
    for index, made in edited.items():
        digests = [write_block(run.store, video).digest for video in made]
        keys = plain(write_block(run.store, np.stack([video[1] for video in made])))
        runs = [
            [v, 0, scene.num_frames, digest, 0] for v, digest in zip(scene.train_views, digests, strict=True)
        ]
        run.write_manifest(
            index, {"overrides": runs, "receipts": {f"r{index}/key00": {"block": keys, "unet_forwards": 1}}}
        )
    run.write_json("rounds.json", {"kept": 1, "reason": "", "rounds": []})
    footage, view = Footage(run), scene.train_views[1]
    assert shown_view(footage) == view == shown_view(footage, "cam02") and shown_view(footage, "cam01") == 1
    with pytest.raises(ConfigError, match="cam00: no edited camera .one of cam01, cam02"):
        shown_view(footage, "cam00")
    section = evolution(footage, view)
    assert section.count("windows start here</figcaption>") == 2 and section.count("<small>kept</small>") == 1
    first, second = (picture_uri(edited[index][1][1]) for index in (1, 2))
    assert first != second and section.count(first) == 2 == section.count(second), (
        "the joint edit, and what its round began with"
    )
    assert np.array_equal(footage.edited_frame(view, 1), edited[1][1][1]), "of the kept round"
    assert "i4d report run --camera cam02" in section


def test_a_single_edited_camera_is_not_told_of_others(tmp_path):
    pages = {}
    for views in (2, 3):
        scene = rig(views, width=40, height=30)
        shown = videos(scene)
        run = build(
            tmp_path / str(views),
            scene,
            shown,
            {"before/cam00": shown[0]},
            {v: shown[v] for v in scene.train_views},
        )
        keys = plain(write_block(run.store, np.stack([shown[v][1] for v in scene.train_views])))
        manifest = run.manifests()[1]
        run.write_manifest(1, {**manifest, "receipts": {"r1/key00": {"block": keys, "unet_forwards": 1}}})
        pages[views] = evolution(Footage(run), 1) + key_frames(Footage(run))
    assert (
        "cameras" in pages[3]
        and "after its edit" in pages[2]
        and "edited first" in pages[2]
        and "cameras" not in pages[2]
    )
