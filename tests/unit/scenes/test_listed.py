"""What a list of pictures with poses is: film, rig or neither, by its times, names and poses."""

from pathlib import Path

import numpy as np
import pytest

from i4d.errors import SceneError
from i4d.scenes.listed import cameras_of, check_film

PATH = Path("transforms.json")


def frame(name, time=None, pose=0):
    entry = {"file_path": name, "transform_matrix": [[pose]]}
    return entry if time is None else {**entry, "time": time}


def found(frames, capture="auto"):
    listed, told = cameras_of(frames, capture, PATH)
    return {c.name: ([f["file_path"] for f in c.frames], list(c.instants)) for c in listed}, told


def test_different_times_are_a_film_in_order_of_time():
    frames = [frame("b.png", 0.2), frame("a.png", 0.0), frame("c.png", 0.1)]
    assert found(frames) == ({"cam00": (["a.png", "c.png", "b.png"], [0.0, 0.1, 0.2])}, [])


def test_gaps_in_times_stay_gaps_and_uneven_times_are_told():
    even = [frame(f"{i}.png", t) for i, t in enumerate((0.0, 0.1, 0.2, 0.5))]
    assert found(even)[0]["cam00"][1] == [0.0, 0.1, 0.2, 0.5]
    uneven = [frame(f"{i}.png", t) for i, t in enumerate((0.0, 0.1, 0.25, 0.3, 0.47))]
    cameras, told = found(uneven)
    assert cameras["cam00"][1] == [0, 1, 2, 3, 4] and "uneven" in told[0]


def test_without_times_nothing_is_guessed():
    frames = [frame(f"{i}.png") for i in (10, 9, 8)]
    with pytest.raises(SceneError, match="film, or a photo set or several cameras.*scene.capture: film"):
        cameras_of(frames, "auto", PATH)
    assert found(frames, "film")[0] == {"cam00": (["8.png", "9.png", "10.png"], [8, 9, 10])}
    loose = [frame(n) for n in ("b.png", "a.png")]
    assert found(loose, "film")[0] == {"cam00": (["a.png", "b.png"], [])}


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (("left/1.png", "right/1.png", "left/2.png", "right/2.png"), "folder"),
        (("im/c1_1.png", "im/c2_1.png", "im/c1_2.png", "im/c2_2.png"), "name"),
        (("im/1.png", "im/2.png", "im/3.png", "im/4.png"), "pose"),
    ],
)
def test_times_that_repeat_are_cameras_by_folder_name_or_pose(names, rule):
    frames = [frame(n, i // 2, pose=i % 2) for i, n in enumerate(names)]
    cameras, told = found(frames)
    assert list(cameras.values()) == [([names[0], names[2]], [0, 1]), ([names[1], names[3]], [0, 1])]
    assert told[0].endswith(f"told apart by {rule}")
    assert set(cameras) == ({"left", "right"} if rule == "folder" else {"cam00", "cam01"})


def test_a_rig_without_times_goes_by_numbers():
    names = ["a/7.png", "b/7.png", "a/8.png", "b/9.png"]
    assert found([frame(n) for n in names], "rig")[0] == {
        "a": (["a/7.png", "a/8.png"], [7, 8]),
        "b": (["b/7.png", "b/9.png"], [7, 9]),
    }


def test_what_cannot_be_told_apart_is_refused():
    moving = [frame(f"im/{i}.png", i // 2, pose=i) for i in range(4)]
    with pytest.raises(SceneError, match="frames share times, and neither"):
        cameras_of(moving, "auto", PATH)
    with pytest.raises(SceneError, match="im/0.png and im/1.png share the time 0"):
        cameras_of(moving, "film", PATH)
    with pytest.raises(SceneError, match="2 of 4 frames have no time"):
        cameras_of([frame("1.png"), frame("2.png"), *moving[:2]], "auto", PATH)


def around(angles, radius=3.0):
    """Cameras on a circle that look at its middle."""
    out = []
    for a in np.radians(angles):
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]
        pose[:3, 3] = radius * np.array([np.sin(a), 0, -np.cos(a)])
        out.append(pose)
    return out


def test_films_pass_and_jumps_do_not():
    names = [f"{i}.png" for i in range(24)]
    check_film(around(np.linspace(0, 60, 24)), names, PATH)
    shaken = np.random.default_rng(0).normal(0, 0.5, 24)
    check_film(around(np.linspace(0, 20, 24) + shaken), names, PATH)
    check_film([np.eye(4)] * 24, names, PATH)
    with pytest.raises(SceneError, match="90 degrees from 11.png to 12.png"):
        check_film(around([0] * 12 + [90] * 12), names, PATH)
    rig = [a for _ in range(6) for a in (-30, -10, 10, 30)]  # four cameras, instant by instant
    with pytest.raises(SceneError, match="poses jump"):
        check_film(around(rig), names, PATH)
    shuffled = np.random.default_rng(0).permutation(np.linspace(-40, 40, 24))
    with pytest.raises(SceneError, match="poses jump"):
        check_film(around(shuffled), names, PATH)
