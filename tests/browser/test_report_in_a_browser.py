"""The report in a real browser: its script runs, nothing is complained about, nothing overflows on a phone,
the sliders work.
"""

import pytest
from chromium import Page, program
from reported_run import build, rig, videos

from i4d.report.page import write_report

PLAYABLE = "[...document.querySelectorAll('video')].filter(v => v.readyState >= 2 && v.videoWidth > 0).length"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder, scene = tmp_path_factory.mktemp("browser"), rig(width=40, height=30)
    shown = videos(scene)
    renders = {
        "before/cam00": shown[0],
        "after/cam00": shown[1],
        "path/before": shown[0],
        "path/after": shown[1],
    }
    run = build(folder / "run", scene, shown, renders, {v: shown[v] for v in scene.train_views})
    return write_report(run)


@pytest.fixture(params=[1200, 400])
def page(request, report):
    program()
    made = Page("about:blank")
    made.call(
        "Emulation.setDeviceMetricsOverride",
        width=request.param,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    made.call("Page.navigate", url=f"file://{report}")
    yield made
    made.close()


def test_the_page_works(page):
    page.until("document.readyState == 'complete' && document.querySelectorAll('video').length > 7")
    page.until(f"{PLAYABLE} == {3 + 2 + 2 + 4}")  # every video decoded, and the pairs under the two sliders
    assert page.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0, (
        "only tables scroll sideways"
    )
    assert page.js("document.querySelectorAll('.wipe:not([hidden])').length") == 2
    assert page.js(
        "[...document.querySelectorAll('output')].every(o => /^frame \\d of 0 to 3$/.test(o.textContent))"
    )
    assert page.js("document.querySelectorAll('.controls[hidden]').length") == 0
    assert page.errors == [] and page.console == [] and page.hosts <= {""}, "no complaint, no request"


def test_the_sliders_cut_and_seek(page):
    page.until("document.querySelector('.wipe:not([hidden]) video + video') != null")
    slide = (
        "(() => {{const i = document.querySelector('{0}'); i.value = {1}; i.dispatchEvent(new "
        "Event('input'));}})()"
    )
    page.js(slide.format(".wipe input", 20))
    assert "20%" in page.js("document.querySelector('.wipe video + video').style.clipPath")
    page.js(slide.format(".controls input", 2))
    page.until("document.querySelector('output').textContent == 'frame 2 of 0 to 3'")
    assert page.js("document.querySelector('.controls button').textContent") == "Play"


def test_a_strip_that_goes_on_says_so(page):
    page.until("document.readyState == 'complete' && document.querySelectorAll('.scroll').length > 2")
    page.js("document.body.style.width = '300px'")
    told = "s => (s.dataset.more || '').includes('more on the right') && s.tabIndex == 0"
    page.until(f"[...document.querySelectorAll('.scroll')].some({told})")
    wide = "[...document.querySelectorAll('.scroll')].find(s => s.scrollWidth > s.clientWidth + 4)"
    page.js(f"(() => {{const s = {wide}; s.scrollLeft = s.scrollWidth;}})()")
    page.until(f"{wide}.dataset.more == '← more on the left' && !{wide}.classList.contains('fades')")
