"""Noticing a fit that goes wrong while it runs: a few looks at fixed steps, and what their figures mean.

A field that learns its cameras by heart shows them ever better and what lies between them ever worse; one
whose poses or bounds are wrong has another surface for every camera. Both show long before the end, so the
trainer is asked at a few steps how it stands (`Trainer.watch`). Figures are in the journal: a fit that is
resumed takes them over, and what was told once is not told again. Looking changes nothing of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from i4d.driver.events import FitWatched, Warned
from i4d.types import FitFigures, TableRun

if TYPE_CHECKING:
    from i4d.driver.training import Phase, TrainerSession

POINTS = 8  # of a phase, the last at its end
FALLEN_DB = 1.0  # of a held-out camera below its best, while ...
RISEN_DB = 0.5  # ... the trained ones have gained so much since then
# In the second half of a fit. Of neighbours 50 degrees apart much is hidden from each other: good fits of a
# ring of six have 0.24 to 0.31, of nine 0.65; poses that are ten degrees off have 0.05
LEAST_AGREEMENT = 0.15
LEAST_DB = 15.0  # of trained cameras: bounds that leave the scene outside end at 8 to 10


class Watch:
    """Looks at one phase at `POINTS` steps. `held_out`: where the frames of cameras that are not trained on
    lie; `frame` is the instant that is looked at.
    """

    def __init__(
        self, session: TrainerSession, phase: Phase, held_out: Sequence[TableRun], frame: int
    ) -> None:
        self._session, self._phase, self._frame = session, phase, frame
        self._held_out = tuple(held_out)
        self._inputs = phase.inputs()
        self.points = sorted({round(phase.steps * i / POINTS) for i in range(1, POINTS + 1)} - {0})
        self._seen: dict[int, FitFigures] = {}
        self._told: set[str] = set()

    def next_point(self, step: int) -> int:
        """Return the step at which to look next, beyond `step`; the phase's last where none is left."""
        return next((point for point in self.points if point > step), self._phase.steps)

    def resume(self, step: int) -> None:
        """Take over what an earlier attempt saw up to a step, and what it told."""
        for point in self.points:
            found = self._find(point) if point <= step else None
            if found is not None and point not in self._seen:
                self._seen[point] = found
                self._told |= set(self._verdicts(point))

    def look(self, step: int) -> None:
        """Ask how the fit stands, where `step` is a point that was not looked at; tell and write it down."""
        if step not in self.points or step in self._seen:
            return
        figures = self._find(step)
        known = figures is not None
        if figures is None:
            figures = self._session.call("watch", self._held_out, self._frame)
        self._seen[step] = figures
        found = self._verdicts(step)
        if not known:
            self._tell(step, figures, {kind: text for kind, text in found.items() if kind not in self._told})
            self._session.journal.add("watch", self._id(step), self._inputs, figures)
        self._told |= set(found)

    def _tell(self, step: int, figures: FitFigures, news: dict[str, str]) -> None:
        emit, phase = self._session.emit, self._phase
        emit(
            FitWatched(
                phase.round,
                step,
                phase.steps,
                figures.held_out,
                figures.held_out_psnr_db,
                figures.trained_psnr_db,
                figures.depth_agreement,
            )
        )
        for text in news.values():
            emit(Warned(text))

    def _id(self, step: int) -> str:
        return f"{self._phase.id}/watch/{step}"

    def _find(self, step: int) -> FitFigures | None:
        return self._session.journal.find("watch", self._id(step), self._inputs)

    def _verdicts(self, step: int) -> dict[str, str]:
        seen = [(at, figures) for at, figures in sorted(self._seen.items()) if at <= step]
        return verdicts(seen, self._phase.steps)


def verdicts(seen: Sequence[tuple[int, FitFigures]], steps: int) -> dict[str, str]:
    """Return one line per kind of what goes wrong in a fit of `steps` steps, by its figures (step, figures)
    so far, in order; empty where all is well.

    One look may be a moment's trouble (the grid has just grown): two in a row count, or the last.
    """
    last = seen[-2:] if seen and seen[-1][0] < steps else seen[-1:]
    if not last or (len(last) < 2 and last[0][0] < steps):
        return {}
    out = {}
    best = max(seen, key=lambda item: _or_lowest(item[1].held_out_psnr_db))[1]
    now = last[-1][1]
    fallen = all(best.held_out_psnr_db - figures.held_out_psnr_db >= FALLEN_DB for _, figures in last)
    if fallen and now.trained_psnr_db - best.trained_psnr_db >= RISEN_DB:
        out["memorised"] = (
            f"held-out {now.held_out} fell from {best.held_out_psnr_db:.1f} to {now.held_out_psnr_db:.1f} dB "
            f"while trained cameras rose from {best.trained_psnr_db:.1f} to {now.trained_psnr_db:.1f}: the "
            "field learns its cameras by heart (fewer steps: --set field.fit_steps=..., a larger "
            "field.tv_weight; where poses are off, nothing helps but better ones: i4d check)"
        )
    if all(at > steps / 2 and figures.depth_agreement < LEAST_AGREEMENT for at, figures in last):
        out["depth"] = (
            f"depth agrees between neighbouring cameras for {100 * now.depth_agreement:.0f} % of the pixels: "
            "they stand too far apart, or scene.bounds or the poses are wrong (run i4d check)"
        )
    if all(at > steps / 2 and figures.trained_psnr_db < LEAST_DB for at, figures in last):
        out["outside"] = (
            f"even trained cameras are shown with {now.trained_psnr_db:.1f} dB only: the scene may lie "
            "outside scene.bounds, scene.near and scene.far, or poses are wrong (run i4d check)"
        )
    return out


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
