"""Through the real command line, tiny, on threads: masks, a given key frame, one moving camera; what is
refused before a run begins.
"""

import json

import cv2
import numpy as np
import pytest
from test_demo import SMALL, run

from i4d.report.footage import Footage
from i4d.store.run_folder import RunFolder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
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


def frames_differ(footage, view, frame):
    return (footage.edited_frame(view, frame).astype(int) != footage.original(view, frame)).any(-1)


def test_masks_and_a_given_key_frame_of_the_demo(place, common):
    """Masks of two cameras, none of the third nor of the one that is measured; the key frame of one of them
    painted by hand.
    """
    for name in ("cam01", "cam05"):
        (place / "masks").mkdir(exist_ok=True)
        mask = np.zeros((36, 48), np.uint8)
        mask[8:30, 4:26] = 255
        cv2.imwrite(str(place / "masks" / f"{name}.png"), mask)
    painted = np.full((36, 48, 3), (0, 0, 255), np.uint8)
    cv2.imwrite(str(place / "red.png"), painted)
    out = place / "runs" / "both"
    options = [
        "--where",
        place / "masks",
        "--reference",
        place / "red.png",
        "--reference-camera",
        "cam05",
        "--no-check",  # a picture of one colour lies on nothing
        "--set",
        "local.feather_px=0",
    ]
    assert (
        run("edit", "--scene", "demo", "--prompt", "turn the ball gold", "--out", out, *options, *common) == 0
    )
    footage = Footage(RunFolder.open(out))
    names = {footage.camera(v).name: v for v in footage.scene.train_views}
    inside = cv2.imread(str(place / "masks" / "cam05.png"), 0) > 0
    key = footage.edited_frame(names["cam05"], 1)
    assert (key[inside] == (255, 0, 0)).all(), "inside, the key frame is the given one"
    for view in names.values():
        changed = frames_differ(footage, view, 2)
        if footage.camera(view).name in ("cam01", "cam05"):
            assert changed[inside].any() and not changed[~inside].any()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["edit"]["known_answer_psnr_db"] is None, "of random weights nothing is known"
    page = (out / "report" / "index.html").read_text()
    assert "masks of 2 camera(s)" in page and "key frame of cam05 was given" in page
    assert run("render", out, "--path", "held-out", "--local", "--device", "cpu") == 0


def test_one_moving_camera_with_a_box(place, common):
    out = place / "runs" / "mono"
    scene = place / "mono.yaml"
    scene.write_text("scene: {name: demo_mono, reader: demo_mono, bounds: ndc, held_out: [cam01]}\n")
    box = "-1.5,-1.5,0.5,0.0,1.5,9"  # the left half of the world
    more = [
        "--where=" + box,
        "--set",
        "scene.drop=[]",
        "--set",
        "schedule.single=intended",
        "--set",
        "scene.held_out=[cam01]",
    ]
    assert run("edit", "--scene", scene, "--prompt", "turn the ball gold", "--out", out, *more, *common) == 0
    folder = RunFolder.open(out)
    assert folder.config()["editor"]["attention"] == "anchor_self" and max(folder.manifests()) == 2
    footage = Footage(folder)
    assert footage.watched == (1,) and footage.camera(0).path.shape == (4, 4, 4)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["edit"]["cross_view"]["reason"] == "one camera has nobody to disagree with"
    assert (out / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    "options, says",
    [
        (["--where", "the ball"], "segmentation model"),
        (["--where", "0,0,0,1,1"], "5 numbers"),
        (["--reference", "nowhere.png"], "no such file"),
        (["--reference-camera", "cam01"], "without --reference"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run_begins(place, common, capsys, options, says):
    out = place / "runs" / "refused"
    assert run("edit", "--scene", "demo", "--prompt", "make it night", "--out", out, *options, *common) == 2
    assert says in capsys.readouterr().err and not out.exists()
