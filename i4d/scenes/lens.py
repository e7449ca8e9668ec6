"""Lens models by the names that COLMAP and nerfstudio give them, and how pictures are rid of them.

Two models do the work: OpenCV's (radial k1 k2 k3, tangential p1 p2, rational k4 k5 k6) and cv2.fisheye's (k1
k2 k3 k4 of the angle). The others are these with some numbers zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from i4d.errors import SceneError

Kind = Literal["opencv", "fisheye"]
_FULL = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_FISHEYE = ("k1", "k2", "k3", "k4")


@dataclass(frozen=True)
class _Model:
    kind: Kind
    keys: tuple[str, ...]  # in the order of a list of numbers
    counts: tuple[int, ...]  # how many numbers a list may have


MODELS = {
    "PINHOLE": _Model("opencv", (), (0,)),
    "SIMPLE_PINHOLE": _Model("opencv", (), (0,)),
    "SIMPLE_RADIAL": _Model("opencv", ("k1",), (1,)),
    "RADIAL": _Model("opencv", ("k1", "k2"), (2,)),
    "OPENCV": _Model("opencv", _FULL, (0, 4, 5, 8)),
    "FULL_OPENCV": _Model("opencv", _FULL, (8,)),
    "OPENCV_FISHEYE": _Model("fisheye", _FISHEYE, (4,)),
    "SIMPLE_RADIAL_FISHEYE": _Model("fisheye", ("k1",), (1,)),
    "RADIAL_FISHEYE": _Model("fisheye", ("k1", "k2"), (2,)),
}


def _model(name: str, where: str) -> _Model:
    if name not in MODELS:
        raise SceneError(f"{where}: lens {name}", f"undistort the frames first; read are {', '.join(MODELS)}")
    return MODELS[name]


def lens_of_list(name: str, numbers: Sequence[float], where: str) -> tuple[Kind, tuple[float, ...]]:
    """Return the kind of lens and its numbers from a list in the model's order; none where all are zero.

    SceneError for a model that is not read, or a count that is not the model's.
    """
    model = _model(name, where)
    if len(numbers) not in model.counts and any(numbers):
        raise SceneError(
            f"{where}: the distortion of a lens {name} has {len(numbers)} numbers",
            f"{' or '.join(map(str, model.counts))}: {' '.join(model.keys) or 'it has no distortion'}",
        )
    return _settled(model, dict(zip(model.keys, numbers, strict=False)))


def lens_of_keys(name: str, entry: Mapping[str, Any], where: str) -> tuple[Kind, tuple[float, ...]]:
    """Return the same from numbers by key (k1, k2, ...). ValueError or TypeError where one is no number."""
    model = _model(name, where)
    keys = model.keys[:5] if name == "OPENCV" else model.keys
    values = {key: float(entry[key] or 0.0) for key in (*_FULL,) if key in entry}
    unread = [key for key, value in values.items() if value and key not in keys]
    if unread:
        raise SceneError(
            f"{where}: a lens {name} has no {', '.join(unread)}",
            "name the model that these numbers belong to: FULL_OPENCV, OPENCV_FISHEYE",
        )
    return _settled(model, values)


def _settled(model: _Model, values: Mapping[str, float]) -> tuple[Kind, tuple[float, ...]]:
    keys = _FISHEYE if model.kind == "fisheye" else _FULL
    numbers = tuple(float(values.get(key, 0.0)) for key in keys)
    if model.kind == "fisheye" and model.keys:
        return "fisheye", numbers  # zeros are a lens too: equidistant
    for count in (4, 5):
        if not any(numbers[count:]):
            numbers = numbers[:count]
            break
    return "opencv", numbers if any(numbers) else ()


def pull_maps(
    kind: Kind, numbers: Sequence[float], K: np.ndarray, pinhole: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps (height, width) that cv2.remap draws the picture of a pinhole camera with from one of
    this lens. `K` is the lens's, `pinhole` the new camera's, in pixels with centres at +0.5.
    """
    there, here = np.array(pinhole, dtype=float), np.array(K, dtype=float)
    there[:2, 2] -= 0.5  # OpenCV's pixel centres lie at integers
    here[:2, 2] -= 0.5
    make = cv2.fisheye.initUndistortRectifyMap if kind == "fisheye" else cv2.initUndistortRectifyMap
    turn = np.eye(3)
    distortion = np.array(numbers or (0.0,) * 4, dtype=float)
    return make(here, distortion, turn, there, (width, height), cv2.CV_32FC1)
