"""The report in a real browser: its script runs, nothing is complained about, nothing overflows on a phone."""

import re
import shutil
import subprocess

import pytest
from reported_run import build, rig, videos

from i4d.report.page import write_report

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  root.dataset.overflow = root.scrollWidth - root.clientWidth;
  root.dataset.playable = [...document.querySelectorAll("video")].filter((v) => v.readyState >= 2 && v.videoWidth > 0).length;
}, 1500));</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder, scene = tmp_path_factory.mktemp("browser"), rig(width=40, height=30)
    shown = videos(scene)
    renders = {"before/cam00": shown[0], "after/cam00": shown[1], "path/before": shown[0], "path/after": shown[1]}
    run = build(folder / "run", scene, shown, renders, {v: shown[v] for v in scene.train_views})
    place = write_report(run)
    place.write_text(place.read_text().replace("</body>", PROBE))
    return place


def browse(page, profile, width):
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={profile}",
        f"--window-size={width},900", "--virtual-time-budget=6000", "--dump-dom", f"file://{page}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_works(page, tmp_path, width):
    dom, complaints = browse(page, tmp_path, width)
    assert not complaints, complaints
    assert 'data-overflow="0"' in dom, "only tables and the timeline scroll sideways, not the page"
    assert f'data-playable="{3 + 2 + 2 + 4}"' in dom, "every video was decoded, and the pairs under the two sliders"
    assert dom.count('class="wipe"') == 2 and '<div class="wipe" hidden' not in dom
    assert dom.count("frame ") >= 3 and re.search(r"<output>frame \d / 4</output>", dom), "the script shows the time"
    assert '<div class="controls" hidden' not in dom
