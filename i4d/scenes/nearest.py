"""How near and how far a rig's scene reaches, told by its pictures where no file says so, or says it wrong.

NDC gives half of its depth to what lies within twice the near plane, so a forward-facing rig needs its
nearest depth, and `cameras.json` does not hold it. Points that the trained cameras match at one instant do:
they are triangulated with the poses that are there, kept where several cameras agree, and a low percentile of
their depths is taken. What shows no texture is not matched and may be nearer: hence NEAR_SHARE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from i4d.config import SceneConfig
from i4d.errors import SceneError
from i4d.scenes.bounds import (
    FAR_NEARS,
    SIDEWAYS_DEGREES,
    average_pose,
    beside_ndc,
    forward_spaces,
    rig_ndc_bounds,
    spread_degrees,
)
from i4d.scenes.calibration.epipolar import distances, triangulated
from i4d.scenes.calibration.looks import WIDTH, side_by_side
from i4d.scenes.calibration.matches import features, mutual, pairs_of
from i4d.types import Bounds, Camera, Scene

EPIPOLAR_PX = 1.0  # from its line, at most, for a match to be one
AGREE = 0.05  # depths of a feature as its pairs of cameras tell them: within this share of their median
FEWEST_POINTS = 30
LOW, HIGH = 1.0, 99.0  # percentiles of depth
NEAR_SHARE = 0.7  # of the low percentile; NDC loses little by a near plane that is too near, all by the other
FAR_SHARE = 1.5
MISFIT = 0.9  # a file's nearest depth is wrong where the low percentile lies below this share of it

Pictures = Callable[[], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Reach:
    """Nearest and farthest depth of `points` matched points in world units: LOW and HIGH percentiles."""

    nearest: float
    farthest: float
    points: int

    @property
    def near(self) -> float:
        """A near plane in front of all that may be there, in three digits."""
        return float(f"{NEAR_SHARE * self.nearest:.3g}")

    @property
    def far(self) -> float:
        """A farthest depth behind it, in three digits."""
        return float(f"{FAR_SHARE * self.farthest:.3g}")


def matched_reach(cameras: Sequence[Camera], pictures: Sequence[np.ndarray]) -> Reach:
    """Return how near and far the points lie that still cameras match in their pictures (height, width, 3)
    uint8 of one instant: the smaller of the low percentiles of depth along the cameras' own axes and along
    that of their average pose, on which NDC's near plane stands. Infinite and 0 where there are none.

    SceneError where the cameras have no average pose.
    """
    views, points = _agreed(*_working(cameras, pictures))
    if not len(points):
        return Reach(float("inf"), 0.0, 0)
    poses = np.stack([c.world_from_camera for c in cameras])
    rig = average_pose(list(poses))
    own = ((points - poses[views, :3, 3]) * poses[views, :3, 2]).sum(1)
    along = (points - rig[:3, 3]) @ rig[:3, 2]
    low, high = (np.percentile(np.stack([own, along]), q, axis=1) for q in (LOW, HIGH))
    return Reach(float(low.min()), float(high.max()), len(points))


def _working(
    cameras: Sequence[Camera], pictures: Sequence[np.ndarray]
) -> tuple[list[Camera], list[np.ndarray]]:
    """Return cameras and pictures no wider than the calibration check looks at them."""
    sizes = [(w := min(WIDTH, c.width), round(w * c.height / c.width)) for c in cameras]
    smaller = [
        p if p.shape[1::-1] == size else cv2.resize(p, size, interpolation=cv2.INTER_AREA)
        for p, size in zip(pictures, sizes, strict=True)
    ]
    return [c.resized(*size) for c, size in zip(cameras, sizes, strict=True)], smaller


def _agreed(cameras: list[Camera], pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the views (n,) of features of which two pairs of cameras or more, and at least half of them,
    tell one depth, and the world points (n, 3) that they are of.
    """
    with side_by_side() as pool:
        found = list(pool.map(features, pictures))
    told: dict[tuple[int, int], list[np.ndarray]] = {}  # of view and feature: points, one per pair
    for a, b in pairs_of(cameras):
        in_a, in_b = mutual(found[a], found[b])
        xa, xb = found[a][0][in_a], found[b][0][in_b]
        points = triangulated(cameras[a], cameras[b], xa, xb)
        fits = distances(cameras[a], cameras[b], xa, xb) < EPIPOLAR_PX
        fits &= (_depths(cameras[a], points) > 0) & (_depths(cameras[b], points) > 0)
        for i, j, point in zip(in_a[fits], in_b[fits], points[fits], strict=True):
            told.setdefault((a, int(i)), []).append(point)
            told.setdefault((b, int(j)), []).append(point)
    views, kept = [], [np.zeros((0, 3))]
    for (view, _), of_pairs in told.items():
        several = np.stack(of_pairs)
        depths = _depths(cameras[view], several)
        alike = np.abs(depths / np.median(depths) - 1) < AGREE
        if alike.sum() >= 2 and alike.mean() >= 0.5:
            views.append(view)
            kept.append(several[alike].mean(0, keepdims=True))
    return np.array(views, int), np.concatenate(kept)


def _depths(camera: Camera, points: np.ndarray) -> np.ndarray:
    return (points - camera.centre) @ camera.world_from_camera[:3, 2]


def settle_reach(
    scene: Scene, config: SceneConfig, cameras: Sequence[Camera], pictures: Pictures, tried: bool
) -> Scene:
    """Return the scene with the spaces that its nearest depth allows, and where pictures told that depth for
    good, write it into `config`.

    `cameras` are the trained ones as they stand at the instant of `pictures`, which is asked only where it is
    needed. `tried`: spaces will be tried against each other; NDC of a rig whose file tells no nearest depth
    is offered only then, or where `scene.bounds: ndc` asks for it. N3DV scenes have their file's nearest
    depth checked. SceneError where NDC is asked for and nothing tells a nearest depth.
    """
    asked = config.bounds == "ndc" and scene.bounds.kind != "ndc"
    if asked:
        return _asked_for(scene, config, cameras, pictures)
    if config.bounds != "auto" or not scene.spaces or len(cameras) < 2:
        return scene
    file_tells = any(b.kind == "ndc" for b in scene.spaces)
    if file_tells and not config.near:
        return _checked(scene, config, cameras, pictures)
    around = scene.spaces[0].kind == "contracted" or spread_degrees(scene.cameras) >= SIDEWAYS_DEGREES
    if file_tells or around or not tried or len(config.aabb):
        return scene
    return _offered(scene, config, cameras, pictures)


def _asked_for(scene: Scene, config: SceneConfig, cameras: Sequence[Camera], pictures: Pictures) -> Scene:
    found = matched_reach(cameras, pictures())
    if found.points < FEWEST_POINTS:
        raise SceneError(
            f"scene.bounds ndc needs a nearest depth, and the trained cameras match {found.points} points "
            f"only ({FEWEST_POINTS} would tell it)",
            "set scene.near (world units), or scene.bounds: box",
        )
    bounds = rig_ndc_bounds(scene.cameras, found.near, config.far or found.far)
    config.near, config.far = bounds.near, bounds.far
    return replace(scene, bounds=bounds, spaces=(), notes=(*scene.notes, _told(bounds, found)))


def _offered(scene: Scene, config: SceneConfig, cameras: Sequence[Camera], pictures: Pictures) -> Scene:
    """Return a rig's scene with NDC among its spaces, or a note why not."""
    shown = [] if config.near else pictures()
    try:
        if config.near:
            bounds = rig_ndc_bounds(scene.cameras, config.near, config.far or FAR_NEARS * config.near)
            return replace(scene, spaces=beside_ndc(scene.spaces, bounds, scene.cameras))
        found = matched_reach(cameras, shown)
        if found.points < FEWEST_POINTS:
            note = (
                f"nearest depth: not told, the trained cameras match {found.points} points only "
                f"({FEWEST_POINTS} would do), so that field space ndc is not tried (scene.near)"
            )
            return replace(scene, notes=(*scene.notes, note))
        bounds = rig_ndc_bounds(scene.cameras, found.near, config.far or found.far)
    except SceneError as err:  # no average pose, or a lens so wide that a corner looks back
        return replace(scene, notes=(*scene.notes, f"field space ndc is not tried: {err.message}"))
    spaces = beside_ndc(scene.spaces, bounds, scene.cameras)
    return replace(scene, spaces=spaces, notes=(*scene.notes, _told(bounds, found)))


def _told(bounds: Bounds, found: Reach) -> str:
    return (
        f"nearest depth: ndc begins at {bounds.near:g} world units, told by {found.points} points that the "
        f"trained cameras match, the nearest at {found.nearest:.3g} (scene.near)"
    )


def _checked(scene: Scene, config: SceneConfig, cameras: Sequence[Camera], pictures: Pictures) -> Scene:
    """Return a scene whose file tells a nearest depth, which the pictures' takes the place of if they show
    nearer things.
    """
    near, far = scene.spaces[0].near, scene.spaces[0].far
    found = matched_reach(cameras, pictures())
    if found.points < FEWEST_POINTS or found.nearest >= MISFIT * near:
        return scene
    config.near = found.near
    config.far = config.far or max(far, found.far if found.farthest > far else far)
    note = (
        f"nearest depth: the file's is {near:g}, but the trained cameras match {found.points} points, the "
        f"nearest at {found.nearest:.3g}; {found.near:g} is taken (scene.near)"
    )
    spaces = forward_spaces(scene.cameras, config.near, config.far)
    return replace(scene, bounds=spaces[0], spaces=spaces, notes=(*scene.notes, note))
