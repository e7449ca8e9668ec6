"""The calibration check: on good rigs nothing is said, and of what is done to one camera the right one is
named.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from shared_data import shared_folder

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.geometry.corrections import corrected
from i4d.scenes.calibration.check import check_scene, judged, stop_unless_fit
from i4d.scenes.calibration.epipolar import distances, triangulated
from i4d.scenes.calibration.evidence import Evidence
from i4d.scenes.calibration.lag import _majority
from i4d.scenes.calibration.looks import read_looks
from i4d.scenes.calibration.matches import all_matches, pairs_of
from i4d.scenes.calibration.order import better_order
from i4d.scenes.calibration.suspects import graphics_axes, in_place_of, with_focal
from i4d.scenes.load import load_scene
from i4d.scenes.procedural.demo import demo_cameras, render_frames
from i4d.types import Bounds, Camera, Scene

SPARE = 7  # frames that are there beyond the scene's, for cameras that start late


class Films:
    """Films in memory; a camera may have started late, show another's film, or be upside down."""

    def __init__(self, films, late=(), shows=(), turned=()):
        self._films, self._late, self._shows = films, dict(late), dict(shows)
        self._turned = turned

    def read(self, camera, start, stop, stride=1, size=None):
        shift = self._late.get(camera, 0)
        for image in self._films[self._shows.get(camera, camera)][start + shift : stop + shift : stride]:
            image = image[::-1, ::-1] if camera in self._turned else image
            assert size is None or size == image.shape[1::-1]
            yield image


@pytest.fixture(scope="module")
def demo():
    """Seven cameras of the demo scene, 24 frames and SPARE more, 160x120."""
    cameras = demo_cameras(num_cameras=7)
    total = 24 + SPARE
    films = {c.name: np.stack(list(render_frames(c, range(total), total, samples=1))) for c in cameras}
    bounds = Bounds("ndc", ((-1, -1, -1), (1, 1, 1)), 1.0, 3.0)
    return Scene("toy", cameras, 24, 12.0, bounds, ("cam00",), Films(films), cameras), films


def with_(scene, **changes):
    """Return the scene with some cameras replaced by name."""
    cameras = tuple(changes.get(c.name, c) for c in scene.source_cameras)
    return replace(scene, cameras=cameras, source_cameras=cameras)


def by_name(scene, name):
    return next(c for c in scene.source_cameras if c.name == name)


def told(check, level="stop"):
    return [(p.kind, p.cameras) for p in check.problems if p.level == level]


def test_nothing_is_said_of_a_good_rig(demo):
    check = check_scene(demo[0], SceneConfig())
    assert check.problems == () and check.notes == ()
    assert all(c.median_px < 0.6 and abs(c.lag) < 0.2 and abs(c.stops) < 0.05 for c in check.cameras)
    assert check.coverage.cameras == 6 and check.coverage.seen_by >= 5 and check.coverage.apart_deg < 12
    stop_unless_fit(check)


@pytest.mark.parametrize(("name", "frames"), [("cam02", 7), ("cam05", 1), ("cam00", 2)])
def test_a_camera_that_started_late_is_named_with_its_lag(demo, name, frames):
    scene, films = demo
    check = check_scene(replace(scene, source=Films(films, late={name: frames})), SceneConfig())
    assert told(check) == [("lag", (name,))] and told(check, "warn") == []
    assert check.problems[0].value == pytest.approx(frames, abs=0.2)
    with pytest.raises(SceneError, match=rf"{name}: started .* frames late.*offsets: .{name}: {frames}.;"):
        stop_unless_fit(check)


def test_half_a_frame_is_told_and_stops_nothing(demo):
    scene, films = demo
    fast = {n: f[1::2] if n == "cam03" else f[::2] for n, f in films.items()}
    scene = replace(scene, num_frames=15, source=Films(fast))
    check = check_scene(scene, SceneConfig())
    lags = {c.name: c.lag for c in check.cameras}
    assert lags.pop("cam03") == pytest.approx(0.5, abs=0.2) and max(map(abs, lags.values())) < 0.15
    assert told(check) == []


@pytest.mark.parametrize(("name", "times"), [("cam01", 1.05), ("cam04", 0.95)])
def test_a_wrong_focal_length_is_measured(demo, name, times):
    scene = demo[0]
    check = check_scene(with_(scene, **{name: with_focal(by_name(scene, name), times)}), SceneConfig())
    assert told(check) == [("focal length", (name,))]
    assert check.problems[0].value == pytest.approx(1 / times, abs=0.015)
    assert f"too {'long' if times > 1 else 'short'}" in check.problems[0].text


@pytest.mark.parametrize("name", ["cam00", "cam06"])
def test_a_camera_upside_down_is_named(demo, name):
    scene, films = demo
    check = check_scene(replace(scene, source=Films(films, turned=(name,))), SceneConfig())
    assert told(check) == [("upside down", (name,))]


@pytest.mark.parametrize(("a", "b"), [("cam01", "cam02"), ("cam02", "cam05")])
def test_two_swapped_cameras_are_named(demo, a, b):
    scene, films = demo
    check = check_scene(replace(scene, source=Films(films, shows={a: b, b: a})), SceneConfig())
    assert told(check) == [("swapped", (a, b))]


def test_a_camera_that_stands_elsewhere_is_named(demo):
    scene = demo[0]
    moved = by_name(scene, "cam03").world_from_camera.copy()
    moved[:3, :3] = moved[:3, :3] @ np.array(
        [[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]]
    )
    check = check_scene(
        with_(scene, cam03=replace(by_name(scene, "cam03"), world_from_camera=moved)), SceneConfig()
    )
    assert [cameras for _, cameras in told(check)] == [("cam03",)]


def slightly_off(cameras, degrees, share):
    """Return cameras turned by so many degrees, each its own way, with focal lengths off by a share."""
    random, out = np.random.default_rng(1), []
    for camera in cameras:
        axis = random.normal(size=3)
        turn = np.radians(degrees) * axis / np.linalg.norm(axis)
        focal = share * random.choice([-1, 1])
        out.append(corrected(camera, torch.tensor([*turn, 0.0, 0.0, 0.0, focal])))
    return tuple(out)


def test_poses_that_disagree_a_little_are_told_with_what_mends_them(demo):
    scene = demo[0]
    wrong = slightly_off(scene.source_cameras, 0.6, 0.01)
    check = check_scene(replace(scene, cameras=wrong, source_cameras=wrong), SceneConfig())
    (problem,) = check.problems
    assert (problem.level, problem.kind) == ("warn", "nearly") and 1 < problem.value < 3
    assert len(problem.cameras) >= 2 and "--set field.cameras=refined" in problem.mend
    stop_unless_fit(check)


def test_poses_in_graphics_axes_are_found(demo):
    scene = demo[0]
    cameras = tuple(graphics_axes(c) for c in scene.source_cameras)
    check = check_scene(replace(scene, cameras=cameras, source_cameras=cameras), SceneConfig())
    kinds = {kind for kind, _ in told(check)}
    assert kinds <= {"graphics axes", "upside down"} and len(kinds) == 1
    assert len(check.problems[0].cameras) == len(cameras)


def test_the_order_that_the_pictures_follow_is_found(demo):
    scene = demo[0]
    cameras = scene.source_cameras
    other = [cameras[i] for i in (0, 3, 1, 2, 5, 6, 4)]
    wrong = tuple(in_place_of(c, o) for c, o in zip(cameras, other, strict=True))
    shuffled = replace(scene, cameras=wrong, source_cameras=wrong)
    assert better_order([scene, shuffled], SceneConfig()) == 0
    assert better_order([shuffled, scene], SceneConfig()) == 1
    assert better_order([shuffled, shuffled], SceneConfig()) is None


def test_a_still_scene_tells_no_lag(demo):
    scene, films = demo
    still = {n: np.repeat(f[:1], len(f), 0) for n, f in films.items()}
    check = check_scene(replace(scene, source=Films(still)), SceneConfig())
    assert check.problems == () and all(c.lag is None for c in check.cameras)
    assert any("not enough motion" in note for note in check.notes)


def test_a_darker_camera_is_told(demo):
    scene, films = demo
    dark = {
        n: (255 * (f / 255) ** 1.0 * 0.8).astype(np.uint8) if n == "cam02" else f for n, f in films.items()
    }
    check = check_scene(replace(scene, source=Films(dark)), SceneConfig())
    # 0.8 of sRGB is about 0.8 ** 2.3 of the light: 0.72 stops
    assert told(check) == [] and told(check, "warn") == [("exposure", ("cam02",))]
    assert check.problems[0].value == pytest.approx(-0.72, abs=0.12)


def test_the_lag_that_most_cameras_share_is_zero():
    assert _majority(np.array([0.0, 3.0, 7.0, 0.4])) == pytest.approx(0.2)
    assert _majority(np.array([-4.0, 5.0, 5.5, 5.2])) == pytest.approx(5.233, abs=1e-3)
    assert _majority(np.array([0.0, 3.0, 6.0, 9.0])) == 0.0


def test_noise_is_not_judged():
    rng = np.random.default_rng(0)
    cameras = demo_cameras(64, 48, 4)
    films = {c.name: rng.integers(0, 255, (12, 48, 64, 3), dtype=np.uint8) for c in cameras}
    bounds = Bounds("ndc", ((-1, -1, -1), (1, 1, 1)), 1.0, 3.0)
    check = check_scene(Scene("noise", cameras, 12, 12.0, bounds, (), Films(films), cameras), SceneConfig())
    assert told(check) == [] and all(c.median_px is None for c in check.cameras)


def test_epipolar_distance_is_that_of_the_geometry():
    a, b = demo_cameras(num_cameras=3)[:2]
    points = np.random.default_rng(1).uniform([-1, -1, 3], [1, 1, 5], (50, 3))
    xa, xb = (project(c, points) for c in (a, b))
    assert distances(a, b, xa, xb).max() < 1e-9
    assert np.abs(triangulated(a, b, xa, xb) - points).max() < 1e-6
    off = distances(a, b, xa, xb + [0, 2.0])
    assert 0.5 < np.median(off) <= 2.0


def project(camera: Camera, points):
    image = (points - camera.centre) @ camera.world_from_camera[:3, :3] @ camera.K.T
    return image[:, :2] / image[:, 2:]


# ------------------------------------------------------------------------ rigs of the shared data
RIGS = {
    "rig": dict(name="rig", reader="n3dv", held_out=["cam00"]),
    "pose2sim": dict(name="pose2sim", reader="rig"),
}


@pytest.fixture(scope="module", params=RIGS)
def real(request):
    """What was seen of a rig of the shared data, with SPARE frames more than are judged."""
    config = SceneConfig(root=str(shared_folder(request.param)), **RIGS[request.param])
    scene = load_scene(config)
    return request.param, scene, read_looks(scene, config)


def judge(scene, looks, cameras=None):
    cameras = tuple(cameras or [look.camera for look in looks])
    evidence = Evidence(looks, all_matches(looks, pairs_of(list(cameras))))
    return judged(scene.name, evidence, cameras, scene.train_views)


def begun(looks, late=()):
    """Return looks at films of SPARE frames less, of which some started late."""
    late, out = dict(late), []
    for view, look in enumerate(looks):
        first, count = late.get(view, 0), look.energy.shape[1] - SPARE
        out.append(replace(look, energy=np.ascontiguousarray(look.energy[:, first : first + count])))
    return out


def test_real_rigs_are_good(real):
    name, scene, looks = real
    check = judge(scene, looks)
    assert told(check) == []
    assert told(check, "warn") == ([("wide baselines", ())] if name == "pose2sim" else [])
    if name == "rig":
        assert all(c.median_px < 0.3 and abs(c.lag) < 0.25 for c in check.cameras)


@pytest.mark.parametrize("view", [0, 2, 3])
def test_a_late_camera_of_a_real_rig(real, view):
    _, scene, looks = real
    check = judge(scene, begun(looks, {view: 7}))
    assert told(check) == [("lag", (looks[view].camera.name,))]
    assert check.problems[0].value == pytest.approx(7, abs=0.5)
    assert check.problems[0].mend.startswith(f"scene.offsets: {{{looks[view].camera.name}: 7")


@pytest.mark.parametrize("view", [0, 3])
def test_a_focal_length_of_a_real_rig(real, view):
    name, scene, looks = real
    cameras = [look.camera for look in looks]
    cameras[view] = with_focal(cameras[view], 1.05)
    check = judge(scene, looks, cameras)
    level = "stop" if name == "rig" else "warn"  # from motion alone it is not certain
    assert ("focal length", (cameras[view].name,)) in told(check, level)
    assert [p.value for p in check.problems if p.kind == "focal length"] == [pytest.approx(0.952, abs=0.02)]


@pytest.mark.parametrize("view", [1])
def test_an_upside_down_camera_of_a_real_rig(real, view):
    _, scene, looks = real
    looks = list(looks)
    look = looks[view]
    size = np.array([look.camera.width, look.camera.height])
    looks[view] = replace(look, still=look.still[::-1, ::-1].copy(), moving=size - look.moving)
    assert told(judge(scene, looks)) == [("upside down", (look.camera.name,))]


@pytest.mark.parametrize(("a", "b"), [(1, 2)])
def test_swapped_cameras_of_a_real_rig(real, a, b):
    _, scene, looks = real
    cameras = [look.camera for look in looks]
    cameras[a], cameras[b] = in_place_of(cameras[a], cameras[b]), in_place_of(cameras[b], cameras[a])
    assert told(judge(scene, looks, cameras)) == [("swapped", (cameras[a].name, cameras[b].name))]
