"""Wide and tall cameras on the page, commands under its pictures, figures in the terminal, warnings about a
blurred field.
"""

import numpy as np
import pytest
from reported_run import build, rig, videos

from i4d.metrics.kinds.appearance import LITTLE_DETAIL
from i4d.report.contact_sheet import TALL, WIDE, cell_width, sheet_html, sheet_png
from i4d.report.evaluate import evaluate
from i4d.report.in_words import summary, table
from i4d.report.layout import again, sheet, which
from i4d.report.page import faint, write_report
from i4d.report.tryout import Trial


def upright(path, width=16, height=28):
    scene = rig(width=width, height=height, held_out=0)
    shown = videos(scene)
    flat = [np.full_like(video, 90) for video in shown]  # a field that lost what the editor drew
    flat[0][:, ::9] = 120
    renders = {
        "before/cam00": shown[0],
        "after/cam00": flat[0],
        "path/before": shown[0],
        "path/after": flat[0],
    }
    renders["key/before"] = np.stack([video[1] for video in shown])
    depths = [np.full(video.shape[1:3], 2.0) for video in shown]
    edited = {v: shown[v] for v in scene.train_views}
    return build(path, scene, shown, renders, edited, depths, weights="another editor's")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return upright(tmp_path_factory.mktemp("tall") / "tall")


@pytest.fixture(scope="module")
def metrics(run):
    return evaluate(run)


def test_tall_cameras_stand_side_by_side_and_wide_ones_share_the_width(run, metrics):
    page = write_report(run).read_text()
    assert page.count('class="videos tall" style="--count: 3; --shape: 0.571"') == 1, (
        "original, reconstruction, edited"
    )
    assert 'class="videos many tall"' in page and "calc(min(44vh, 420px) * 0.571)" in page
    assert sheet(5, rig().cameras[0]) == "grid-template-columns: auto repeat(5, minmax(150px, 1fr))"


def test_sections_tell_the_command_that_makes_them_and_count_frames_from_0(run, metrics):
    page = write_report(run).read_text()
    for command in (
        "render tall --path side-by-side",
        "render tall --path spiral",
        "eval tall",
        "report tall",
    ):
        assert f"Again: <code>i4d {command}</code>" in page
    assert "Frame 1 of 0 to 3: all training cameras" in page and which(0, 1) == "frame 0 of 0 to 0"
    assert (
        again("<x>", "report") == "<p class='again'>Again: <code>i4d report &#x27;&lt;x&gt;&#x27;</code></p>"
    )


def test_a_field_that_lost_the_edit_is_told_in_page_and_terminal(run, metrics):
    kept = metrics["edit"]["look"]["edges_kept"]["value"]
    assert kept < LITTLE_DETAIL and "so its renders are blurred" in faint(metrics)[0]
    assert "so its renders are blurred" in write_report(run).read_text()
    assert any("more steps help (field.fit_steps" in line for line in summary(metrics))
    metrics = {**metrics, "edit": {**metrics["edit"], "look": {"edges_kept": {"value": 0.8}}}}
    assert not faint(metrics) and any(line.endswith("0.80 (best near 1)") for line in summary(metrics))
    assert not faint({"edit": {"look": {"edges_kept": {"value": None, "reason": "held out"}}}}) and not faint(
        {}
    )


def test_the_terminal_has_every_figure_with_its_interval_in_80_columns(metrics):
    lines = table(metrics)
    assert max(map(len, lines)) <= 80
    flicker = next(line for line in lines if line.startswith("  Flicker in time"))
    low, high = metrics["edit"]["temporal"]["edited"]["interval"]
    assert f"{low:.2f} to {high:.2f}" in flicker and flicker.endswith("down")
    assert sum(line.startswith("not measured, ") for line in lines) >= 3, (
        "what has no weights or no answer says so"
    )
    told = " ".join(" ".join(lines).split())
    assert (
        "Edited render to the known answer, edges: only the bundled demonstration editor" in told
        and told.count("only the bundled demonstration editor") == 1
    )


def test_the_page_shows_intervals_of_every_part(run, metrics):
    page = write_report(run).read_text()
    low, high = metrics["edit"]["temporal"]["edited"]["interval"]
    psnr = metrics["reconstruction"]["of_trained_camera"]["psnr_interval_db"]
    for text in (f"<small>{low:.2f} to {high:.2f}</small>", f"<small>{psnr[0]:.2f} to {psnr[1]:.2f}</small>"):
        assert text in page


def test_a_contact_sheet_of_tall_frames_has_narrow_cells(tmp_path):
    flat, high = np.zeros((1, 20, 30, 3), np.uint8), np.zeros((3, 40, 20, 3), np.uint8)
    assert (cell_width(flat[0]), cell_width(high[0])) == (WIDE, TALL)
    trial = Trial("make it <night>", 1.0, 1.0, high, {"changed": {"value": 0.2}}, "changed")
    sheet_html(tmp_path / "x.html", high, [trial], "/data/mine.yaml", (), "my <gym>")
    sheet_png(tmp_path / "x.png", high, [trial])
    page = (tmp_path / "x.html").read_text()
    assert (
        "<div class='grid tall'>" in page
        and "Tried on my &lt;gym&gt;" in page
        and "--scene /data/mine.yaml" in page
    )
