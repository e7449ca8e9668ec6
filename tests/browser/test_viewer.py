"""The viewer in a real browser: slider, play, before and after, rounds, cameras; nothing on the console, no
request elsewhere.
"""

import shutil

import numpy as np
import pytest
from chromium import Page, program

from i4d.errors import ConfigError
from i4d.report.viewing import RunViews, pinhole, vertical_fov
from i4d.store.run_folder import RunFolder


@pytest.fixture(scope="module")
def viewer(small_run):
    pytest.importorskip("viser")
    from i4d.report.viewer import Viewer

    made = Viewer(RunViews(RunFolder.open(small_run), "cpu"), port=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(viewer):
    program()
    made = Page(viewer.url)
    made.until("document.body?.innerText.includes('Play')")
    yield made
    made.close()


def click_text(page, text):
    x, y = page.js(
        f"(() => {{const e = [...document.querySelectorAll('button')].find(b => b.innerText == "
        f"'{text}').getBoundingClientRect();"
        "return [e.x + e.width / 2, e.y + e.height / 2]})()"
    )
    page.click(x, y)


def wait_for(page, holds, what):
    for _ in range(150):
        if holds():
            return
        page.js("new Promise(r => setTimeout(r, 200))")
    raise AssertionError(f"{what} did not happen")


# ------------------------------------------------------------------------------------------------ without a
# browser
def test_views_of_a_run(small_run):
    views = RunViews(RunFolder.open(small_run), "cpu")
    assert views.rounds() == [0, 1] and not views.refresh()
    camera = views.scene.cameras[0]
    before, after = (views.render(camera, 1, 1, look) for look in ("before", "after"))
    difference = views.render(camera, 1, 1, "difference").astype(float)
    assert before.shape == (48, 64, 3) and not np.array_equal(before, after)
    expected = np.clip((after.astype(float) - before) * 2 + 127.5, 0, 255)
    assert np.abs(difference - expected).max() <= 0.5
    assert np.array_equal(views.photo(0, 1, "before", 1), views.footage.original(0, 1))
    assert np.array_equal(views.photo(1, 2, "after", 1), views.footage.edited_frame(1, 2))
    with pytest.raises(ConfigError, match="round 7 is not there"):
        views.render(camera, 0, 7)


def test_a_free_camera_sees_what_the_calibrated_one_sees(small_run):
    views = RunViews(RunFolder.open(small_run), "cpu")
    camera = views.scene.cameras[0]
    free = pinhole(
        vertical_fov(camera), camera.width / camera.height, camera.height, camera.world_from_camera
    )
    assert (free.width, free.height) == (camera.width, camera.height) and np.allclose(
        free.K, camera.K, rtol=0.02, atol=0.6
    )
    same = views.render(free, 2, 0).astype(float) - views.render(camera, 2, 0)
    assert np.abs(same).mean() < 4
    with pytest.raises(ConfigError):
        pinhole(4.0, 1.0, 10, np.eye(4))


# ------------------------------------------------------------------------------------------------ in the
# browser
def test_a_picture_of_the_field_is_shown(page, viewer):
    wait_for(page, lambda: any(p.painted for p in viewer._painters.values()), "painting the whole picture")
    page.js("new Promise(r => setTimeout(r, 1500))")
    from io import BytesIO

    from PIL import Image

    middle = np.asarray(Image.open(BytesIO(page.shot())).convert("RGB"))[300:600, 100:800]
    assert middle.std() > 8, "the page is blank"


def test_the_slider_moves_time(page, viewer):
    x, y = page.js(
        "(() => {const e = document.querySelector('[role=slider]').getBoundingClientRect(); return "
        "[e.x + 3, e.y + 5]})()"
    )
    page.click(x, y)
    page.js("document.querySelector('[role=slider]').focus()")
    page.key("ArrowRight", 39)
    wait_for(page, lambda: viewer.frame.value == 1, "the slider's step")
    assert page.js("document.querySelector('[role=slider]').getAttribute('aria-valuenow')") == "1"


def test_play_runs_through_the_frames(page, viewer):
    toggle = (
        "[...document.querySelectorAll('input[type=checkbox]')].filter(e => "
        "e.getBoundingClientRect().width > 0)[0]"
    )
    before = viewer.frame.value
    page.js(f"{toggle}.click()")
    wait_for(page, lambda: viewer.playing.value and viewer.frame.value != before, "playing")
    page.js(f"{toggle}.click()")
    wait_for(page, lambda: not viewer.playing.value, "pausing")


@pytest.mark.parametrize("look", ["before", "difference", "after"])
def test_the_switch_changes_what_is_shown(page, viewer, look):
    click_text(page, look.capitalize())
    wait_for(page, lambda: viewer.chosen_look == look, f"showing {look}")
    page.until(f"document.body.innerText.includes('Showing {look}')")
    assert viewer.status.content.count(look) == 1


def test_the_camera_looked_through_does_not_hide_the_field_behind_its_picture(page, viewer):
    """All cameras are shown but the one that the page looks through; turned away from it, that one is shown
    as well.
    """
    viewer.go.value = "cam05"
    wait_for(
        page,
        lambda: [p.stands_at for p in viewer._painters.values()] == ["cam05"],
        "looking through a camera",
    )
    viewer.photos.value = True
    wait_for(
        page, lambda: [f.visible for f in viewer._frustums] == [True, True, False], "the others' pictures"
    )
    (client,) = viewer.server.get_clients().values()
    client.camera.position = tuple(np.asarray(client.camera.position) + [0.2, 0.0, 0.0])
    wait_for(page, lambda: [f.visible for f in viewer._frustums] == [True, True, True], "all pictures")
    viewer.photos.value = False
    wait_for(page, lambda: not any(f.visible for f in viewer._frustums), "no picture")


def test_nothing_went_wrong_and_nothing_left_the_machine(page, viewer):
    page.js("1")
    assert page.errors == [] and page.console == []
    assert {host.split(":")[0] for host in page.hosts} == {"127.0.0.1"}


def test_a_run_that_goes_on_is_followed(small_run, tmp_path):
    """Windows of the round in hand on the frustums, then the round itself, then the end of the run."""
    from i4d.report.viewer import Viewer

    copy = shutil.copytree(small_run, tmp_path / "run")
    journal, committed = (
        (copy / "journal.jsonl").read_text(),
        (copy / "manifest-1.json").rename(tmp_path / "manifest-1.json"),
    )
    (copy / "journal.jsonl").write_text("")
    run = RunFolder.open(copy)
    with run.lock():
        shown = Viewer(RunViews(RunFolder.open(copy), "cpu"), port=0)
        program()
        page = Page(shown.url)
        try:
            page.until("document.body?.innerText.includes('before the edit (round 0)')")
            page.until("document.body.innerText.includes('The run goes on')")
            original = shown.views.photo(1, 3, "after", 0)
            assert np.array_equal(original, shown.views.footage.original(1, 3))
            (copy / "journal.jsonl").write_text(journal)
            wait_for(
                page,
                lambda: not np.array_equal(shown.views.photo(1, 3, "after", 0), original),
                "a window's landing",
            )
            committed.rename(copy / "manifest-1.json")
            page.until("document.body.innerText.includes('Showing after, round 1 of 1')")
            assert shown.round.options == ("0", "1") and shown.round.value == "1"
            click_text(page, "Before")
            page.until("document.body.innerText.includes('Showing before, round 1 of 1')")
        finally:
            page.close()
            shown.close()


def test_a_second_viewer_takes_the_next_free_port(viewer):
    from i4d.report.viewer import Viewer

    other = Viewer(viewer.views, port=viewer.server.get_port())  # viser takes the next free port
    assert other.server.get_port() != viewer.server.get_port()
    other.close()
