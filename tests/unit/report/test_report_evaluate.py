"""metrics.json of runs whose figures are known beforehand."""

import json

import numpy as np
import pytest
import torch
from reported_run import NIGHT, build, noise, rig, videos

from i4d.commands.run_request import Request
from i4d.errors import ConfigError, I4DError
from i4d.metrics.image import image_psnr
from i4d.report.answers import ObjectAnswers, picture_answer
from i4d.report.evaluate import evaluate
from i4d.report.page import write_report
from i4d.report.shots import render_jobs
from i4d.scenes.procedural.demo import demo_cameras, render_frames, write_demo
from i4d.scenes.repertoire.pictures import PICTURES
from i4d.scenes.where import region_to_dict
from i4d.store.run_folder import RunFolder
from i4d.types import Region

FRAMES, WIDTH, HEIGHT = 3, 32, 24


def darker(video, by=51):
    return (video.astype(int) - by).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Exact answers of a small demo scene with three cameras, and its videos."""
    folder = tmp_path_factory.mktemp("demo") / "scene"
    write_demo(folder, WIDTH, HEIGHT, FRAMES, num_cameras=3)
    cameras = demo_cameras(WIDTH, HEIGHT, 3)
    scene = rig(3, FRAMES, WIDTH, HEIGHT, exact=str(folder / "exact"))
    shown = [np.stack(list(render_frames(c, range(FRAMES), FRAMES))) for c in cameras]
    return scene, shown


def edited_run(path, scene, shown, after, request=NIGHT, before=None, depths=True):
    keys = np.stack([shown[v][1] for v in scene.train_views])
    renders = {
        "before/cam00": shown[0] if before is None else before,
        "after/cam00": after,
        "key/before": keys,
    }
    flat = [np.full(keys.shape[1:3], 2.0)] * len(keys) if depths else None
    edited = {v: darker(shown[v]) for v in scene.train_views}
    return build(path, scene, shown, renders, edited, flat, request)


def test_psnr_of_known_differences():
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert image_psnr(grey, black) == pytest.approx(20 * np.log10(5))
    assert image_psnr(grey, grey) == 100
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    grey[0, 0] = 0
    assert image_psnr(grey, black, mask) == 100


def test_reconstruction_is_of_held_out_cameras_with_frame_counts(tmp_path):
    scene = rig()
    shown = videos(scene)
    metrics = evaluate(build(tmp_path / "run", scene, shown, {"before/cam00": (shown[0] // 2) * 2}))
    part = metrics["reconstruction"]
    error = (shown[0] % 2).astype(float) / 255
    assert part["psnr_db"] == pytest.approx(np.mean([-10 * np.log10((e**2).mean()) for e in error]), abs=2e-3)
    assert part["frames"] == 4 and part["cameras"] == ["cam00"] and 0.99 < part["ssim"] <= 1
    assert "edit" not in metrics and metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_without_a_held_out_camera_the_figure_is_null_with_a_reason(tmp_path):
    scene = rig(held_out=0)
    shown = videos(scene)
    part = evaluate(build(tmp_path / "run", scene, shown, {"before/cam00": shown[0]}))["reconstruction"]
    assert part["psnr_db"] is None and "held out" in part["reason"]
    assert part["of_trained_camera"]["psnr_db"] == 100 and part["of_trained_camera"]["frames"] == 4


def test_a_picture_edit_is_measured_against_its_exact_answer(tmp_path, demo):
    scene, shown = demo
    answers = np.stack([picture_answer("night", frame) for frame in shown[0]])
    edit = evaluate(edited_run(tmp_path / "run", scene, shown, answers))["edit"]
    assert (
        edit["name"] == "night"
        and edit["known_answer_psnr_db"] == 100
        and edit["known_answer_frames"] == FRAMES
    )
    assert edit["unedited_to_answer_psnr_db"] < 20
    assert edit["object"] is None and "whole image" in edit["object_reason"]


def test_an_object_edit_is_measured_inside_and_outside_its_mask(tmp_path, demo):
    scene, shown = demo
    exact = ObjectAnswers(scene.exact, scene.cameras[0], "ball_gold")
    answers = np.stack(list(exact.frames(list(range(FRAMES)))))
    changed = (answers != shown[0]).any(-1)
    for i in range(FRAMES):
        assert exact.inside(i).any() and not (exact.inside(i) & exact.outside(i)).any()
        assert not (changed[i] & exact.outside(i)).any(), "nothing changes beyond two pixels from the object"
    request = Request("edit", "turn the ball gold", editor="tiny")
    grainy = np.clip(shown[0].astype(int) + noise(shown[0].shape) % 9 - 4, 0, 255).astype(np.uint8)
    part = evaluate(edited_run(tmp_path / "run", scene, shown, answers, request, before=grainy))["edit"][
        "object"
    ]
    assert part["inside_db"] == 100 and part["unedited_inside_db"] < 25
    assert (
        part["outside_db"] == 100 and 35 < part["unedited_field_outside_db"] < 45 and part["frames"] == FRAMES
    )


def test_edited_frames_are_measured_before_any_field(tmp_path, demo):
    scene, shown = demo
    answers = {v: np.stack([picture_answer("night", frame) for frame in shown[v]]) for v in scene.train_views}
    renders = {"before/cam00": shown[0], "after/cam00": shown[0]}
    exact = evaluate(build(tmp_path / "exact", scene, shown, renders, answers, None, NIGHT))["edit"][
        "edited_frames"
    ]
    single = exact["known_answer_each_db"]
    assert exact["known_answer_psnr_db"] == 100
    assert single["values"] == [100.0] * FRAMES * len(scene.train_views)
    assert [tuple(c) for c in single["cameras"]] == [(v,) for v in scene.train_views for _ in range(FRAMES)]
    flickering = {
        v: np.stack([darker(f, 40 * (i % 2)) for i, f in enumerate(shown[v])]) for v in scene.train_views
    }
    edit = evaluate(build(tmp_path / "flicker", scene, shown, renders, flickering, None, NIGHT))["edit"]
    part = edit["edited_frames"]["temporal"]
    assert part["edited"]["error"] > 0.05 > part["originals"]["error"], (
        "the renders are steady, the edited frames are not"
    )
    assert len(part["edited"]["each"]["values"]) == FRAMES - 1 and edit["temporal_ratio"] <= 1
    keys = np.stack([shown[v][1] for v in scene.train_views])
    apart = {
        v: darker(shown[v], 40 * place) for place, v in enumerate(scene.train_views)
    }  # one camera is darker, in all its frames
    flat = [np.full(keys.shape[1:3], 2.0)] * len(keys)
    alike, unlike = (
        evaluate(build(tmp_path / name, scene, shown, {**renders, "key/before": keys}, edited, flat, NIGHT))[
            "edit"
        ]["edited_frames"]
        for name, edited in (("alike", {v: shown[v] for v in scene.train_views}), ("unlike", apart))
    )
    pairs = alike["cross_view"]["edited"]["each"]
    assert alike["cross_view"]["instants"] == [0, FRAMES - 1]
    assert list(zip(pairs["times"], map(tuple, pairs["cameras"]), strict=True)) == [
        (at, pair) for at in (0, 1) for pair in ((0, 1), (1, 0))
    ]
    assert unlike["cross_view"]["edited"]["error"] > alike["cross_view"]["edited"]["error"] + 0.05
    other = evaluate(
        edited_run(tmp_path / "other", scene, shown, shown[0], Request("edit", "a new thing", editor="tiny"))
    )["edit"]
    assert (
        other["edited_frames"]["known_answer_psnr_db"] is None
        and "names no" in other["edited_frames"]["known_answer_reason"]
    )


def test_steadiness_and_agreement_are_relative_to_the_unedited_field(tmp_path, demo):
    scene, shown = demo
    flickering = shown[0].copy()
    flickering[1::2] = darker(flickering[1::2], 40)
    edit = evaluate(edited_run(tmp_path / "run", scene, shown, flickering))["edit"]
    assert (
        edit["temporal_ratio"] > 2 and edit["temporal_warp_error"] > 2 * edit["temporal_warp_error_unedited"]
    )
    assert (
        edit["temporal"]["originals"] == edit["temporal"]["unedited_field"]
        and edit["temporal"]["frames"] == FRAMES
    )
    same = evaluate(edited_run(tmp_path / "same", scene, shown, shown[0]))["edit"]
    assert same["temporal_ratio"] <= 1.0
    assert same["cross_view"]["frames"] == 2 and same["cross_view_ratio"] == pytest.approx(1, abs=0.2), (
        "darker views agree as well"
    )


def test_figures_that_cannot_be_had_say_why(tmp_path):
    scene = rig(num_views=2)
    shown = videos(scene)
    metrics = evaluate(build(tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {1: shown[1]}))
    edit = metrics["edit"]
    assert edit["temporal_warp_error"] is None and "rendered" in edit["temporal"]["reason"]
    assert edit["cross_view_error"] is None and edit["cross_view"]["reason"]
    assert edit["known_answer_psnr_db"] is None and edit["known_answer_reason"] and edit["object_reason"]
    done = build(
        tmp_path / "more", scene, shown, {"before/cam00": shown[0], "after/cam00": shown[0]}, {1: shown[1]}
    )
    assert evaluate(done)["edit"]["known_answer_psnr_db"] < 20, "night is a function of any picture"


def test_work_is_counted_once_and_idleness_is_that_of_the_stages(tmp_path):
    scene = rig()
    shown = videos(scene)
    metrics = evaluate(
        build(tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {1: shown[1], 2: shown[2]})
    )
    assert metrics["timing"]["fit_s"] == 10 and metrics["timing"]["total_s"] == 20
    assert metrics["timing"]["trainer_busy_s"] == 10 and metrics["timing"]["editors_busy_s"] == 13
    assert metrics["unet_forwards"] == 21 and metrics["peak_memory_bytes"] == 1 << 20
    idle = {w["name"]: w["idle_share"] for w in metrics["workers"]}
    assert idle == {"trainer": 0.5, "editor-0": 0.0, "editor-1": 0.7}


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="request.json"):
        evaluate(RunFolder.create(tmp_path / "bare", {}))
    run = RunFolder.create(tmp_path / "begun", {})
    NIGHT.write(run)
    with pytest.raises(I4DError, match="not prepared"):
        evaluate(run)


def test_the_renders_of_a_run(tmp_path):
    jobs = {job.name: job for job in render_jobs(rig(num_views=4), 2)}
    assert set(jobs) == {
        "before/cam00",
        "after/cam00",
        "path/before",
        "path/after",
        "key/before",
        "others/before",
    }
    assert (
        jobs["others/before"].want == ("depth",)
        and [shot.frames for shot in jobs["others/before"].shots] == [(0,)] * 3 + [(3,)] * 3
    )
    assert "others/before" not in {job.name for job in render_jobs(rig(num_views=2), 2)}, (
        "one camera has nobody to disagree with"
    )
    assert [job.round for job in jobs.values()].count(-1) == 2 and jobs["key/before"].want == ("rgb", "depth")
    assert [shot.frames for shot in jobs["path/after"].shots] == [(0,), (1,), (2,), (3,)]
    assert len(jobs["key/before"].shots) == 3 and jobs["key/before"].shots[0].frames == (2,)
    centres = np.stack([shot.camera.centre for shot in jobs["path/before"].shots])
    assert 0.1 <= centres[:, 0].min() and centres[:, 0].max() <= 0.3, "the path stays between the cameras"
    assert {job.name for job in render_jobs(rig(held_out=0), None)} == {"before/cam00", "path/before"}


def test_a_picture_edit_has_its_answer_on_any_scene(tmp_path):
    """A rig of noise without exact answers: every figure equals the slow way, and is said what it is."""
    scene = rig(3, 4, WIDTH, HEIGHT)
    shown = videos(scene)
    renders = {"before/cam00": shown[0], "after/cam00": darker(shown[0])}
    edited = {v: darker(shown[v], 30) for v in scene.train_views}
    run = build(tmp_path / "run", scene, shown, renders, edited, request=Request("edit", "sepia please"))
    edit = evaluate(run)["edit"]

    def slowly(image, original):
        answer = PICTURES["sepia"](torch.from_numpy(original).permute(2, 0, 1)[None].double() / 255)
        levels = (answer[0].permute(1, 2, 0) * 255).round().numpy()
        return 10 * np.log10(255**2 / np.mean((image - levels) ** 2))

    near = np.mean([slowly(a, b) for a, b in zip(renders["after/cam00"], shown[0], strict=True)])
    far = np.mean([slowly(a, a) for a in shown[0]])
    before = np.mean([slowly(edited[v][i], shown[v][i]) for v in scene.train_views for i in range(4)])
    assert edit["known_answer_psnr_db"] == pytest.approx(near, abs=0.01) and edit["known_answer_frames"] == 4
    assert edit["unedited_to_answer_psnr_db"] == pytest.approx(far, abs=0.01)
    assert edit["edited_frames"]["known_answer_psnr_db"] == pytest.approx(before, abs=0.01)
    assert "demonstration editor's own function (sepia)" in edit["known_answer_is"]
    assert edit["look"]["known_answer_gradient_psnr_db"]["value"] > 0
    page = write_report(run).read_text()
    assert "own function (sepia) applied to the original frames" in page


@pytest.mark.parametrize("sentence", ["turn it into night", "turn the ball gold"])
def test_another_editor_has_no_known_answer(tmp_path, demo, sentence):
    scene, shown = demo
    renders = {"before/cam00": shown[0], "after/cam00": shown[0]}
    edited = {v: darker(shown[v]) for v in scene.train_views}
    request = Request("edit", sentence)
    for weights, why in (("another", "other weights"), ("", "not known")):
        run = build(
            tmp_path / f"by-{weights}", scene, shown, renders, edited, request=request, weights=weights
        )
        edit = evaluate(run)["edit"]
        assert edit["known_answer_psnr_db"] is None and why in edit["known_answer_reason"]
        assert "known_answer_is" not in edit and why in edit["object_reason"]
        assert why in edit["edited_frames"]["known_answer_reason"]
        assert why in edit["look"]["known_answer_gradient_psnr_db"]["reason"]


def test_object_edits_need_exact_renders_and_local_picture_edits_have_no_answer(tmp_path):
    scene = rig(3, 4, WIDTH, HEIGHT)
    shown = videos(scene)
    renders = {"before/cam00": shown[0], "after/cam00": shown[0]}
    edited = {v: darker(shown[v]) for v in scene.train_views}
    ball = build(tmp_path / "ball", scene, shown, renders, edited, request=Request("edit", "a golden ball"))
    assert "edit of an object" in evaluate(ball)["edit"]["known_answer_reason"]
    local = build(tmp_path / "local", scene, shown, renders, edited)
    local.write_json("region.json", region_to_dict(Region(((0, 0, 0), (1, 1, 1)), (), 2, 4, 0.05)))
    assert "inside a region" in evaluate(local)["edit"]["known_answer_reason"]
