"""The page: well-formed, self-contained, what users typed is escaped, bounded in size; the videos and the
timeline.
"""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import yaml
from reported_run import build, events, noise, rig, videos

from i4d.commands.run_request import Request
from i4d.report.embed import picture_uri, video_uri
from i4d.report.evaluate import evaluate
from i4d.report.footage import Footage
from i4d.report.page import limits, write_report
from i4d.report.timeline import Clock, fit_svg, merged, tick_step, timeline_svg
from i4d.report.videos import Clip, enlarged, side_by_side, write_clip, write_videos
from i4d.report.workload import Span, workload
from i4d.scenes.decode import probe, read_video

EVIL = '<script>alert("x")</script> & <b>night</b>'
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tags, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [
            value for name, value in attrs if name in ("src", "href", "action", "poster", "data")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def edited(path, prompt="turn it into night", scene=None, **options):
    scene = scene or rig()
    shown = videos(scene)
    other = videos(scene, 50)
    renders = {f"{when}/cam00": x for when, x in (("before", shown[0]), ("after", other[0]))}
    renders |= {
        "path/before": shown[0],
        "path/after": other[0],
        "key/before": np.stack([v[1] for v in shown[1:]]),
    }
    depths = [np.full(v.shape[1:3], 2.0) for v in shown[1:]]
    request = Request("edit", prompt, demonstration=True, notices=("a <demonstration> editor",))
    return build(
        path, scene, shown, renders, {v: other[v] for v in scene.train_views}, depths, request, **options
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = edited(tmp_path_factory.mktemp("page") / "run", EVIL)
    return write_report(run).read_text()


def test_the_page_is_well_formed_and_needs_nothing_but_itself(page):
    parsed = Page(page)
    assert not parsed.wrong and not parsed.open
    assert parsed.addresses and all(address.startswith("data:") for address in parsed.addresses)
    assert (
        "http://" not in page.replace('"http://www.w3.org', "")
        and "https://" not in page
        and "@import" not in page
    )
    assert [t for t, _ in parsed.tags].count("script") == 1 and "<h1>" in page
    assert any(
        a.get("http-equiv") == "Content-Security-Policy" and "default-src 'none'" in a["content"]
        for _, a in parsed.tags
    )


def test_what_people_typed_is_shown_and_never_run(page):
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &lt;b&gt;night&lt;/b&gt;" in page
    assert "<script>alert" not in page and "<b>night" not in page
    assert "a &lt;demonstration&gt; editor" in page


def test_pictures_and_videos_are_there_and_described(page):
    tags = Page(page).tags
    clips = [a for t, a in tags if t == "video"]
    assert len(clips) == 3 + 2 + 2, "original, reconstruction, edited; path twice; two trained cameras"
    assert all(a["aria-label"] and a["src"].startswith("data:video/mp4;base64,") for a in clips)
    assert base64.b64decode(clips[0]["src"].split(",")[1])[4:8] == b"ftyp"
    sheet = [a for t, a in tags if t == "img"]
    assert all(a["alt"] for a in sheet) and sum("key frame of cam0" in a["alt"] for a in sheet) == 4
    warps = [a["alt"] for a in sheet if "cam0" in a["alt"] and "key frame of" not in a["alt"]]
    assert len(warps) % 3 == 0 and len(warps) >= 3, (
        "warp, occlusion and edit of some frames after the key frame"
    )


def test_figures_settings_and_command_are_there(page):
    for text in (
        "Reconstruction, PSNR",
        "Flicker in time",
        "UNet forwards",
        "Idle while editing",
        "each on a card of its own",
    ):
        assert text in page
    for key in ("schedule.key_frame", "field.rays", "flow.method", "editor.weights"):
        assert f"<code>{key}</code>" in page
    assert "i4d edit --prompt" in page and "--config run/config.yaml" in page


def test_a_run_without_an_edit_has_a_page_too(tmp_path):
    scene = rig()
    shown = videos(scene)
    run = build(tmp_path / "fit", scene, shown, {"before/cam00": shown[0], "path/before": shown[0]}, told=[])
    text = write_report(run).read_text()
    assert (
        not Page(text).wrong and "reconstructed" in text and "Key frame" not in text and "i4d train" in text
    )


def test_figures_are_not_made_up(tmp_path):
    scene = rig(held_out=0)
    shown = videos(scene)
    run = build(
        tmp_path / "run", scene, shown, {"before/cam00": shown[0]}, {v: shown[v] for v in scene.train_views}
    )
    text = write_report(run).read_text()
    assert "n/a" in text and "Not available: " in text and "training camera" in text


# ------------------------------------------------------------------------------------------------ sizes
def test_a_large_video_is_made_smaller_for_the_page(tmp_path):
    path = tmp_path / "big.mp4"
    frames = noise((6, 240, 320, 3))
    write_clip(path, Clip("big", "", "", (lambda i: frames[i],), 6), 8.0)
    assert path.stat().st_size > 200_000
    data = base64.b64decode(video_uri(path, 60_000).split(",")[1])
    assert len(data) <= 60_000
    small = tmp_path / "small.mp4"
    small.write_bytes(data)
    facts = probe(small)
    assert facts.num_frames == 6 and facts.width < 320 and abs(facts.width / facts.height - 4 / 3) < 0.05
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.mp4", "small.mp4"], "nothing is left behind"
    assert base64.b64decode(video_uri(path, 10**9).split(",")[1]) == path.read_bytes()


def test_pictures_are_shrunk_to_the_sheet():
    assert picture_uri(noise((16, 20, 3))).startswith("data:image/png")
    uri = picture_uri(noise((600, 1200, 3)))
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert uri.startswith("data:image/jpeg") and pixels.shape == (240, 480, 3)


# ------------------------------------------------------------------------------------------------ videos
def test_videos_are_written_enlarged_and_in_step(tmp_path):
    run = edited(tmp_path / "run")
    made = write_videos(run)
    assert set(made) == {
        "cam00-original",
        "cam00-reconstruction",
        "cam00-edited",
        "cam00-side-by-side",
        "path-before",
        "path-after",
        "path-side-by-side",
        "edited-cam01",
        "edited-cam02",
    }
    for name, path in made.items():
        facts = probe(path)
        assert facts.num_frames == 4 and facts.height >= 240 and facts.fps == 8, name
    assert probe(made["cam00-side-by-side"]).width == 3 * 300 + 2 * 8
    assert not list((run.path / "videos").glob("*.partial*"))


def test_a_video_shows_its_frames_in_order(tmp_path):
    levels = [20, 90, 160, 230]
    clip = Clip("x", "", "x", (lambda i: np.full((32, 48, 3), levels[i], np.uint8),), 4)
    shown = [frame.mean() for frame in read_video(write_clip(tmp_path / "x.mp4", clip, 5.0), 0, 4)]
    assert np.allclose(shown, levels, atol=3)


def test_panels_stand_side_by_side():
    left, right = np.zeros((10, 20, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)
    row = side_by_side([left, right])
    assert (
        row.shape == (10, 20 + 8 + 10, 3)
        and row[:, :20].max() == 0
        and row[:, 20:28].min() == 255
        and (row[:, 28:] == 200).all()
    )
    assert side_by_side([left, right], ("a", "b")).shape == (32, 38, 3)
    assert enlarged(left).shape == (240, 480, 3) and enlarged(np.zeros((300, 400, 3), np.uint8)).shape == (
        300,
        400,
        3,
    )


# ------------------------------------------------------------------------------------------------ timeline
def test_the_timeline_has_a_row_per_worker_with_its_device():
    svg = timeline_svg(workload(events()))
    for name in ("trainer", "editor-0", "editor-1", "cuda:0 (toy)", "cuda:1 (toy)", "cuda:2 (toy)"):
        assert svg.count(f">{name}<") == 1
    kinds = re.findall(r'<rect class="k-([a-z-]+)"', svg)
    assert sorted(kinds) == ["fit", "key-frame", "window", "window"], (
        "ten calls of one fit are one bar; reused work is no work"
    )
    widths = [float(x) for x in re.findall(r'<rect class="k-window"[^>]* width="([0-9.]+)"', svg)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)


def test_the_pause_before_a_resume_is_cut_out():
    later = [
        {**e, "at_s": e["at_s"] + 5000, **({"started_s": e["started_s"] + 5000} if "started_s" in e else {})}
        for e in events()
    ]
    once, twice = Clock(workload(events())), Clock(workload(events() + later))
    assert once.length == pytest.approx(20) and not once.cuts
    assert twice.length == pytest.approx(40) and len(twice.cuts) == 1
    assert twice.seconds(6000.0) == pytest.approx(20), "the second session begins where the first ended"


def test_neighbouring_calls_are_joined_but_not_over_gaps():
    spans = [
        Span("w", "cpu", "fit", "a", 0, 1),
        Span("w", "cpu", "fit", "b", 1.05, 2),
        Span("w", "cpu", "fit", "c", 5, 6),
    ]
    assert [(s.began_s, s.ended_s) for s in merged(spans, 0.1)] == [(0, 2), (5, 6)]
    windows = [Span("w", "cpu", "window", str(i), i, i + 1) for i in range(3)]
    assert len(merged(windows, 0.1)) == 3


@pytest.mark.parametrize("length", [3.0, 47.0, 500.0, 7000.0, 90000.0, 3e6])
def test_the_axis_has_few_round_ticks(length):
    assert 2 <= length / tick_step(length) <= 8.1


def test_the_report_measures_a_run_that_was_not_measured(tmp_path):
    run = edited(tmp_path / "run")
    assert not (run.path / "metrics.json").exists()
    write_report(run)
    assert run.read_json("metrics.json")["edit"] == evaluate(run)["edit"]


def test_warnings_of_the_run_stand_with_the_work_and_notices_on_top(tmp_path):
    warned = [
        {"event": "Warned", "at_s": 1001.0, "text": text}
        for text in ("a <demonstration> editor", "out of memory: halves")
    ]
    text = write_report(edited(tmp_path / "run", told=[*events(), *warned])).read_text()
    assert text.count("a &lt;demonstration&gt; editor") == 1 and text.count("out of memory: halves") == 1
    assert (
        text.index("demonstration&gt;")
        < text.index("From camera")
        < text.index("Who worked when")
        < text.index("out of memory")
    )


def test_the_page_says_where_the_edit_could_act_and_what_was_given(tmp_path):
    run = edited(tmp_path / "run")
    assert limits(Footage(run)) == ""
    masks = [[1, 0, 4, "a" * 32, 0], [2, 0, 4, "b" * 32, 0]]
    tree = {"box": None, "masks": masks, "feather_px": 2, "carriers": 4, "match_threshold": 0.05}
    run.write_json("region.json", tree)
    assert "inside masks of 2 camera(s) only" in limits(Footage(run))
    run.write_json("region.json", {**tree, "box": [[0, 0, 0], [1, 1, 1]], "masks": []})
    config = run.config()
    config["local"]["reference"] = "gold.png"
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    run.write_json("plan.json", {**run.read_json("plan.json"), "reference_view": 2})
    told = limits(Footage(run))
    assert "key frame of cam02 was given" in told and "inside a box only" in told


def test_a_camera_that_moves_is_not_called_fixed(tmp_path):
    said = []
    for moves in (False, True):
        scene = rig(2, held_out=0)
        first = scene.cameras[0]
        way = replace(first, path=np.stack([first.world_from_camera] * scene.num_frames)) if moves else first
        scene = replace(scene, cameras=(way, *scene.cameras[1:]))
        shown = videos(scene)
        page = write_report(
            build(tmp_path / str(moves), scene, shown, {"before/cam00": shown[0], "path/before": shown[0]})
        ).read_text()
        said.append(("Fixed camera" in page, "on its own way" in page))
    assert said == [(True, False), (False, True)]


def test_the_fit_has_a_line_of_the_held_out_camera_where_it_was_watched():
    looks = [
        {
            "event": "FitWatched",
            "at_s": 1.0,
            "round": 0,
            "step": step,
            "total": 20,
            "held_out": "cam00",
            "held_out_psnr_db": psnr,
            "trained_psnr_db": 25.0,
            "depth_agreement": 0.8,
        }
        for step, psnr in ((10, 22.0), (20, 23.5))
    ]
    load = workload([*events(), *looks])
    assert load.watched == {10: 22.0, 20: 23.5} and load.depth_agreement == 0.8
    assert "held out" in fit_svg(load) and "held out" not in fit_svg(workload(events()))
