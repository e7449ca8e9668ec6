"""Long lines on a terminal and in a pipe."""

import sys

from i4d.commands.lines import wrapped


def test_lines_are_broken_for_a_terminal_and_left_alone_for_a_program(monkeypatch):
    text = "ok    packages  " + ", ".join(f"package{i} 1.0" for i in range(12))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert wrapped(text, " " * 16) == text
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    lines = wrapped(text, " " * 16).splitlines()
    assert (
        len(lines) > 1 and max(map(len, lines)) <= 80 and all(line.startswith(" " * 16) for line in lines[1:])
    )
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
