"""Write docs/benchmarks.md from docs/benchmarks/*.json, one file a theme.

    python scripts/benchmark_page.py

A file holds a title, its place on the page and entries with the fields of FIELDS, all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
FIELDS = {
    "id": str,  # by which README names the figure
    "quantity": str,
    "value": (int, float),
    "unit": str,  # empty for a number without one
    "spread": str,  # seeds, interval or range; "one run" where there is none
    "measured_on": str,
    "hardware": str,
    "date": str,
    "commit": str,
    "commit_is": str,  # measured: that state was run; recorded: that commit wrote the figure down
    "command": str,
    "story": str,  # page under docs/experiments
}
COLUMNS = "| what | figure | spread | measured on | when, commit | command |"
HEAD = """# Benchmarks

<!-- made by scripts/benchmark_page.py from docs/benchmarks/*.json: change those, then `make docs` -->
The figures of today, one row each, with what they were measured on. A commit in brackets is the one that
wrote the figure down; the others were run as they are. Quality of edits is that of the bundled demonstration
editor on a procedural scene; other editors have not been measured yet. How each came about, and what fell
short: [experiments](experiments/README.md)."""


def themes(folder: Path) -> list[dict]:
    """Return the themes of `folder`/*.json in the order of the page."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(found, key=lambda theme: theme["order"])


def page(all_themes: list[dict]) -> str:
    """Return the page as Markdown: a table a theme, the commands below it by number."""
    parts = [HEAD]
    for theme in all_themes:
        commands = list(dict.fromkeys(entry["command"] for entry in theme["entries"]))
        parts.append(f"\n## {theme['title']}\n{COLUMNS}\n|---|---|---|---|---|---|")
        for entry in theme["entries"]:
            commit = f"`{entry['commit']}`"
            if entry["commit_is"] == "recorded":
                commit = f"({commit})"
            figure = f"**{entry['value']}** {entry['unit']}".strip()
            cells = (
                f"[{entry['quantity']}](experiments/{entry['story']})",
                figure,
                entry["spread"],
                f"{entry['measured_on']}; {entry['hardware']}",
                f"{entry['date']}, {commit}",
                str(commands.index(entry["command"]) + 1),
            )
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
        parts += [f"{i}. `{command}`" for i, command in enumerate(commands, 1)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    (DOCS / "benchmarks.md").write_text(page(themes(DOCS / "benchmarks")), encoding="utf-8")
