"""Orders of names: what is the same either way, what is asked, what is refused."""

from pathlib import Path

import pytest

from i4d.errors import SceneError
from i4d.scenes.names import camera_name, file_inside
from i4d.scenes.order import camera_order, numbered

WIDE = [f"cam{i}" for i in range(1, 12)]


def test_equal_widths_ask_nobody():
    def never(by_name, by_number):
        raise AssertionError("nothing is ambiguous")

    assert camera_order(["cam02", "cam00", "cam10"], "auto", "x", never) == (["cam00", "cam02", "cam10"], "")


def test_unequal_widths_stop_with_both_orders():
    with pytest.raises(SceneError) as caught:
        camera_order(WIDE[::-1], "auto", "kitchen")
    said = str(caught.value)
    assert (
        "by name (cam1, cam10, cam11, cam2 ...)" in said and "by number (cam1, cam2, cam3, cam4 ...)" in said
    )
    assert "scene.order: name or number" in said


@pytest.mark.parametrize("how", ["name", "number"])
def test_the_order_is_as_asked_or_as_the_check_decides(how):
    right = {"name": sorted(WIDE), "number": WIDE}
    assert camera_order(WIDE[::-1], how, "x")[0] == right[how]

    def decide(by_name, by_number):
        assert (by_name, by_number) == (right["name"], right["number"])
        return how

    order, told = camera_order(WIDE, "auto", "x", decide)
    assert order == right[how] and f"by {how}" in told and "calibration check" in told
    with pytest.raises(SceneError):
        camera_order(WIDE, "auto", "x", lambda a, b: None)


@pytest.mark.parametrize(
    ("names", "order", "numbers"),
    [
        (["10.png", "9.png", "1.png"], ["1.png", "9.png", "10.png"], [1, 9, 10]),
        (["c2_f7.png", "c2_f10.png"], ["c2_f7.png", "c2_f10.png"], [7, 10]),
        (["only.jpg"], ["only.jpg"], [0]),
    ],
)
def test_pictures_go_by_the_number_that_changes(names, order, numbers):
    found = numbered([Path(n) for n in names], "x")
    assert ([p.name for p in found[0]], found[1]) == (order, numbers)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.png", "b.png"], "no common numbering"),
        (["a1.png", "b2.png"], "no common numbering"),
        (["s1_1.png", "s2_2.png"], "2 numbers that change"),
        (["1.png", "01.png", "2.png"], "have the same number"),
        (["1.png", "1.jpg"], "no numbers that change"),
    ],
)
def test_names_that_do_not_say_the_order_are_refused(names, words):
    with pytest.raises(SceneError, match=words):
        numbered([Path(n) for n in names], "folder")


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "", " blank", "x" * 65, 7, None, "a\n"])
def test_names_that_could_leave_a_folder_are_refused(name):
    with pytest.raises(SceneError, match="cannot be called"):
        camera_name(name, "cameras.json")
    assert camera_name("Küche cam-01.a", "x") == "Küche cam-01.a"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", None, "a\0b", "n" * 5000, "gone.mp4"])
def test_files_outside_or_absent_are_refused(name, tmp_path):
    with pytest.raises(SceneError):
        file_inside(tmp_path, name, "cameras.json")
