"""The schedule that the guide shows is the one that a test carries out."""

import re

from pages import ROOT


def test_the_schedule_of_the_guide_is_the_toy_that_is_edited_with():
    section = (ROOT / "docs" / "extending.md").read_text().split("\n## A schedule\n")[1].split("\n## ")[0]
    (shown,) = re.findall(r"```python\n(.*?)```", section, re.S)
    assert shown == (ROOT / "tests" / "plugins" / "toy_kinds" / "star.py").read_text()
    assert len(shown.splitlines()) <= 40
