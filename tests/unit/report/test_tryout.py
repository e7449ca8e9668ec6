"""`i4d try`: a sheet of every prompt and setting, with figures, the best one marked and the command that runs
it.
"""

import shlex

import numpy as np
import pytest
from PIL import Image

from i4d.commands.tryout import numbers, try_out
from i4d.editors.instruct_pix2pix.kind import KIND
from i4d.errors import ConfigError, SceneError
from i4d.flow.classical import DisFlow
from i4d.report.contact_sheet import WIDE, command_of, sheet_html, sheet_png
from i4d.report.tryout import Strengths, Trial, best, try_grid
from i4d.scenes.procedural.demo import write_demo
from i4d.types import EditSettings, Strength

SMALL = [
    "schedule.diffusion_steps=2",
    "schedule.refine_diffusion_steps=1",
    "schedule.key_frame=1",
    "scene.reader=n3dv",
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene") / "demo"
    write_demo(folder, 48, 40, 4, num_cameras=3, images=True)
    return folder


def run(scene, out, prompts, **changes):
    given = {
        "scene": "demo",
        "camera": "",
        "frames": 2,
        "guidance": "1",
        "image_guidance": "",
        "presets": (),
        "files": (),
    } | changes
    try_out(
        prompts,
        out,
        given["scene"],
        given["camera"],
        given["frames"],
        given["guidance"],
        given["image_guidance"],
        given["presets"],
        given["files"],
        {"cluster.device": "cpu"},
        [*SMALL, f"scene.root={scene}"],
    )


def test_the_sheet_shows_every_cell_and_the_page_runs_without_a_server(scene, tmp_path, capsys):
    run(scene, tmp_path / "out", ["make it night", "turn the ball gold"], guidance="1,2.5")
    said = capsys.readouterr().out
    assert said.count("best with text") == 2 and "--guidance-scale" in said and "known answer, dB" in said
    picture = Image.open(tmp_path / "out" / "sheet.png")
    assert picture.width > 3 * WIDE and np.asarray(picture).std() > 20
    page = (tmp_path / "out" / "sheet.html").read_text()
    assert page.count("<figure class=best>") == 2 and page.count("<figure") == 6 and page.count("alt=") == 18
    assert (
        "http" not in page.replace("https://", "http").split("<style>")[0] and "src='data:image/png" in page
    )


def test_cells_side_by_side_are_the_same_as_one_after_the_other(tiny_editor_folder):
    originals = np.random.default_rng(1).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    grid = [
        EditSettings(prompt, text, 1.0) for prompt in ("make it night", "make it gold") for text in (1.0, 2.5)
    ]
    strengths, seen = Strengths(Strength(1000, 2), Strength(600, 1)), []
    models = [KIND.load(str(tiny_editor_folder)) for _ in range(3)]
    alone, together = (
        try_grid(chosen, DisFlow(), originals, grid, strengths, {}, lambda done, of: seen.append(done))
        for chosen in (models[:1], models)
    )
    assert seen == [1, 2, 3, 4] * 2
    for one, other in zip(alone, together, strict=True):
        assert (one.prompt, one.text_guidance) == (other.prompt, other.text_guidance)
        assert np.abs(one.frames.astype(int) - other.frames).max() <= 1
    assert not np.array_equal(alone[0].frames, alone[1].frames)


def trial(prompt, score, value):
    return Trial(prompt, 1.0, 1.5, np.full((2, 20, 30, 3), 90, np.uint8), {score: {"value": value}}, score)


def test_best_is_highest_but_for_flicker_and_each_prompt_has_its_own():
    trials = [trial("a", "known_answer_db", 20.0), trial("a", "known_answer_db", 25.0)]
    trials += [trial("b", "flicker", 1.1), trial("b", "flicker", 2.0)]
    assert best(trials) == {"a": trials[1], "b": trials[2]}


def test_the_command_survives_quotes_and_brackets(tmp_path):
    nasty = trial('it\'s <b>"bold"</b>; rm -rf', "changed", 0.1)
    words = shlex.split(command_of(nasty, "demo", ["--set", "a.b=[1, 2]"]))
    assert (
        words[words.index("--prompt") + 1] == nasty.prompt and words[words.index("--set") + 1] == "a.b=[1, 2]"
    )
    sheet_html(tmp_path / "x.html", nasty.frames, [nasty], "demo")
    sheet_png(tmp_path / "x.png", nasty.frames, [nasty])
    assert "<b>" not in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize("text", ["", "a", "1,-2", "1,,x", "99"])
def test_bad_numbers_name_the_option(text):
    with pytest.raises(ConfigError, match="--guidance"):
        numbers(text or ",", "--guidance", 0, 50)


def test_mistakes_are_named_before_any_work(scene, tmp_path):
    with pytest.raises(ConfigError, match="--camera nobody.*one of cam00"):
        run(scene, tmp_path / "a", ["make it night"], camera="nobody")
    with pytest.raises(ConfigError, match="prompt"):
        run(scene, tmp_path / "a", [" "])
    with pytest.raises(SceneError):
        run(tmp_path / "nothing", tmp_path / "a", ["make it night"])
    assert not (tmp_path / "a").exists()


def test_guidance_is_tried_with_an_editor_that_has_no_card(scene, tmp_path, capsys, tiny_editor_folder):
    sets = [*SMALL, f"scene.root={scene}", f"editor.weights={tiny_editor_folder}"]
    places = {"cluster.device": "cpu"}
    try_out(["make it night"], tmp_path / "out", "demo", "", 0, "0,2", "1.2", (), (), places, sets)
    told = capsys.readouterr()
    assert f"guidance recommended for {tiny_editor_folder}, text / image: 9.5 / 1.5" in told.err + told.out
    assert (tmp_path / "out" / "sheet.png").is_file()
