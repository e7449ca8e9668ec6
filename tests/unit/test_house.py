"""The house rules of docs/design.md, section 3: who may import whom. Walks every import statement."""

import ast
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).parents[2] / "i4d"
VALUES = {"errors", "config", "types", "seeds", "pairs", "plain", "registry"}
NUMERICS = {"geometry", "flow", "fields", "editors", "method", "metrics"}
MAY_IMPORT = {
    **{name: VALUES | {name, "geometry"} for name in NUMERICS},
    "store": VALUES | {"store"},
    "scenes": VALUES | NUMERICS | {"scenes", "store"},
    "services": VALUES | NUMERICS | {"services", "store", "scenes"},
    "schedules": VALUES | {"schedules"},
    "driver": VALUES | {"driver", "schedules"},
    "exec": VALUES | {"exec"},
}
MAY_IMPORT["editors"] |= {"store"}  # digests of weights
MAY_IMPORT["method"] |= {"flow", "editors"}
MAY_IMPORT["metrics"] |= {"flow"}
ONLY_IN = {
    "ray": ("exec/on_ray",),
    "diffusers": ("editors/instruct_pix2pix",),
    "transformers": ("editors/instruct_pix2pix", "scenes/segmenter.py", "metrics"),
    "av": ("scenes", "report"),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_packages_import_only_what_the_design_allows():
    wrong = []
    for path in TOP.rglob("*.py"):
        package = path.relative_to(TOP).parts[0]
        for name in imports(path):
            root, *rest = name.split(".")
            if (
                root == "i4d"
                and rest
                and package in MAY_IMPORT
                and rest[0] not in MAY_IMPORT[package] | {"__version__"}
            ):
                wrong.append(f"{path.relative_to(TOP)}: {name}")
    assert not wrong, wrong


def test_heavy_libraries_stay_where_they_belong():
    wrong = []
    for path in TOP.rglob("*.py"):
        inside = path.relative_to(TOP).as_posix()
        for name in imports(path):
            homes = ONLY_IN.get(name.split(".")[0])
            if homes and not inside.startswith(homes):
                wrong.append(f"{inside}: {name}")
            if name.split(".")[0] in ("torch", "ray", "diffusers") and inside.startswith(
                ("driver", "schedules")
            ):
                wrong.append(f"{inside}: {name}")
    assert not wrong, wrong


# scenes/space_trial.py fits small vector-matrix fields to find a scene's space, whatever kind is fitted later
USES_OF_KINDS = {"scenes/space_trial.py"}


# curves of a run's rounds are of two metrics, and `i4d eval --each-frame` adds to what one of them reads
USES_OF_METRICS = {"report/by_round.py", "report/round_curves.py", "commands/show.py"}


def test_metrics_are_found_by_the_registry():
    wrong = []
    for path in TOP.rglob("*.py"):
        inside = path.relative_to(TOP).as_posix()
        if not inside.startswith("metrics/") and inside not in USES_OF_METRICS:
            wrong += [f"{inside}: {name}" for name in imports(path) if name.startswith("i4d.metrics.kinds")]
    assert not wrong, wrong


@pytest.mark.parametrize("sort,one", [("fields", "vector_matrix"), ("editors", "instruct_pix2pix")])
def test_no_one_outside_a_kind_imports_it(sort, one):
    kinds = [path.name for path in (TOP / sort).iterdir() if (path / "__init__.py").exists()]
    assert one in kinds
    wrong = []
    for path in TOP.rglob("*.py"):
        inside = path.relative_to(TOP).as_posix()
        for name in imports(path):
            kind = next((k for k in kinds if name.startswith(f"i4d.{sort}.{k}")), None)
            if kind and not inside.startswith(f"{sort}/{kind}/") and inside not in USES_OF_KINDS:
                wrong.append(f"{inside}: {name}")
    assert not wrong, wrong


# where a kind is named by words: the registries, and the settings' defaults and help
NAME_KINDS = {
    "config/blocks.py",
    "config/kinds.py",
    "editors/registry.py",
    "fields/registry.py",
    "scenes/space_trial.py",
}
WORDS_OF_KINDS = re.compile(r"vector.matrix|instruct.?pix2pix|\bunet\b|\bip2p\b", re.IGNORECASE)


def test_no_one_outside_a_kind_mentions_it():
    """But for where formulas come from, help texts, and the name of the bundled weights."""
    later = {
        "metrics/kinds/cost.py",
        "report/page.py",
        "report/console.py",
        "report/figures.py",
    }
    sources = {
        "types.py",
        "metrics/text_image.py",
        "metrics/kinds/appearance.py",
        "commands/options.py",
        "commands/looking.py",
    }
    allowed = NAME_KINDS | later | sources | {"editors/bundled.py"}
    wrong = []
    for path in TOP.rglob("*.py"):
        inside = path.relative_to(TOP).as_posix()
        if inside.startswith(("fields/vector_matrix/", "editors/instruct_pix2pix/")) or inside in allowed:
            continue
        wrong += [f"{inside}: {found.group(0)}" for found in WORDS_OF_KINDS.finditer(path.read_text())]
    assert not wrong, wrong


METHODS = ("key_frame", "key_views", "adaptive", "each_frame", "in2n", "single")
COMPARISONS = {"commands/compare.py", "commands/ablate.py"}  # what a method is compared with


def test_no_one_outside_schedules_knows_a_method():
    """Beyond the default and its help: the driver reads plans, whoever made them."""
    modules = tuple(f"i4d.schedules.{name}" for name in METHODS)
    words = re.compile(r"schedule\.method\W+(==|in)|" + "|".join(f'"{name}"' for name in METHODS[1:-1]))
    wrong = []
    for path in TOP.rglob("*.py"):
        inside = path.relative_to(TOP).as_posix()
        if inside.startswith("schedules/") or inside in COMPARISONS:
            continue
        wrong += [f"{inside}: {name}" for name in imports(path) if name.startswith(modules)]
        wrong += [f"{inside}: {found.group(0)}" for found in words.finditer(path.read_text())]
    assert not wrong, wrong
