"""Figures of every round: probes beside the known answer, curves with the kept round, nothing for runs of one
round.
"""

import re

import numpy as np
import pytest
from reported_run import build, rig, videos

from i4d.metrics.kinds.edited_frames import disagreement_elsewhere
from i4d.plain import plain
from i4d.report.answers import picture_answer
from i4d.report.by_round import by_round
from i4d.report.evaluation import RunEvaluation
from i4d.report.footage import Footage
from i4d.report.judging import probe_frames
from i4d.report.round_curves import curves
from i4d.store.blocks import write_block


def measured(index, **changes):
    parts = {"temporal": 0.4 - 0.05 * index, "cross_view": 0.2 - 0.03 * index}
    moved = None if index == 1 else 0.03 / index
    figures = {
        "change_edits": moved,
        "change_renders": moved,
        "disagreement": sum(parts.values()) / 2,
        "parts": parts,
    }
    return {"round": index, **figures, **changes}


@pytest.fixture
def run(tmp_path):
    """An edited run of three rounds, the second of which shows the answer exactly and the third something
    else.
    """
    scene = rig(exact=str(tmp_path))
    shown = videos(scene)
    run = build(
        tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {v: shown[v] for v in scene.train_views}
    )
    frames = probe_frames(scene.num_frames, 1)
    answer = np.stack([picture_answer("night", shown[0][frame]) for frame in frames])
    pictures = {1: shown[0][list(frames)], 2: answer, 3: 255 - answer}
    for index, video in pictures.items():
        for place in range(0, len(frames), 2):  # two calls a round
            blocks = {"rgb": plain(write_block(run.store, video[place : place + 2]))}
            run.append(
                {
                    "kind": "render",
                    "id": f"r{index}/probe{place // 2:02d}",
                    "inputs": "",
                    "receipt": {"blocks": blocks},
                }
            )
    run.write_json(
        "rounds.json", {"kept": 2, "reason": "nothing moves", "rounds": [measured(i) for i in (1, 2, 3)]}
    )
    return run


def test_every_round_is_held_against_the_known_answer(run):
    found = by_round(Footage(run))
    near = [r["known_answer_psnr_db"] for r in found]
    assert near[1] == 100.0 and near[0] < 30 > near[2]
    assert [r["kept"] for r in found] == [False, True, False]
    assert found[0]["change_edits"] is None and found[2]["parts"]["cross_view"] == pytest.approx(0.11)


def test_edited_frames_of_every_round_are_compared_between_cameras_elsewhere(tmp_path):
    scene = rig()
    shown = videos(scene)
    keys = np.stack([shown[v][1] for v in scene.train_views])
    flat = [np.full(keys.shape[1:3], 2.0)] * len(keys)
    edited = {v: (shown[v] // 2).astype(np.uint8) for v in scene.train_views}
    run = build(tmp_path / "run", scene, shown, {"before/cam00": shown[0], "key/before": keys}, edited, flat)
    run.write_json("rounds.json", {"kept": 1, "reason": "", "rounds": [measured(1)]})
    found = by_round(Footage(run))[0]
    expected = disagreement_elsewhere(RunEvaluation(Footage(run)), lambda view, frame: edited[view][frame])
    assert found["cross_view_elsewhere"] == round(expected.relative, 4) > 0


def test_curves_name_their_figures_mark_the_kept_round_and_the_threshold(run):
    section = curves(by_round(Footage(run)), 0.01)
    assert section.count("<svg") == 5 == section.count('role="img"') == section.count("<figcaption>")
    assert "round 2: 100" in section and section.count('class="cut"') == 1
    assert len(re.findall(r'fill="none" stroke="currentColor"', section)) == 6, (
        "a ring per line: four figures, two kinds of change"
    )
    assert 'class="cut"' not in curves(by_round(Footage(run)), 0.0), "no threshold, no line"


def test_rounds_without_answers_have_the_other_curves():
    section = curves([measured(i, known_answer_psnr_db=None, kept=i == 2) for i in (1, 2)], 0.01)
    assert section.count("<svg") == 4


def test_one_round_has_no_curves(tmp_path):
    scene = rig()
    shown = videos(scene)
    run = build(
        tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {v: shown[v] for v in scene.train_views}
    )
    assert by_round(Footage(run)) == [] and curves([], 0.01) == "" == curves([measured(1, kept=True)], 0.01)
