"""The layers of a configuration, and every file that is shipped."""

import pytest

from i4d import config as cfg
from i4d.commands.layers import layered, preset_tree, settled
from i4d.errors import ConfigError, SceneError, WeightsError
from i4d.identity import choose_editor

SCENES = sorted(p.stem for p in cfg.shipped("scenes").glob("*.yaml"))
PRESETS = sorted(p.stem for p in cfg.shipped("presets").glob("*.yaml"))


def test_what_is_shipped():
    public = {
        "coffee_martini",
        "cook_spinach",
        "cut_roasted_beef",
        "flame_salmon",
        "flame_steak",
        "sear_steak",
    }
    assert {"demo", "pose2sim"} | public <= set(SCENES)
    assert {"50_2", "50_4", "300_4", "demo"} <= set(PRESETS)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_scene_loads_with_every_preset(scene, preset):
    config = layered(scene, [preset])
    assert config.scene.name == scene
    if preset == "300_4":
        assert (config.scene.num_frames, config.scene.downsample) == (300, 4)
    assert cfg.to_dict(cfg.from_dict(cfg.to_dict(config), "again")) == cfg.to_dict(config)


def test_each_layer_lies_over_the_one_before(tmp_path):
    assert layered("demo").field.fit_steps == preset_tree("demo")["field"]["fit_steps"], (
        "the scene names its preset"
    )
    (tmp_path / "one.yaml").write_text("field: {fit_steps: 7, refit_steps: 8, rays: 64}\n")
    (tmp_path / "two.yaml").write_text("field: {refit_steps: 9}\n")
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    config = layered(
        "demo", ["50_4"], files, {"field.rays": 128, "schedule.rounds": None}, ["field.fit_steps=5"]
    )
    assert (config.field.fit_steps, config.field.refit_steps, config.field.rays) == (5, 9, 128)
    assert (config.scene.downsample, config.schedule.rounds) == (4, 1)


def test_a_file_may_describe_the_scene_and_without_any_it_is_asked_for(tmp_path):
    (tmp_path / "mine.yaml").write_text("scene: {name: mine, reader: rig, root: /somewhere}\n")
    assert layered(files=[tmp_path / "mine.yaml"]).scene.name == "mine"
    with pytest.raises(ConfigError, match="--scene is missing.*--scene demo"):
        layered()
    assert layered(str(tmp_path / "mine.yaml")).scene.root == "/somewhere"


@pytest.mark.parametrize(
    "kwargs, told",
    [
        ({"sets": ["schedule.round=2"]}, "did you mean 'schedule.rounds'"),
        ({"sets": ["scene.start=-1"]}, "scene.start = -1 is out of range"),
        ({"sets": ["scene.num_frames=-3"]}, "scene.num_frames = -3 is out of range"),
        ({"sets": ["schedule.refine_diffusion_steps=950", "schedule.refine_num_steps=900"]}, "at most 900"),
        ({"sets": ["flow.method=guess"]}, "one of auto, raft"),
        ({"sets": ["nonsense"]}, "expected key=value"),
        ({"presets": ["60_3"]}, "shipped: 300_4, 50_2"),
    ],
)
def test_bad_settings_name_key_and_range(kwargs, told):
    with pytest.raises(ConfigError) as caught:
        layered("demo", **kwargs)
    assert told in str(caught.value)


def test_on_and_off_are_words_and_not_booleans(tmp_path):
    """YAML 1.1 reads both as booleans."""
    (tmp_path / "a.yaml").write_text("schedule: {single: off}\nfield: {kernels: off}\n")
    config = layered("demo", files=[tmp_path / "a.yaml"], sets=["editor.compile=on"])
    assert (config.schedule.single, config.field.kernels, config.editor.compile) == ("off", "off", "on")
    with pytest.raises(ConfigError, match="schedule.single = 'on'.*one of effective"):
        layered("demo", sets=["schedule.single=on"])
    with pytest.raises(ConfigError, match="flow.method = False is not a str"):
        layered("demo", sets=["flow.method=off"])


def test_unknown_scenes_list_the_known_ones():
    with pytest.raises(SceneError, match="coffee_martini"):
        layered("tea_martini")


def test_paths_that_are_stored_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = settled(layered("coffee_martini", sets=["storage_path=blocks"]), "data")
    assert config.scene.root == str(tmp_path / "data" / "coffee_martini") and config.storage_path == str(
        tmp_path / "blocks"
    )
    with pytest.raises(WeightsError, match="no RAFT checkpoint"):
        settled(layered("demo", sets=["flow.checkpoint=nowhere.pth"]))


@pytest.mark.parametrize("said, meant", [("0", 0.0), ("auto", None), ("null", None), ("7", 7.0)])
def test_no_guidance_can_be_asked_for_and_is_not_the_editors_own(said, meant, tiny_editor_folder):
    config = layered("demo", sets=[f"editor.text_guidance={said}", f"editor.weights={tiny_editor_folder}"])
    assert config.editor.text_guidance == meant
    config.editor.attention = "anchor"  # which follows from the number of cameras
    chosen = choose_editor(config, "make it night", "cpu")
    assert chosen.settings.text_guidance == (9.5 if meant is None else meant)
    again = cfg.from_dict(cfg.to_dict(config), "stored")
    assert again.editor.text_guidance == chosen.settings.text_guidance


def test_guidance_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="editor.text_guidance = 'much' is not a float"):
        layered("demo", sets=["editor.text_guidance=much"])
