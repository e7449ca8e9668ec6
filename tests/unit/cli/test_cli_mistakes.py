"""Bad input through the real command line: one clear line, the right exit code, nothing half-written."""

import json
import os
import shutil

import numpy as np
import pytest

from i4d import cli
from i4d.scenes.video import VideoWriter

WIDTH, HEIGHT, FRAMES = 32, 24, 4


def row():
    pose = np.array([[0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, -1.0, 0]])
    return np.concatenate([np.concatenate([pose, [[HEIGHT], [WIDTH], [30.0]]], 1).ravel(), [2.0, 10.0]])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound N3DV folder of three cameras."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(0)
    for i in range(3):
        with VideoWriter(folder / f"cam{i:02d}.mp4", WIDTH, HEIGHT, 10) as video:
            for _ in range(FRAMES):
                video.write(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    rows = np.stack([row()] * 3)
    rows[:, 3] += [-0.1, 0.0, 0.1]
    np.save(folder / "poses_bounds.npy", rows)
    return folder


@pytest.fixture
def scene(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "scene")


def failing(capsys, *arguments):
    """Run the command line; return its exit code and the one line it told."""
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, told
    return end.value.code, told[0]


def edit(capsys, tmp_path, scene, *more, prompt="make it night"):
    out = tmp_path / "runs" / "one"
    code, told = failing(
        capsys,
        "edit",
        "--scene",
        "coffee_martini",
        "--set",
        "scene.drop=[]",
        "--set",
        f"scene.root={scene}",
        "--set",
        "scene.num_frames=0",
        "--set",
        "scene.downsample=1",
        "--weights",
        "tiny-ip2p",
        "--local",
        "--prompt",
        prompt,
        "--out",
        out,
        *more,
    )
    assert not out.exists(), list(out.rglob("*"))
    return code, told


def enlarged(scene):
    with VideoWriter(scene / "cam01.mp4", WIDTH + 16, HEIGHT, 10) as video:
        for _ in range(FRAMES):
            video.write(np.zeros((HEIGHT, WIDTH + 16, 3), np.uint8))


def with_poses(change):
    def spoil(scene):
        rows = np.load(scene / "poses_bounds.npy")
        np.save(scene / "poses_bounds.npy", change(rows))

    return spoil


def holed(rows):
    rows[1, 2] = np.nan
    return rows


def emptied(scene):
    for path in scene.iterdir():
        path.unlink()


def cut_off(scene):
    path = scene / "cam01.mp4"
    path.write_bytes(path.read_bytes()[:400])


def damaged(scene):
    path = scene / "cam01.mp4"
    data = bytearray(path.read_bytes())
    at = data.find(b"mdat") + 8
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)


SPOILT = [
    (shutil.rmtree, "no such folder"),
    (emptied, "no cam*.mp4"),
    (cut_off, "cam01.mp4"),
    (damaged, "cam01"),
    (with_poses(lambda rows: rows[:2]), "2 poses for 3 videos"),
    (with_poses(holed), "pose of cam01 holds NaN"),
    (enlarged, "48x24"),
]


@pytest.mark.parametrize(
    "spoil, told", SPOILT, ids=["missing", "empty", "cut-off", "damaged", "poses", "nan", "size"]
)
def test_scenes_that_cannot_be_used_exit_3(capsys, tmp_path, scene, spoil, told):
    spoil(scene)
    code, line = edit(capsys, tmp_path, scene)
    assert code == 3 and told in line, line


@pytest.mark.parametrize(
    "more, code, told",
    [
        (["--set", "scene.start=-1"], 2, "scene.start = -1"),
        (["--set", "schedule.key_frames=1"], 2, "did you mean 'schedule.key_frame'"),
        (["--set", "schedule.key_frame=9"], 2, "schedule.key_frame = 9"),
        (["--set", "scene.held_out=[cam09]"], 3, "no camera cam09"),
        (["--preset", "7_7"], 2, "unknown preset"),
        (["--weights", "./nowhere"], 4, "no such folder"),
        (["--ckpt", "nowhere"], 2, "no such run or checkpoint"),
        (["--device", "gpu"], 2, "one of auto, cpu, cuda"),
        (["--set", "cluster.gpus=63"], 5, "63 GPUs asked"),
        (["--editors", "64", "--device", "cpu"], 5, "64 editors asked"),
    ],
)
def test_settings_that_cannot_be_had_keep_their_exit_codes(capsys, tmp_path, scene, more, code, told):
    got, line = edit(capsys, tmp_path, scene, *more)
    assert got == code and told in line, line


def test_weights_without_a_unet_exit_4(capsys, tmp_path, scene):
    (tmp_path / "weights" / "vae").mkdir(parents=True)
    code, line = edit(capsys, tmp_path, scene, "--weights", tmp_path / "weights")
    assert code == 4 and "no unet/ folder" in line


def test_an_empty_prompt_exits_2(capsys, tmp_path, scene):
    code, line = edit(capsys, tmp_path, scene, prompt="  ")
    assert code == 2 and "--prompt is empty" in line


def test_unknown_scenes_exit_3(capsys, tmp_path):
    code, line = failing(capsys, "edit", "--scene", "tea", "--prompt", "x", "--out", tmp_path / "r")
    assert code == 3 and "unknown scene 'tea'" in line and not (tmp_path / "r").exists()


def test_a_folder_that_holds_a_run_says_resume(capsys, tmp_path, scene):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.yaml").write_text("seed: 0\n")
    code, line = failing(capsys, "edit", "--prompt", "x", "--out", tmp_path / "r", "--local")
    assert code == 2 and "holds a run already" in line and "i4d resume" in line
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["config.yaml"]


@pytest.mark.skipif(
    os.geteuid() == 0 and not os.path.exists("/proc/self"), reason="needs a place that nobody can write to"
)
def test_a_place_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "run", "/proc/run"):
        code, line = failing(capsys, "edit", "--prompt", "x", "--out", out, "--local")
        assert code == 1 and "cannot write" in line and str(out) in line


def test_a_ray_that_does_not_answer_exits_5(capsys, tmp_path, scene):
    code, line = failing(
        capsys,
        "edit",
        "--scene",
        "coffee_martini",
        "--set",
        "scene.drop=[]",
        "--set",
        f"scene.root={scene}",
        "--set",
        "scene.num_frames=0",
        "--weights",
        "tiny-ip2p",
        "--prompt",
        "x",
        "--out",
        tmp_path / "r",
        "--address",
        "127.0.0.1:1",
    )
    assert code == 5 and "no Ray answers at 127.0.0.1:1" in line and not (tmp_path / "r").exists()


def test_commands_on_something_that_is_no_run_say_so(capsys, tmp_path):
    for command in ("resume", "render", "eval", "report", "status", "stop"):
        code, line = failing(capsys, command, tmp_path)
        assert code == 2 and "is not a run" in line, command
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    code, line = failing(capsys, "report", tmp_path)
    assert code == 2 and "request.json" in line


def test_a_bug_is_one_line_without_debug_and_a_traceback_with_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("i4d.commands.layers.layered", lambda *_, **__: json.loads("{"))
    monkeypatch.setattr("i4d.commands.runs.layered", lambda *_, **__: json.loads("{"))
    arguments = ["edit", "--prompt", "x", "--out", str(tmp_path / "r")]
    code, line = failing(capsys, *arguments)
    assert code == 1 and "this is a bug" in line and "--debug" in line
    with pytest.raises(json.JSONDecodeError):
        cli.main([*arguments, "--debug"])


@pytest.mark.parametrize("taken", ["poses_bounds.npy", "cam00.mp4", "scene.json", "store"])
def test_a_run_goes_into_no_folder_of_something_else(tmp_path, taken):
    """A capture as --out would have its own scene.json overwritten."""
    from i4d.errors import ConfigError
    from i4d.launch import check_out

    folder = tmp_path / "capture"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    check_out(folder)
    (folder / taken).write_text("{}")
    with pytest.raises(ConfigError, match=f"holds {taken}, which is not of a run"):
        check_out(folder)
    if taken in ("scene.json", "store"):
        (folder / "originals.json").write_text("{}")  # `prepare` was here
        check_out(folder)
