"""The calibration check before a run, and what it settles: whether cameras get exposures of their own.

It comes before the plan, since results follow from what it settles (`i4d/identity.py`); the run folder is
made later, so what was told meanwhile is kept and written down there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from i4d.config import Config
from i4d.driver import events
from i4d.driver.events import Emitter, Event
from i4d.launch import stage
from i4d.scenes.calibration.check import check_scene, stop_unless_fit
from i4d.scenes.names import some
from i4d.store.run_folder import RunFolder
from i4d.types import Scene

DIFFER = ("exposure", "white balance")  # kinds of problems


@dataclass(frozen=True, eq=False)
class Checked:
    """The check as plain values (None: it did not run), what was settled by it in words, and the events that
    told so.
    """

    check: dict | None = None
    notes: tuple[str, ...] = ()
    told: tuple[Event, ...] = ()

    def write(self, folder: RunFolder) -> None:
        """Write the events into a run's own."""
        for event in self.told:
            folder.append_event(event.to_json())


NOT_CHECKED = Checked()


def check_first(scene: Scene, config: Config, console: Any) -> Checked:
    """Return the check of a scene, having told what it found, and settle `field.exposure` in place.

    SceneError where the scene certainly does not fit its pictures.
    """
    told: list[Event] = []
    emit, found = Emitter([console, told.append]), None
    if config.scene.check:
        with stage(emit, "check", len(scene.source_cameras)):
            check = check_scene(scene, config.scene, console.progress)
        stop_unless_fit(check)
        found = check.to_json()
        for problem in check.problems:
            emit(events.Warned(f"{problem.text} ({problem.mend})"))
    text = settle_exposure(config, scene, found)
    if text:
        emit(events.Noted(text))
    return Checked(found, (text,) if text else (), tuple(told))


def settle_exposure(config: Config, scene: Scene, check: Mapping[str, Any] | None) -> str:
    """Settle `field.exposure: auto` in place by a check's plain values (None: none was made): "camera" where
    trained cameras differ by more than the check's limit, else "off". Returns what was decided, with its
    figures; empty where there is nothing to tell.
    """
    if config.field.exposure != "auto":
        return ""
    trained = {scene.cameras[v].name for v in scene.train_views}
    differ = [p for p in (check or {}).get("problems", ()) if p["kind"] in DIFFER]
    who = sorted({name for p in differ for name in p["cameras"]} & trained)
    config.field.exposure = "camera" if len(trained) > 1 and who else "off"
    if config.field.exposure == "off":
        return ""
    most = {kind: max((abs(p["value"]) for p in differ if p["kind"] == kind), default=0.0) for kind in DIFFER}
    figures = " and ".join(f"{value:.2f} stops of {kind}" for kind, value in most.items() if value)
    return f"exposure is fitted per camera: {some(who)} off by up to {figures} (field.exposure)"
