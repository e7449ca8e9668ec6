"""Write docs/configuration.md from the options that i4d/config and the default kinds declare.

    python scripts/configuration_page.py

A new section of the configuration stands on the page by being a dataclass of Config.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from i4d.config import Config, known_keys

TARGET = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

<!-- made by scripts/configuration_page.py from i4d/config: change that, then `make docs` -->
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


def sections(config: Config) -> list[tuple[str, str]]:
    """Return (name, docstring in one line) of every section, the top level ("") first; of a field or an
    editor that of its kind's options.
    """
    found = [("", config), *((k, v) for k, v in vars(config).items() if dataclasses.is_dataclass(v))]
    return [(name, " ".join((type(section).__doc__ or "").split())) for name, section in found]


def page() -> str:
    """Return the page as Markdown, a table a section."""
    keys = known_keys()
    parts = [HEAD]
    for prefix, meaning in sections(Config()):
        parts.append(f"\n## {f'`{prefix}`' if prefix else 'Top level'}\n{meaning}\n")
        parts.append("| key | default | may be | what |\n|---|---|---|---|")
        for key, option in keys.items():
            if key.rpartition(".")[0] == prefix:
                what = option.metadata["help"].replace("|", "\\|")
                parts.append(f"| `{key}` | `{default_of(option)}` | {allowed(option)} | {what} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
