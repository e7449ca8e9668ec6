"""How near the unedited field's renders come to the original videos of cameras it was never trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from i4d.metrics import cells
from i4d.metrics.image import image_psnr, image_ssim
from i4d.metrics.mean import Mean
from i4d.metrics.protocol import FIELD, Evaluation, Metric, Need, Places, Shared, Tree

ROUGH_DB = 20.0  # below it a reconstruction is told with a warning
_TRAINED = "reconstruction.of_trained_camera"


def reconstruction(run: Evaluation) -> Tree:
    """Return PSNR, SSIM and LPIPS of the unedited field on the watched cameras, against their originals.

    Without a held-out camera the figures are null and those of a trained one stand under
    `of_trained_camera`.
    """
    watched = [v for v in run.watched if run.unedited_count(v)]
    quality, likeness, frames = Mean(), Mean(), 0
    for view in watched:
        for i, (rendered, original) in enumerate(_pairs(run, view)):
            frames += 1
            quality.add(image_psnr(rendered, original), view, i)
            if (alike := image_ssim(rendered, original, cells.device())) is not None:
                likeness.add(alike, view, i)
    about = {
        "frames": frames,
        "cameras": [run.camera(v).name for v in watched],
        "ssim_frames": len(likeness),
    }
    lacking = run.why_not(Need.UNEDITED_RENDERS) or run.why_not(Need.HELD_OUT)
    if not watched:
        nothing = {"psnr_db": None, "ssim": None, "lpips": cells.missing(lacking)}
        return {"reconstruction": {**nothing, **about, "reason": lacking}}
    found = {
        "psnr_db": quality.value(3),
        "psnr_interval_db": quality.interval(3),
        "ssim": likeness.value(),
        "ssim_interval": likeness.interval(),
        "lpips": _distance(run, watched[0]),
        **about,
    }
    if not lacking:
        return {"reconstruction": found}
    nothing = {"psnr_db": None, "ssim": None, "lpips": cells.missing(lacking)}
    return {"reconstruction": {**nothing, "reason": lacking, "of_trained_camera": found}}


def _distance(run: Evaluation, view: int) -> cells.Cell:
    taken = run.taken(view, run.unedited_count(view))
    return cells.lpips_cell(
        lambda i: run.unedited(view, taken[i]), lambda i: run.original(view, taken[i]), len(taken)
    )


def _pairs(run: Evaluation, view: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for frame in run.taken(view, run.unedited_count(view)):
        yield run.unedited(view, frame), run.original(view, frame)


def _places(value: str, interval: str, frames: str = "frames", reason: str = "reason") -> tuple[Places, ...]:
    """Return where a figure stands of a held-out camera and, with a note, of a trained one."""
    told = f"reconstruction.{reason}"
    return tuple(
        Places(
            f"{root}.{value}",
            interval=f"{root}.{interval}",
            frames=f"{root}.{frames}",
            cameras=f"{root}.cameras",
            reason=told,
            note=note,
        )
        for root, note in (("reconstruction", ""), (_TRAINED, "training camera"))
    )


def _rough(value: float) -> str:
    return "under 20 dB: an unseen view is hardly more than a guess" if value < ROUGH_DB else ""


_NEEDS = (Need.UNEDITED_RENDERS, Need.HELD_OUT)
PSNR = Metric(
    "reconstruction.psnr_db",
    "Reconstruction, PSNR",
    "dB",
    "higher",
    "Peak signal-to-noise ratio of the unedited field's renders (8 bits) against the original frames of a "
    "camera that it was never trained on, mean over frames. 30 dB is close, 20 dB is rough; of a training "
    "camera it says little of new views.",
    "standard",
    _NEEDS,
    Shared(reconstruction),
    (0, 100),
    group=FIELD,
    compared=False,
    headline="reconstruction",
    caution=_rough,
    places=_places("psnr_db", "psnr_interval_db"),
)
SSIM = Metric(
    "reconstruction.ssim",
    "Reconstruction, SSIM",
    "",
    "higher",
    "Structural similarity of the same pictures, in Gaussian windows of 11 pixels (sigma 1.5): 1 for "
    "identical ones.",
    "Wang et al. 2004",
    _NEEDS,
    Shared(reconstruction),
    (-1, 1),
    digits=4,
    group=FIELD,
    compared=False,
    places=_places("ssim", "ssim_interval", "ssim_frames"),
)
LPIPS = Metric(
    "reconstruction.lpips",
    "Reconstruction, LPIPS",
    "",
    "lower",
    "Learned perceptual distance (LPIPS 0.1, AlexNet) of the same pictures, at most 16 frames evenly "
    "spread: 0 for identical ones, 0.1 is hard to see, 0.7 is another picture.",
    "Zhang et al., CVPR 2018",
    (*_NEEDS, Need.LPIPS),
    Shared(reconstruction),
    digits=4,
    group=FIELD,
    compared=False,
    places=_places("lpips.value", "lpips.interval", "lpips.frames", "lpips.reason"),
)
