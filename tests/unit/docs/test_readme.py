"""README: its figures are those of docs/benchmarks, its commands exist, it takes ten minutes."""

import re
import shlex

from pages import ROOT, script
from typer.main import get_command

from i4d.cli import app

BENCHMARKS = script("benchmark_page")
README = (ROOT / "README.md").read_text()
MARK = re.compile(r"(?P<number>[\d.,]+)(?:\*\*)?<!-- figure: (?P<name>[\w.]+) -->")
MEASURED = re.compile(r"(?<![\w.])\d[\d.,]*(?:\*\*)? (?:dB|s|ms|GB|times|images a second)\b")
FENCE = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


def figures():
    themes = BENCHMARKS.themes(ROOT / "docs" / "benchmarks")
    return {entry["id"]: str(entry["value"]) for theme in themes for entry in theme["entries"]}


def wrong_figures(text, known):
    """Return the marked numbers of `text` that are not the figure of that name."""
    found = [(match["number"], match["name"]) for match in MARK.finditer(text)]
    assert len(found) == text.count("<!-- figure:"), "a mark without a number before it"
    return [(number, name) for number, name in found if known.get(name) != number]


def unmarked(text):
    """Return lines with a measured number that no figure stands behind and no paper published."""
    prose = FENCE.sub("", text)
    return [line for line in prose.splitlines() if MEASURED.search(line) and "published" not in line]


def test_marked_figures_are_those_of_the_json():
    assert README.count("<!-- figure:") >= 8
    assert not wrong_figures(README, figures())


def test_no_measured_number_stands_without_its_figure():
    assert not unmarked(README)


def test_a_wrong_and_an_unmarked_number_are_found():
    assert wrong_figures("31.5<!-- figure: a --> dB, **2**<!-- figure: b -->", {"a": "31.42", "b": "2"})
    assert unmarked("it reaches 40 dB") and not unmarked("40<!-- figure: a --> dB; two cores")


def test_commands_exist():
    known = get_command(app).commands
    said = re.findall(r"`i4d (\w+)", README)
    for block in FENCE.findall(README):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["i4d"]:
                said.append(words[1])
                flags = {flag for option in known[words[1]].params for flag in option.opts}
                assert {word for word in words if word.startswith("--")} <= flags, line
            elif words[:1] == ["make"]:
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
            elif words and words[0].endswith(".sh"):
                assert (ROOT / words[0]).is_file(), line
    assert said and set(said) <= known.keys(), set(said) - known.keys()


def test_the_scene_file_of_the_readme_is_a_configuration(tmp_path):
    from i4d.config import Config, merge, read_yaml

    text = re.search(r"cat > kitchen.yaml <<'END'\n(.*?)^END", README, re.M | re.S)[1]
    (tmp_path / "kitchen.yaml").write_text(text)
    tree = read_yaml(tmp_path / "kitchen.yaml")
    assert (ROOT / "configs" / "presets" / f"{tree.pop('preset')}.yaml").exists()
    config = Config()
    merge(config, tree, "README.md")
    assert config.scene.name == "kitchen"


def test_it_is_short():
    assert len(re.sub(r"<!--.*?-->", "", README).split()) <= 1000
