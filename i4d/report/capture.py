"""How the input was read, on the page: capture.json of a run."""

from __future__ import annotations

from html import escape

from i4d.store.run_folder import RunFolder


def capture_section(run: RunFolder) -> str:
    """Return the section about what was decided when the scene was read; empty for runs that kept nothing."""
    notes = (run.read_json("capture.json") or {}).get("notes") or []
    if not notes:
        return ""
    rows = "".join(f"<li>{escape(str(text))}</li>" for text in notes)
    return f"<h2>Capture</h2><p class='hint'>How the input was read.</p><ul class='card'>{rows}</ul>"
