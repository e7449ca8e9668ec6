"""What a scene file or a run folder of somebody else may ask for: nothing is computed, stored or written
elsewhere.
"""

import json

import pytest
import yaml
from reported_run import build, noise, rig, videos

from i4d import cli
from i4d import config as cfg
from i4d.commands.layers import layered
from i4d.errors import ConfigError
from i4d.report.shots import after, before
from i4d.store import run_folder, trust
from i4d.store.run_folder import RunFolder


def told(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    out = capsys.readouterr()
    return end.value.code or 0, out.out, out.err


# ------------------------------------------------------------------------------------------------ scene files
@pytest.mark.parametrize(
    "key, line",
    [("cluster", "cluster: {address: 'evil:6379'}"), ("storage_path", "storage_path: s3://evil/frames")],
)
@pytest.mark.parametrize("where", ["scene file", "preset beside it"])
def test_a_scene_file_cannot_say_where_to_compute_or_to_store(key, line, where, tmp_path):
    scene, preset = tmp_path / "scene.yaml", tmp_path / "preset.yaml"
    own = line if where == "scene file" else f"preset: {preset}"
    scene.write_text(f"scene: {{name: theirs, reader: demo}}\n{own}\n")
    preset.write_text(line + "\n")
    with pytest.raises(ConfigError, match=f"'{key}' does not belong into a scene file.*--config"):
        layered(str(scene))
    assert layered("demo", files=[preset], sets=[]).cluster is not None, "a file of the user's own may"


def test_the_command_line_says_so_in_one_line_and_joins_nothing(tmp_path, capsys, monkeypatch):
    from i4d.exec.on_ray import session

    monkeypatch.setattr(session, "connect", lambda *a, **k: pytest.fail("joined"))
    scene = tmp_path / "scene.yaml"
    scene.write_text("scene: {name: theirs, reader: demo}\ncluster: {address: 'evil:6379'}\n")
    code, _, err = told(capsys, "edit", "--scene", scene, "--prompt", "x", "--out", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and "'cluster'" in err and "--address" in err


# ------------------------------------------------------------------------------------------------ run folders
def hostile(path, camera="cam00", **changes):
    """A finished run as somebody else may hand it over: its config says what it likes."""
    scene = rig()
    shots = {kind: noise((4, 16, 20, 3)) for kind in (before("cam00"), after("cam00"))}
    edited = {view: noise((4, 16, 20, 3), view) for view in scene.train_views}
    run = build(path, scene, videos(scene), shots, edited)
    run.write_json("plan.json", {**run.read_json("plan.json"), "rounds": []})
    for index, manifest in run.manifests().items():
        run.write_manifest(
            index, {**manifest, "checkpoint": {"digest": "0" * 32, "step": 1, "size_bytes": 1}}
        )
    tree = {**cfg.to_dict(cfg.Config()), **changes}
    (path / "config.yaml").write_text(yaml.safe_dump(tree))
    record = json.loads((path / "scene.json").read_text())
    record["cameras"][0]["name"] = camera
    record["held_out"] = [camera]
    (path / "scene.json").write_text(json.dumps(record))
    return run


def everything(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


COMMANDS = [("report",), ("eval",), ("render", "--local"), ("view",), ("status",), ("logs",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", ".hidden", "a\nb", ""])
def test_a_cameras_name_cannot_lead_out_of_the_run(command, name, tmp_path, capsys):
    run = hostile(tmp_path / "in" / "side" / "run", name).path
    around = {p for p in everything(tmp_path) if not p.startswith("in/side/run/")}
    code, _, err = told(capsys, command[0], run, *command[1:])
    assert {p for p in everything(tmp_path) if not p.startswith("in/side/run/")} == around
    if command[0] not in ("status", "logs"):  # which read no scene
        assert code == 3 and err.count("\n") == 1 and "a camera cannot be called" in err


@pytest.mark.parametrize("command", [*COMMANDS, ("resume",)], ids=" ".join)
def test_a_runs_own_word_on_where_to_compute_is_not_obeyed(command, tmp_path, capsys, monkeypatch):
    from i4d.errors import ClusterError
    from i4d.exec.on_ray import session

    joined = []

    def connect(address="", **options):
        joined.append(address)
        raise ClusterError("not in this test")

    monkeypatch.setattr(session, "connect", connect)
    run = hostile(tmp_path / "run", cluster={"address": "evil:6379", "executor": "ray"}).path
    if command != ("view",):  # which would serve until Ctrl-C
        told(capsys, command[0], run, *command[1:])
    assert set(joined) <= {""}, "a Ray of one's own at most"
    assert "evil" not in str(RunFolder.open(run).config())


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c[0] in ("report", "eval", "render", "view")], ids=" ".join
)
@pytest.mark.parametrize("storage", ["s3://evil/blocks", "elsewhere"])
def test_blocks_elsewhere_need_the_users_word(command, storage, tmp_path, capsys, monkeypatch):
    opened = []
    storage = storage if "://" in storage else str(tmp_path / storage)
    run = hostile(tmp_path / "run", storage_path=storage).path
    monkeypatch.setattr(run_folder, "open_store", lambda uri: opened.append(str(uri)))
    code, _, err = told(capsys, command[0], run, *command[1:])
    assert not opened and code == 2, err
    assert err.count("\n") == 1 and f"--storage-path {storage}" in err
    assert told(capsys, "status", run)[0] == 0, "where it stands needs no blocks"


def test_the_users_word_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    storage = str(tmp_path / "shared")
    theirs = hostile(tmp_path / "run", storage_path=storage).path
    with pytest.raises(ConfigError, match="have not named before"):
        RunFolder.open(theirs).store.list()
    assert RunFolder.open(theirs, storage).store.uri == storage
    monkeypatch.setattr(trust, "_said", set())  # as in another process
    assert RunFolder.open(theirs).store.uri == storage
    mine = RunFolder.create(tmp_path / "mine", {}, str(tmp_path / "mine-too"))
    assert RunFolder.open(mine.path).store.uri == str(tmp_path / "mine-too"), "own runs need no word"


@pytest.mark.parametrize("place", ["videos", "lock", "events.jsonl", "report", "store"])
def test_links_that_lead_out_of_a_run_are_refused(place, tmp_path, capsys):
    run = hostile(tmp_path / "run").path
    victim = tmp_path / "victim"
    if place in ("videos", "report", "store"):
        victim.mkdir()
        if (run / place).exists():
            (run / place).rename(tmp_path / f"was-{place}")
    else:
        victim.write_text("mine")
        (run / place).unlink(missing_ok=True)
    (run / place).symlink_to(victim)
    code, _, err = told(capsys, "report", run)
    assert code == 2 and f"{place} is a link that leads out of the run" in err
    assert victim.is_dir() and not list(victim.iterdir()) or victim.read_text() == "mine"


@pytest.mark.parametrize("digest", ["../../../../../etc/passwd", "/etc/passwd", "zz"])
def test_digests_of_a_run_cannot_lead_out_of_its_store(digest, tmp_path, capsys):
    run = hostile(tmp_path / "run").path
    table = json.loads((run / "originals.json").read_text())
    table["runs"][0][3] = digest
    (run / "originals.json").write_text(json.dumps(table))
    code, _, err = told(capsys, "report", run)
    assert code == 3 and "no stored object is called" in err


def test_a_home_that_cannot_be_written_keeps_the_word_for_this_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    run = RunFolder.create(tmp_path / "run", {}, str(tmp_path / "blocks"))
    assert RunFolder.open(run.path).store.uri == str(tmp_path / "blocks")
