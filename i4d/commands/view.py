"""`i4d view`: a run in the browser, from before it has anything to show."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from i4d.commands.watch import watched
from i4d.report.viewer import serve
from i4d.report.viewing import RunViews
from i4d.store.run_folder import RunFolder


def view(run: Path, host: str, port: int, height: int, device: str, storage_path: str = "") -> None:
    """Serve a run's page until Ctrl-C; waits for a run that has just begun. I4DError where nothing is there
    and nobody makes it.
    """
    folder = RunFolder.open(run, storage_path)
    wait_for_field(folder, print)
    print(f"reading the field of {run}", flush=True)
    serve(RunViews(folder, device), host, port, height, print)


def wait_for_field(
    folder: RunFolder, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return once a run has a committed field, or nobody drives it; says meanwhile where it stands."""
    if folder.manifests() or not folder.driven():
        return
    say(f"{folder.path} has no field yet; the viewer opens when its first fit is done")
    for line in watched(folder, lambda: folder.driven() and not folder.manifests(), sleep):
        if folder.manifests():
            return
        say(line)
