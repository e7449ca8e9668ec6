"""How a run got on round by round: figures of every round."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from i4d.metrics.image import image_psnr
from i4d.metrics.kinds.edited_frames import disagreement_elsewhere
from i4d.report.answers import answers_of, named_edit, source_frames, why_no_answer_of
from i4d.report.evaluation import RunEvaluation
from i4d.report.footage import Footage
from i4d.report.judging import probe_frames
from i4d.types import FrameAddress


def by_round(footage: Footage) -> list[dict[str, Any]]:
    """Return what rounds.json says of every round and, where the edit has a known answer, how near its probe
    renders come (dB).

    Probes are the few neighbouring frames of the first watched camera that the judge of the rounds looks at.
    Empty for runs of one round. `known_answer_psnr_db` is None where there is no answer.
    `cross_view_elsewhere` is how far the edited frames of different cameras disagree at the first and last
    instant (pixels), where depth was rendered there.
    """
    told = footage.run.read_json("rounds.json") or {"rounds": []}
    answers, probes = _answers(footage) if told["rounds"] else None, _probes(footage)
    out, run = [], RunEvaluation(footage)
    for found in told["rounds"]:
        rows = probes.get(found["round"], [])[: len(answers or [])]  # the others show edited cameras
        near = None
        if answers is not None and len(rows) == len(answers):
            near = round(
                float(
                    np.mean(
                        [
                            image_psnr(footage.pixels(at), answer)
                            for at, answer in zip(rows, answers, strict=True)
                        ]
                    )
                ),
                3,
            )
        others = disagreement_elsewhere(run, partial(footage.edited_frame, round_index=found["round"]))
        away = {} if others is None else {"cross_view_elsewhere": round(others.relative, 4)}
        out.append({**found, **away, "known_answer_psnr_db": near, "kept": found["round"] == told["kept"]})
    return out


def _answers(footage: Footage) -> list[np.ndarray] | None:
    """Return what the probes should show, or None where the edit has no known answer."""
    name = named_edit(footage)
    if name is None or why_no_answer_of(footage, name):
        return None
    view, frames = footage.watched[0], probe_frames(footage.scene.num_frames, footage.key_frame)
    originals = [footage.original(view, frame) for frame in frames]
    source = source_frames(footage, frames)
    return answers_of(footage.scene.exact, footage.camera(view), name, originals, source)


def _probes(footage: Footage) -> dict[int, list[FrameAddress]]:
    """Return where the probe renders of every round lie, in the order of their frames."""
    calls: dict[str, list[FrameAddress]] = {}
    for entry in footage.run.records():
        if entry["kind"] == "render" and "/probe" in entry["id"]:
            block = entry["receipt"]["blocks"]["rgb"]
            calls[entry["id"]] = [FrameAddress(block["digest"], row) for row in range(block["num_rows"])]
    out: dict[int, list[FrameAddress]] = {}
    for id in sorted(calls):
        out.setdefault(int(id.split("/")[0].removeprefix("r")), []).extend(calls[id])
    return out
