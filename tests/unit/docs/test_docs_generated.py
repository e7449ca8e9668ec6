"""Generated pages equal what they are made from; every figure has all that it needs to be believed."""

import datetime
import json
import math
import re
import shlex

import pytest
from pages import ROOT, script
from typer.main import get_command

from i4d.cli import app

BENCHMARKS = script("benchmark_page")
CONFIGURATION = script("configuration_page")
EXTENDING = script("extending_page")
FOLDER = ROOT / "docs" / "benchmarks"
ENTRIES = [entry for theme in BENCHMARKS.themes(FOLDER) for entry in theme["entries"]]
ENVIRONMENT = re.compile(r"[A-Z_]+=\S+")


def test_the_page_of_benchmarks_is_what_the_json_gives():
    made = BENCHMARKS.page(BENCHMARKS.themes(FOLDER))
    assert (ROOT / "docs" / "benchmarks.md").read_text() == made, "make docs"


def test_the_page_of_settings_is_what_the_code_gives():
    assert (ROOT / "docs" / "configuration.md").read_text() == CONFIGURATION.page(), "make docs"


def test_every_setting_stands_on_its_page_once():
    page = CONFIGURATION.page()
    for key in CONFIGURATION.known_keys():
        assert page.count(f"| `{key}` |") == 1, key


def test_programs_of_the_extension_guide_are_files_that_tests_run():
    text = (ROOT / "docs" / "extending.md").read_text()
    assert EXTENDING.page(text) == text, "make docs"
    assert len(EXTENDING.BLOCK.findall(text)) == 3
    changed = text.replace("SIDE, SAMPLES = 16, 24", "SIDE, SAMPLES = 8, 24")
    assert changed != text and EXTENDING.page(changed) == text


def test_a_changed_figure_changes_the_page(tmp_path):
    theme = json.loads((FOLDER / "field.json").read_text())
    before = BENCHMARKS.page([theme])
    theme["entries"][0]["value"] += 1
    assert BENCHMARKS.page([theme]) != before


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.get("id", "without id"))
def test_an_entry_says_all_that_a_figure_needs(entry):
    assert entry.keys() == BENCHMARKS.FIELDS.keys()
    for name, kind in BENCHMARKS.FIELDS.items():
        assert isinstance(entry[name], kind) and not isinstance(entry[name], bool), name
        assert name == "unit" or entry[name] != "", name
    assert math.isfinite(entry["value"])
    datetime.date.fromisoformat(entry["date"])
    assert re.fullmatch(r"[0-9a-f]{7,40}", entry["commit"])
    assert entry["commit_is"] in ("measured", "recorded")
    assert (ROOT / "docs" / "experiments" / entry["story"]).exists()


def test_there_are_at_most_forty_and_no_two_of_one_name():
    names = [entry["id"] for entry in ENTRIES]
    assert 0 < len(names) <= 40 and len(set(names)) == len(names)


def cannot_run(command):
    """Return what of a command does not exist here, or an empty string."""
    words = [word for word in shlex.split(command) if not ENVIRONMENT.fullmatch(word)]
    tool, what, *rest = words
    if tool == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        return "" if what in targets else f"no target {what}"
    if tool == "i4d":
        known = get_command(app).commands
        if what not in known:
            return f"no command {what}"
        flags = {flag for option in known[what].params for flag in option.opts + option.secondary_opts}
        wrong = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in flags]
        return f"no option {wrong}" if wrong else ""
    if tool == "pytest":
        return "" if (ROOT / what).exists() else f"no tests {what}"
    if tool == "python" and what.startswith("scripts/"):
        if not (ROOT / what).is_file():
            return f"no script {what}"
        text = (ROOT / what).read_text()
        wrong = [word for word in rest if word.startswith("--") and f'"{word.partition("=")[0]}"' not in text]
        return f"no option {wrong}" if wrong else ""
    return f"what is {tool}?"


@pytest.mark.parametrize("command", sorted({entry["command"] for entry in ENTRIES}))
def test_commands_of_figures_exist(command):
    assert not cannot_run(command)


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "i4d paint",
        "i4d edit --sceen demo",
        "pytest tests/none.py",
        "python scripts/none.py",
        "python scripts/bench_edit.py --sighs 1",
        "bash x",
    ],
)
def test_commands_that_do_not_exist_are_found(command):
    assert cannot_run(command)


def unknown_settings(text):
    """Return the dotted settings that `text` names and the configuration does not have."""
    text = re.sub(r"<!--.*?-->", "", text)
    keys = CONFIGURATION.known_keys().keys()
    sections = {key.partition(".")[0] for key in keys if "." in key}
    named = set(re.findall(rf"(?<![\w./])(?:{'|'.join(sections)})\.[a-z]\w*[a-z0-9](?![\w(/]|\.\w)", text))
    files = (".json", ".py", ".md", ".yaml", ".html")
    named -= {name for name in named if name.endswith(files)} | set(keys)
    return sorted(name for name in named if not any(key.startswith(name) for key in keys))


GUIDES = [path for path in (ROOT / "docs").glob("*.md")] + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.name)
def test_settings_that_guides_name_exist(page):
    assert not unknown_settings(page.read_text())


def test_an_unknown_setting_is_found():
    assert unknown_settings("`field.fit_steps`, `schedule.refine_*`, `field.fitt`, at field.py.") == [
        "field.fitt"
    ]
