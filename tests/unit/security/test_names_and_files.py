"""What a user or a peer can hand in: names that would leave their folder, and files that would run code when
read.
"""

import json
import os
import pickle
import shutil

import numpy as np
import pytest

from i4d import cli
from i4d.config import Config, set_key
from i4d.errors import BlockError, ConfigError, FitError, I4DError, SceneError
from i4d.store.objects import FolderStore
from i4d.store.run_folder import RunFolder, check_run_id

ESCAPES = ["../../x", "..", ".", "a/b", "/etc/x", "a\\b/../c", "", "a\n../b", ".hidden/../../x"]


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("name", ESCAPES)
def test_run_ids_and_scene_names_cannot_leave_their_folder(name, tmp_path):
    with pytest.raises(ConfigError):
        check_run_id(name)
    with pytest.raises(ConfigError, match="scene.name"):
        set_key(Config(), "scene.name", name, "--set")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", ""])
def test_store_keys_cannot_leave_the_store(key, tmp_path):
    store = FolderStore(tmp_path / "store")
    for work in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(BlockError, match="cannot be called"):
            work()


@pytest.mark.parametrize("digest", ["../../x", "", "aa", "A" * 32, "0" * 31 + "/", None, 7])
def test_digests_name_objects_and_nothing_else(digest, tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    for work in (run.stored, run.has_checkpoint, run.drop_checkpoint, run.reader.rows):
        with pytest.raises(BlockError, match="no stored object is called"):
            work(digest)


UP = [["--out", "../../etc/.."], ["--set", "scene.name=../../x", "--out", "fine"], ["--out", "runs/../../x"]]


@pytest.mark.parametrize("options", UP)
def test_a_job_with_paths_that_go_up_is_refused_before_anything_is_sent(
    capsys, options, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, err = told(
        capsys, "submit", "--scene", "demo", "--prompt", "x", "--address", "http://127.0.0.1:9", *options
    )
    assert code == 2 and err.startswith("error: ") and not list(tmp_path.iterdir()), err


def test_camera_names_of_a_rig_cannot_leave_their_folder(tmp_path):
    from i4d.config import SceneConfig
    from i4d.scenes.readers.rig import read_rig

    (tmp_path / "cameras.json").write_text(json.dumps([{"name": "../../cam", "video": "a.mp4"}]))
    with pytest.raises(SceneError, match="a camera cannot be called"):
        read_rig(SceneConfig(reader="rig"), tmp_path)


def test_a_checkpoint_that_is_a_pickle_is_refused_and_runs_nothing(tmp_path, capsys):
    from i4d.fields.vector_matrix.checkpoint import decode

    mark, evil = tmp_path / "written", tmp_path / "evil.safetensors"
    evil.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(FitError, match="not a field checkpoint"):
        decode(evil.read_bytes())
    code, err = told(
        capsys,
        "edit",
        "--scene",
        "demo",
        "--prompt",
        "x",
        "--ckpt",
        evil,
        "--out",
        tmp_path / "run",
        "--local",
    )
    assert (
        code == 1
        and "not a field checkpoint" in err
        and not mark.exists()
        and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize("as_zip", [False, True])
def test_flow_weights_that_are_a_pickle_run_nothing(tmp_path, as_zip):
    import torch

    from i4d.flow.find import find_estimator

    mark, evil = tmp_path / "written", tmp_path / "raft.pth"
    if as_zip:
        torch.save({"module.x": Evil(mark)}, evil)
    else:
        evil.write_bytes(pickle.dumps(Evil(mark)))
    mark.unlink(missing_ok=True)
    with pytest.raises(I4DError):
        find_estimator("raft", str(evil))
    assert not mark.exists()


def test_an_editor_whose_weights_are_a_pickle_runs_nothing(tmp_path, tiny_editor_folder):
    from i4d.editors.instruct_pix2pix.load import load_editor

    mark, folder = tmp_path / "written", tmp_path / "editor"
    shutil.copytree(tiny_editor_folder, folder)
    for weights in (folder / "unet").glob("*.safetensors"):
        weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(I4DError):
        load_editor(str(folder))
    assert not mark.exists()


def test_poses_that_are_a_pickle_run_nothing(tmp_path, monkeypatch):
    from i4d.config import SceneConfig
    from i4d.scenes.readers.n3dv import read_n3dv

    mark = tmp_path / "written"
    np.save(tmp_path / "poses_bounds.npy", np.array([Evil(mark)], dtype=object), allow_pickle=True)
    (tmp_path / "cam00.mp4").write_bytes(b"no video")
    with pytest.raises(SceneError):
        read_n3dv(SceneConfig(), tmp_path)
    assert not mark.exists()


def test_a_run_folder_that_somebody_else_wrote_runs_nothing(tmp_path):
    mark, run = tmp_path / "written", RunFolder.create(tmp_path / "run", {})
    (run.path / "config.yaml").write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(Exception, match="could not determine a constructor|not a run|config"):
        RunFolder.open(run.path)
    assert not mark.exists()
    for name in ("blocks/aa", "checkpoints"):
        (run.path / "store" / name).mkdir(parents=True)
    digest = "aa" + "0" * 30
    (run.path / "store" / "blocks" / "aa" / f"{digest}.arrow").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(I4DError, match="corrupt block"):
        run.reader.rows(digest)
    assert not mark.exists()
