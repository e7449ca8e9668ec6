"""How the input was read, on the page: capture.json of a run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from i4d.report.calibration import told
from i4d.store.run_folder import RunFolder


def capture_section(run: RunFolder) -> str:
    """Return the section about what was decided when the scene was read; empty for runs that kept nothing."""
    kept = run.read_json("capture.json") or {}
    notes, check = kept.get("notes") or [], kept.get("check")
    if not notes and not check:
        return ""
    page = "<h2>Capture</h2>"
    if notes:
        page += f"<p class='hint'>How the input was read.</p>{_list(notes)}"
    if check:
        page += f"<p class='hint'>How well poses fit the pictures.</p>{_list(told(check))}"
    return page


def _list(texts: Sequence[str]) -> str:
    return f"<ul class='card'>{''.join(f'<li>{escape(str(text))}</li>' for text in texts)}</ul>"
