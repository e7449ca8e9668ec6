"""Bounds of the field from cameras, for rigs whose files do not give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from i4d.errors import SceneError
from i4d.types import Bounds, BoundsKind, Camera, corner, rigid_rows

SAMPLES_PER_AXIS = 48
FORWARD_DEGREES = 20.0  # farthest optical axis from the average one
SIDEWAYS_DEGREES = 50.0
AROUND_DEGREES = 30.0  # with many cameras a box loses up to 9 dB from here on, and never gains more than 0.5
MANY_CAMERAS = 6
FAR_NEARS = 20.0  # nearest depths: how far NDC of a rig tells depth where only the nearest is given


def _corner_rays(camera: Camera) -> np.ndarray:
    """Return the directions (4, 3), unit length along the optical axis, through the image's corners, in world
    axes.
    """
    corners = np.array(list(product((0.0, camera.width), (0.0, camera.height))))
    in_camera = np.concatenate([corners, np.ones((4, 1))], 1) @ np.linalg.inv(camera.K).T
    return in_camera @ camera.world_from_camera[:3, :3].T


def ndc_bounds(cameras: Sequence[Camera], near: float, far: float) -> Bounds:
    """Return NDC bounds that hold what any camera sees from `near` on, cameras looking along +z of the world
    frame.

    The NDC map is that of the first camera: u = 2 fx x / (W z) + offset, v likewise, w = 1 - 2 near / z.
    """
    reference = cameras[0]
    points = []
    for camera in cameras:
        rays = _corner_rays(camera)
        if (rays[:, 2] <= 1e-3).any():
            raise SceneError(
                f"camera {camera.name} looks too far aside for a forward-facing rig",
                "set scene.bounds: box or contracted",
            )
        for z in (near, far, 1e6 * far):
            points.append(camera.centre + rays * ((z - camera.centre[2]) / rays[:, 2])[:, None])
    image = np.concatenate(points) @ reference.K.T
    uv = image[:, :2] / image[:, 2:] / np.array([reference.width, reference.height]) * 2 - 1
    low, high = uv.min(0), uv.max(0)
    return Bounds("ndc", (corner([*low, -1.0]), corner([*high, 1.0])), near, far, 1.0)


def average_pose(poses: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rig's average world_from_camera: mean position, mean optical axis, mean down direction made
    orthogonal. SceneError where the axes cancel.
    """
    forward = np.sum([p[:3, 2] for p in poses], 0)
    right = np.cross(np.sum([p[:3, 1] for p in poses], 0), forward)
    if np.linalg.norm(forward) < 1e-6 or np.linalg.norm(right) < 1e-6:
        raise SceneError(
            "the cameras have no common direction to look in",
            "use scene.reader: rig, with scene.bounds: box or contracted",
        )
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    average = np.eye(4)
    average[:3] = np.stack(
        [right, np.cross(forward, right), forward, np.mean([p[:3, 3] for p in poses], 0)], 1
    )
    return average


def rig_ndc_bounds(cameras: Sequence[Camera], near: float, far: float) -> Bounds:
    """Return NDC bounds of forward-facing cameras in any world frame: those of `ndc_bounds` in the frame of
    their average pose, and the way into it. `near`, `far` are depths along its axis in world units.
    """
    rig_from_world = np.linalg.inv(average_pose([c.world_from_camera for c in cameras]))
    there = [replace(c, world_from_camera=rig_from_world @ c.world_from_camera) for c in cameras]
    rows = rigid_rows(rig_from_world[:3])
    return replace(ndc_bounds(there, near, far), unit=near, rig_from_world=rows)


def spread_degrees(cameras: Sequence[Camera]) -> float:
    """Return the largest angle in degrees between a camera's optical axis and the average axis; 180 where
    the axes cancel.
    """
    axes = np.stack([c.world_from_camera[:3, 2] for c in cameras])
    average = axes.mean(0)
    if (length := float(np.linalg.norm(average))) < 1e-6:
        return 180.0
    return float(np.degrees(np.arccos(np.clip(axes @ average / length, -1, 1)).max()))


def forward_spaces(cameras: Sequence[Camera], near: float, far: float) -> tuple[Bounds, ...]:
    """Return the spaces that a field of these cameras may live in, the likeliest first, for cameras in the
    frame of their average pose; see `beside_ndc`.
    """
    if len(cameras) == 1:
        return (ndc_bounds(cameras, near, far),)
    around = around_spaces(cameras, near, far)
    if spread_degrees(cameras) >= SIDEWAYS_DEGREES or around[0].kind == "contracted":
        return around
    return beside_ndc(around, ndc_bounds(cameras, near, far), cameras)


def beside_ndc(around: Sequence[Bounds], ndc: Bounds, cameras: Sequence[Camera]) -> tuple[Bounds, ...]:
    """Return NDC beside other spaces, the likeliest first: before them where all cameras look the same way,
    within FORWARD_DEGREES of the average, else after them. Past SIDEWAYS_DEGREES NDC is none to offer.
    """
    return (ndc, *around) if spread_degrees(cameras) <= FORWARD_DEGREES else (*around, ndc)


def around_spaces(
    cameras: Sequence[Camera], near: float, far: float, aabb: Sequence = ()
) -> tuple[Bounds, ...]:
    """Return a box, where the cameras look more than FORWARD_DEGREES apart contracted space beside it, and
    past AROUND_DEGREES that alone if the cameras are not few: a box that all of them see leaves out what
    stands behind, and a fit then paints it on the box's walls. For cameras in any frame; arguments as those
    of `frustum_bounds`.
    """
    box, widest = frustum_bounds(cameras, "box", near, far, aabb), spread_degrees(cameras)
    contracted = replace(box, kind="contracted")
    if widest >= AROUND_DEGREES and len(cameras) >= MANY_CAMERAS and not len(aabb):
        return (contracted,)
    return (box, contracted) if widest > FORWARD_DEGREES else (box,)


def frustum_bounds(
    cameras: Sequence[Camera], kind: BoundsKind, near: float, far: float, aabb: Sequence = ()
) -> Bounds:
    """Return the bounds of what at least two cameras (or all, where there are fewer) see in common.

    The point nearest to all optical axes is the scene's middle; its median distance along the axes is the
    scene's unit. A box around the middle is sampled, and the samples that most cameras see span the result.
    Cameras that all stand at one place tell no depth: then the box is what they see between `near` and `far`,
    or `aabb`, whose middle's depth is the unit; SceneError without either.
    """
    if np.ptp([camera.centre for camera in cameras], axis=0).max() == 0:
        return _from_one_place(cameras, kind, near, far, aabb)
    middle, depths = scene_middle(cameras)
    unit = float(np.median(depths))
    near = near or 0.05 * unit
    far = far or 3.0 * unit
    if len(aabb):
        low, high = (np.asarray(point, dtype=float) for point in aabb)
    else:
        low, high = _common_box(cameras, middle, unit)
    return Bounds(kind, (corner(low), corner(high)), near, far, unit)


def _from_one_place(
    cameras: Sequence[Camera], kind: BoundsKind, near: float, far: float, aabb: Sequence
) -> Bounds:
    if len(aabb):
        low, high = (corner(point) for point in aabb)
        middle = (np.array(low) + high) / 2
        unit = float(np.median([(middle - c.centre) @ c.world_from_camera[:3, 2] for c in cameras]))
        if unit <= 0:
            raise SceneError(
                "scene.aabb lies behind the camera",
                "two corners of a box in world units that the camera sees",
            )
        return Bounds(kind, (low, high), near or 0.05 * unit, far or 3.0 * unit, unit)
    if not (near and far):
        raise SceneError(
            "one camera that stands still tells no depth",
            "set scene.near and scene.far (world units), or scene.aabb",
        )
    return swept_bounds(cameras, kind, near, far)


def swept_bounds(cameras: Sequence[Camera], kind: BoundsKind, near: float, far: float) -> Bounds:
    """Return the box around all that any camera sees between two depths (world units): for captures that know
    how near and far they reach.

    The scene's unit is the middle of that range.
    """
    points = np.concatenate([c.centre + depth * _corner_rays(c) for c in cameras for depth in (near, far)])
    low, high = corner(points.min(0)), corner(points.max(0))
    return Bounds(kind, (low, high), near, far, (near + far) / 2)


def scene_middle(cameras: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Return the point (3,) nearest to all optical axes in the least-squares sense and its depth along each,
    or a point three baselines ahead of parallel cameras (one unit ahead of a single one)."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        axis = camera.world_from_camera[:3, 2] / np.linalg.norm(camera.world_from_camera[:3, 2])
        across = np.eye(3) - np.outer(axis, axis)
        normal, right = normal + across, right + across @ camera.centre
    if np.linalg.cond(normal) > 1e6:
        centres = np.stack([c.centre for c in cameras])
        ahead = 3 * np.linalg.norm(centres[:, None] - centres, axis=-1).max() or 1.0
        middle = np.mean([c.centre + ahead * c.world_from_camera[:3, 2] for c in cameras], 0)
    else:
        middle = np.linalg.solve(normal, right)
    depths = np.array([(middle - c.centre) @ c.world_from_camera[:3, 2] for c in cameras])
    if (depths <= 0).any():
        names = ", ".join(c.name for c, d in zip(cameras, depths, strict=True) if d <= 0)
        raise SceneError(
            f"the cameras do not look at a common place (behind: {names})",
            "check R and t: OpenCV x_cam = R x_world + t",
        )
    return middle, depths


def _common_box(cameras: Sequence[Camera], middle: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(-1.2 * unit, 1.2 * unit, SAMPLES_PER_AXIS)
    points = middle + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    seen = np.zeros(len(points), int)
    for camera in cameras:
        local = (points - camera.centre) @ camera.world_from_camera[:3, :3]
        image = local @ camera.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = image[:, :2] / image[:, 2:]
        seen += (local[:, 2] > 0.05 * unit) & (xy >= 0).all(1) & (xy < [camera.width, camera.height]).all(1)
    wanted = max(1, min(len(cameras), (len(cameras) + 1) // 2))
    common = points[seen >= wanted]
    if not len(common):
        raise SceneError("the cameras' frusta do not overlap", "check R and t, or set scene.aabb")
    return common.min(0) - 0.02 * unit, common.max(0) + 0.02 * unit
