"""What a viewer follows of a run at work: windows before their round is committed, cameras fitted to a
window, the finder's frame.
"""

import numpy as np
import pytest
from reported_run import build, noise, rig, videos

from i4d.commands.view import wait_for_field
from i4d.errors import I4DError
from i4d.plain import plain
from i4d.report.footage import Footage
from i4d.report.landing import Landing
from i4d.report.viewing import FINDER_DIMMED, as_finder, fitting_fov, pinhole, stands_at, vertical_fov
from i4d.store.blocks import write_block
from i4d.store.run_folder import RunFolder
from i4d.types import FrameAddress


def test_windows_are_found_as_they_land(tmp_path):
    scene = rig()
    run = build(tmp_path / "run", scene, videos(scene), {}, told=[])
    windows = [
        {"index": 0, "frames": [2, 3], "reference_frame": 1},
        {"index": 1, "frames": [0], "reference_frame": 1},
    ]
    run.write_json(
        "plan.json",
        {"rounds": [{"index": 1, "chains": [{"view": 1, "direction": "forward", "windows": windows}]}]},
    )
    landing = Landing(run)
    assert not landing.refresh() and landing.find(1, 1, 2) is None

    def land(name, num_rows):
        block = write_block(run.store, noise((num_rows, 16, 20, 3)))
        run.append({"kind": "edit", "id": name, "inputs": "", "receipt": {"block": plain(block)}})
        return block.digest

    land("r1/key00", 2)
    assert not landing.refresh(), "a joint edit is no window"
    first = land("r1/v01/w00", 2)
    assert landing.refresh() and not landing.refresh()
    assert (
        landing.find(1, 1, 3) == FrameAddress(first, 1)
        and landing.find(1, 1, 0) is None
        and landing.find(2, 1, 3) is None
    )
    last = land("r1/v01/w01", 1)
    run.append_event({"event": "StageStarted", "at_s": 1.0, "stage": "windows", "total": 2})
    assert landing.refresh() and landing.find(1, 1, 0) == FrameAddress(last, 0)
    assert landing.standing().stage == "windows" and Footage(run).pixels(landing.find(1, 1, 0)).shape == (
        16,
        20,
        3,
    )


@pytest.mark.parametrize(("width", "height"), [(20, 16), (16, 30)])
def test_a_window_of_any_shape_shows_the_whole_picture_and_dims_the_rest(width, height):
    camera = rig(width=width, height=height).cameras[1]
    for aspect in (0.4, 2.5):
        free = pinhole(fitting_fov(camera, aspect), aspect, 100, camera.world_from_camera)
        image = np.full((free.height, free.width, 3), 200, np.uint8)
        shown = as_finder(image, free, camera)
        bright = (shown == 200).all(-1)
        rows, columns = bright.any(1).sum(), bright.any(0).sum()
        assert columns / rows == pytest.approx(width / height, rel=0.05), (
            "what is bright has the camera's shape"
        )
        assert rows == free.height or columns == free.width, "and fills the window one way"
        assert np.all(shown[~bright] == int(200 * FINDER_DIMMED))
    assert fitting_fov(camera, 4.0) == pytest.approx(vertical_fov(camera))


def test_only_a_camera_at_its_place_has_a_finder():
    here, there = rig().cameras[:2]
    assert stands_at(here, here, 1.0) and not stands_at(here, there, 1.0)


def test_a_run_without_a_field_is_waited_for_while_somebody_drives_it(tmp_path):
    run, said = RunFolder.create(tmp_path / "run", {}), []
    wait_for_field(run, said.append)
    assert said == [], "nobody is at it: what is missing is said by who opens it"
    with pytest.raises(I4DError):
        Footage(run)
    other = RunFolder.open(run.path)
    with run.lock():
        other.append_event({"event": "StageStarted", "at_s": 1.0, "stage": "fit", "total": 9})
        wait_for_field(other, said.append, lambda seconds: other.write_manifest(0, {}))
    assert "no field yet" in said[0] and said[1] == "before the edit; fit 0/9" and len(said) == 2
