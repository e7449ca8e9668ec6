"""Write docs/configuration.md from the options that i4d/config.py declares: defaults, what they may be, help.

    python scripts/configuration_page.py            (writes the page)
    python scripts/configuration_page.py --check    (exit code 1 where the page is not what the code gives)

A new section of the configuration stands on the page by being a dataclass of Config.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from pathlib import Path

from i4d.config import Config, known_keys

TARGET = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

<!-- made by scripts/configuration_page.py from i4d/config.py: change that, then `make docs` -->
Every key, its default and what it may be. Set one with `--set section.key=value`, in a scene file, or in a
YAML file given with `--config`; presets (`--preset`) are such files. The resolved settings of a run lie in
its folder. Words: [glossary](glossary.md)."""


def default_of(option: dataclasses.Field) -> str:
    """Return an option's default as one would write it in YAML; `auto` where None stands for that."""
    made = option.default_factory is not dataclasses.MISSING
    value = option.default_factory() if made else option.default  # type: ignore[misc]
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if value == "" else str(value)


def allowed(option: dataclasses.Field) -> str:
    """Return what a value may be: choices, range or pattern, else its type."""
    meta = option.metadata
    if meta["choices"]:
        return ", ".join(f"`{choice}`" for choice in meta["choices"])
    low, high = meta["low"], meta["high"]
    if low is not None or high is not None:
        span = f"{low:g} to {high:g}" if high is not None else f"{low:g} or more"
        return f"`auto`, {span}" if meta["auto"] else span
    if meta["pattern"]:
        return f"`{meta['pattern']}`".replace("|", "\\|")
    return {bool: "true or false", str: "text", list: "list", dict: "mapping"}.get(
        type(option.default_factory() if option.default is dataclasses.MISSING else option.default), "number"
    )


def sections(cls: type = Config) -> list[tuple[str, str, str]]:
    """Return (prefix, dataclass name, first line of its docstring) of every section, the top level first."""
    found = [("", cls.__name__, (cls.__doc__ or "").strip())]
    for prefix in dict.fromkeys(key.rpartition(".")[0] for key in known_keys() if "." in key):
        section = cls
        for name in prefix.split("."):
            section = typing.get_type_hints(section)[name]
        found.append((prefix, section.__name__, " ".join((section.__doc__ or "").split())))
    return found


def page() -> str:
    """Return the page as Markdown, a table a section."""
    keys = known_keys()
    parts = [HEAD]
    for prefix, _, meaning in sections():
        parts.append(f"\n## {f'`{prefix}`' if prefix else 'Top level'}\n{meaning}\n")
        parts.append("| key | default | may be | what |\n|---|---|---|---|")
        for key, option in keys.items():
            if key.rpartition(".")[0] == prefix:
                what = option.metadata["help"].replace("|", "\\|")
                parts.append(f"| `{key}` | `{default_of(option)}` | {allowed(option)} | {what} |")
    return "\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or with --check compare it."""
    parser = argparse.ArgumentParser(description="docs/configuration.md from i4d/config.py")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it differs")
    arguments = parser.parse_args()
    text = page()
    if not arguments.check:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print("docs/configuration.md is not what i4d/config.py gives: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
