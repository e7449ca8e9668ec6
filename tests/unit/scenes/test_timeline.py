"""Frames on one clock, worked by hand: rates, gaps, offsets, rounding, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest

from i4d.config import Config, merge
from i4d.errors import ConfigError, SceneError
from i4d.scenes.timeline import rate_of, timeline


class Recorded:
    """Cameras by the seconds of their frames."""

    def __init__(self, numbered=False, **times):
        self._times = {n: np.array(t, float) for n, t in times.items()}
        self.fps, self.common_zero = (30.0 if numbered else 0.0), numbered

    def times(self, camera):
        return self._times[camera]

    def rate(self, camera):
        return 1.0 if self.common_zero else 0.0

    def stamp(self, camera):
        return [camera]

    def size(self, camera):
        return 4, 3

    def frames(self, camera, numbers, size=None):
        return iter(numbers)

    def notes(self, cameras):
        return []


def line(source, **settings):
    config = Config()
    merge(config, {"scene": settings}, "test")
    return timeline(config.scene, source, list(source._times), Path("scene"))


def even(count, fps=10.0):
    return np.arange(count) / fps


def test_cameras_alike_are_taken_as_they_are():
    found = line(Recorded(a=even(5), b=even(5)))
    assert (found.first, found.num_frames, found.fps, found.notes) == (0, 5, pytest.approx(10), ())
    assert found.numbers("a", 0, 5) == [0, 1, 2, 3, 4] and found.missing(["a", "b"]) == ()


def test_rounded_time_stamps_do_not_drift():
    """Milliseconds of 30 frames a second: 33, 67, 100, ... The median step says 30.3."""
    rounded = np.round(even(3000, 30.0), 3)
    assert rate_of(rounded) == pytest.approx(30, abs=1e-3)
    found = line(Recorded(a=rounded, b=even(3000, 30.0)))
    assert found.numbers("a", 0, 3000) == list(range(3000)) and found.notes == ()


def test_frames_left_out_do_not_change_the_rate():
    times = np.delete(even(50), [7, 8, 20, 33])
    assert rate_of(times) == pytest.approx(10)
    found = line(Recorded(a=times, b=even(50)))
    assert found.missing(["a", "b"]) == ((0, 7, 9), (0, 20, 21), (0, 33, 34))
    assert found.numbers("a", 5, 11) == [5, 6, 6, 7, 7, 8], "the nearest frame stands in"
    assert any("a: 4 of 50 frames missing (7-8, 20, 33)" in text for text in found.notes)


def test_the_commonest_rate_is_the_clock_and_others_are_told():
    found = line(Recorded(a=even(20, 10), b=even(40, 20), c=even(20, 10)))
    assert found.fps == pytest.approx(10) and found.numbers("b", 0, 4) == [0, 2, 4, 6]
    assert found.missing(["a", "b", "c"]) == () and any("b: 20 frames a second" in n for n in found.notes)


def test_25_on_30_takes_frames_within_half_a_tick_only():
    found = line(Recorded(a=even(30, 30), b=even(30, 30), c=even(25, 25)))
    own = found.tracks["c"].own[:30]
    ticks = np.arange(25) * 30 / 25  # by hand: 0, 1.2, 2.4, 3.6, 4.8, 6, ...: 3 is nobody's
    assert not own[3] and own[[0, 1, 2, 4, 5, 6]].all() and own.sum() == len(set(np.ceil(ticks - 0.5)))


def test_an_offset_is_how_late_a_camera_began():
    source = Recorded(a=even(20), b=even(20))
    found = line(source, offsets={"b": 3})
    assert (found.first, found.num_frames) == (3, 17)
    assert found.numbers("b", 3, 6) == [0, 1, 2] and found.numbers("a", 3, 6) == [3, 4, 5]
    early = line(source, offsets={"b": -3})
    assert (early.first, early.num_frames) == (0, 17) and early.numbers("b", 0, 3) == [3, 4, 5]
    half = line(source, offsets={"b": 0.5})
    assert len(set(half.numbers("b", half.first, half.first + half.num_frames))) == half.num_frames
    assert any("0.50 of a frame off" in text for text in half.notes)


def test_numbers_of_pictures_are_instants():
    found = line(Recorded(True, a=[10, 20, 30, 50], b=[10, 20, 30, 40, 50]))
    assert (found.num_frames, found.fps) == (5, 30.0) and found.missing(["a", "b"]) == ((0, 3, 4),)
    late = line(Recorded(True, a=[3, 4, 5], b=[1, 2, 3, 4, 5]))
    assert (late.first, late.num_frames) == (2, 3) and late.numbers("a", 2, 5) == [0, 1, 2]


def test_start_stride_and_count():
    found = line(Recorded(a=even(20), b=even(15)), start=2, stride=3)
    assert (found.first, found.num_frames, found.fps) == (2, 5, pytest.approx(10 / 3))
    assert line(Recorded(a=even(20), b=even(15)), num_frames=15).notes == ()
    beyond = line(Recorded(a=even(20), b=even(15)), num_frames=18)
    assert beyond.missing(["a", "b"]) == ((1, 15, 18),)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"num_frames": 21}, SceneError, "frames 0..20 asked, b has 15"),
        ({"start": 15}, SceneError, "frames 15.. asked, b has 15"),
        ({"start": 10, "num_frames": 10}, None, ""),
        ({"start": 12, "num_frames": 8}, SceneError, "b has 3 of the 8 frames asked"),
        ({"offsets": {"c": 1}}, ConfigError, "no camera c"),
        ({"offsets": {"b": "late"}}, ConfigError, "not a number"),
        ({"offsets": {"b": float("nan")}}, ConfigError, "not a number"),
        ({"offsets": {"b": 40}}, SceneError, "begins at instant 40"),
        ({"offsets": {"a": -900, "b": -900}}, SceneError, "mend scene.offsets"),
    ],
)
def test_ranges_and_offsets_that_leave_nothing_are_one_line(settings, kind, words):
    source = Recorded(a=even(20), b=even(15))
    if kind is None:
        assert line(source, **settings).num_frames == settings["num_frames"]
        return
    with pytest.raises(kind, match=words) as caught:
        line(source, **settings)
    assert "\n" not in str(caught.value)
