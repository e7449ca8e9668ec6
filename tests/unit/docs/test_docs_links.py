"""Links between pages, their anchors, and pages that code names: all are there."""

import re

import pytest
from pages import ROOT, markdown

FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"(?<!`)\[[^\]\[]*\]\(([^)\s]+)\)")

WRITTEN = {"docs/reliability_table.md"}  # an example of where a script may write


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken(page, text):
    """Return the relative links of `text` that lead nowhere from `page`."""
    wrong = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if name and not target.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text() if name else text):
            wrong.append(f"{link}: no such heading")
    return wrong


@pytest.mark.parametrize("page", markdown(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert not broken(page, page.read_text())


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# Some `code`, two words\n## Twice\n## Twice\n")
    page = tmp_path / "page.md"
    text = "[a](gone.md) [b](other.md#none) [c](other.md#some-code-two-words) [d](other.md#twice-1)\n# Me"
    assert broken(page, text) == ["gone.md: no such file", "other.md#none: no such heading"]
    assert not broken(page, "[a](#me)\n# Me") and broken(page, "[a](#me)") == ["#me: no such heading"]


def test_pages_that_code_names_exist():
    wrong = []
    for folder in ("i4d", "scripts", "tests", "configs", "cluster"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".sh", ".md") and path.is_file():
                for name in re.findall(r"(?<![\w/.])docs/[\w/-]+\.md", path.read_text()):
                    if not (ROOT / name).exists() and name not in WRITTEN:
                        wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong, wrong
