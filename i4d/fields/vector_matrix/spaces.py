"""Where a field lives: maps between world rays and the cube [-1, 1]^3 that the factors cover.

A *march* parameter t in [0, 1] runs along every ray from where it enters the field to where it leaves it.
Each space says which field point lies at t (`locate`), how long the way between two values of t is in field
units (`lengths`), and which depth along the camera's optical axis t stands for (`depth_z`; ray directions
have unit length along that axis).

Field units are those of the space's own coordinates: NDC units in an NDC space, half the longest side of the
box in a box, half the longest side of the inner box in a contracted space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from i4d.errors import FitError
from i4d.types import Bounds, Camera, Corner, corner, rigid_rows

_TINY = 1e-9
SHELL = 1 / 3  # of contracted space: three quarters of each side of the grid are the inner box


@dataclass(frozen=True)
class March:
    """Rays inside a field: `start` and `end` are the parameters of entry and exit in the space's own ray
    coordinate.

    `origins`, `directions` (ray, 3) are in the space's straight coordinates (world for box and contracted,
    NDC for ndc); `world_z`, `world_dz` (ray,) are origin and slope along world z, in an NDC space along the z
    of its rig, and serve the NDC depth.
    `valid` (ray,) is False where a ray misses the field; such rays have start == end.
    """

    origins: Tensor
    directions: Tensor
    start: Tensor
    end: Tensor
    valid: Tensor
    world_z: Tensor
    world_dz: Tensor


def _box(aabb: tuple[Corner, Corner], like: Tensor) -> tuple[Tensor, Tensor]:
    return _box_on(aabb, like.dtype, like.device)


@lru_cache(16)  # a new tensor from numbers makes the host wait for a GPU
def _box_on(aabb: tuple[Corner, Corner], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    low, high = (torch.tensor(point, dtype=dtype, device=device) for point in aabb)
    return (low + high) / 2, (high - low) / 2


def _rigid(rows: tuple[tuple[float, ...], ...], like: Tensor) -> tuple[Tensor, Tensor]:
    return _rigid_on(rows, like.dtype, like.device)


@lru_cache(16)  # as for `_box_on`
def _rigid_on(
    rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    matrix = torch.tensor(rows, dtype=dtype, device=device)
    return matrix[:, :3].contiguous(), matrix[:, 3].contiguous()


def _clip_to_box(origins: Tensor, directions: Tensor, aabb: tuple[Corner, Corner]) -> tuple[Tensor, Tensor]:
    """Return the ray parameters (ray,) at which rays enter and leave a box (slab method)."""
    centre, half = _box(aabb, origins)
    safe = torch.where(directions.abs() < _TINY, torch.full_like(directions, _TINY), directions)
    a = (centre - half - origins) / safe
    b = (centre + half - origins) / safe
    return torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)


@dataclass(frozen=True)
class NdcSpace:
    """Projective space of a forward-facing rig (NeRF, appendix C), for a pinhole with any principal point.

    x, y, z are in the average camera's frame, looking along +z: world coordinates, or where `rig_from_world`
    (three rows of four, rigid) is there, those brought into that frame. With the reference intrinsics in
    units of the image (`scale` = 2 f / size, `skew`, `offset` = 2 c / size - 1):
        u = scale_x x/z + skew y/z + offset_x,   v = scale_y y/z + offset_y,   w = 1 - 2 near / z.
    The map is projective, so rays stay straight; from their crossing of z = near to infinity t_ndc runs from
    0 to 1 and z = near / (1 - t_ndc).
    """

    aabb: tuple[Corner, Corner]
    near: float
    far: float
    scale: tuple[float, float]
    skew: float
    offset: tuple[float, float]
    rig_from_world: tuple[tuple[float, ...], ...] = ()

    def from_world(self, points: Tensor) -> Tensor:
        """Return NDC coordinates (..., 3) of world points (..., 3) in front of the near plane or behind it (z
        > 0).
        """
        return self._from_rig(self._into_rig(points, True))

    def _into_rig(self, vectors: Tensor, points: bool) -> Tensor:
        """Return world points, or directions, (..., 3) in the average camera's frame."""
        if not self.rig_from_world:
            return vectors
        rotation, shift = _rigid(self.rig_from_world, vectors)
        turned = (rotation * vectors[..., None, :]).sum(-1)  # no matmul: its digits depend on how many rays
        return turned + shift if points else turned

    def _from_rig(self, points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        u = (self.scale[0] * x + self.skew * y) / z + self.offset[0]
        v = self.scale[1] * y / z + self.offset[1]
        return torch.stack([u, v, 1 - 2 * self.near / z], -1)

    def to_world(self, ndc: Tensor) -> Tensor:
        """Return world points (..., 3) of NDC coordinates (..., 3) with w < 1."""
        u, v, w = ndc.unbind(-1)
        z = 2 * self.near / (1 - w)
        y = (v - self.offset[1]) / self.scale[1] * z
        x = ((u - self.offset[0]) * z - self.skew * y) / self.scale[0]
        points = torch.stack([x, y, z], -1)
        if not self.rig_from_world:
            return points
        rotation, shift = _rigid(self.rig_from_world, points)
        return (rotation.T * (points - shift)[..., None, :]).sum(-1)

    def march(self, origins: Tensor, directions: Tensor) -> March:
        """Return the NDC rays of world rays (ray, 3). Rays that do not advance along the rig's +z miss the
        field.
        """
        origins, directions = self._into_rig(origins, True), self._into_rig(directions, False)
        dz = directions[:, 2]
        forward = dz > 1e-6
        safe_dz = torch.where(forward, dz, torch.ones_like(dz))
        at_near = origins + ((self.near - origins[:, 2]) / safe_dz)[:, None] * directions
        start_point = self._from_rig(torch.cat([at_near[:, :2], torch.full_like(dz, self.near)[:, None]], -1))
        slope = directions / safe_dz[:, None]
        u = self.scale[0] * slope[:, 0] + self.skew * slope[:, 1] + self.offset[0]
        v = self.scale[1] * slope[:, 1] + self.offset[1]
        ndc_dir = torch.stack([u, v, torch.ones_like(u)], -1) - start_point
        enter, leave = _clip_to_box(start_point, ndc_dir, self.aabb)
        # behind the camera nothing is seen: z must exceed the origin's own z, t_ndc > 1 - near / z_origin
        behind = 1 - self.near / origins[:, 2].clamp_min(self.near)
        start, end = torch.maximum(enter.clamp_min(0.0), behind), leave.clamp_max(1.0)
        valid = forward & (end > start)
        end = torch.where(valid, end, start)
        return March(start_point, ndc_dir, start, end, valid, origins[:, 2], safe_dz)

    def locate(self, march: March, t: Tensor) -> Tensor:
        """Return field points (ray, sample, 3) in [-1, 1]^3 at march parameters t (ray, sample)."""
        return _locate_straight(self.aabb, march, t)

    def lengths(self, march: March, edges: Tensor) -> Tensor:
        """Return the lengths (ray, sample) in NDC between successive edges (ray, sample + 1)."""
        return edges.diff(dim=-1) * ((march.end - march.start) * march.directions.norm(dim=-1))[:, None]

    def depth_z(self, march: March, t: Tensor) -> Tensor:
        """Return depth along the optical axis (ray, sample) in world units, at most that of the far plane."""
        ndc_t = march.start[:, None] + t * (march.end - march.start)[:, None]
        z = self.near / (1 - ndc_t).clamp_min(self.near / self.far)
        return (z - march.world_z[:, None]) / march.world_dz[:, None]


def _locate_straight(aabb: tuple[Corner, Corner], march: March, t: Tensor) -> Tensor:
    centre, half = _box(aabb, march.origins)
    s = march.start[:, None] + t * (march.end - march.start)[:, None]
    # the affine map to the cube is folded into the rays: one multiply-add per coordinate of every sample
    origins, directions = (march.origins - centre) / half, march.directions / half
    return torch.addcmul(origins[:, None], s[..., None], directions[:, None])


@dataclass(frozen=True)
class BoxSpace:
    """An axis-aligned box in world units; rays are marched linearly from entry to exit, never nearer than
    `near`.
    """

    aabb: tuple[Corner, Corner]
    near: float
    far: float

    @property
    def unit(self) -> float:
        """World length of one field unit: half the longest side."""
        return max(h - lo for lo, h in zip(*self.aabb, strict=True)) / 2

    def march(self, origins: Tensor, directions: Tensor) -> March:
        """Return the parts of world rays (ray, 3) inside the box, parametrised by z depth."""
        enter, leave = _clip_to_box(origins, directions, self.aabb)
        start, end = enter.clamp_min(self.near), leave.clamp_max(self.far)
        valid = end > start
        end = torch.where(valid, end, start)
        return March(origins, directions, start, end, valid, origins[:, 2], directions[:, 2])

    def locate(self, march: March, t: Tensor) -> Tensor:
        """Return field points (ray, sample, 3) in [-1, 1]^3 at march parameters t (ray, sample)."""
        return _locate_straight(self.aabb, march, t)

    def lengths(self, march: March, edges: Tensor) -> Tensor:
        """Return the lengths (ray, sample) between successive edges, in half the longest side of the box."""
        return (
            edges.diff(dim=-1)
            * ((march.end - march.start) * march.directions.norm(dim=-1) / self.unit)[:, None]
        )

    def depth_z(self, march: March, t: Tensor) -> Tensor:
        """Return depth along the optical axis (ray, sample) in world units."""
        return march.start[:, None] + t * (march.end - march.start)[:, None]


def contract(x: Tensor, shell: float = 1.0) -> Tensor:
    """Return points (..., 3) contracted so that all of space lies within radius 1 + shell (mip-NeRF 360,
    eq. 10, where the shell is 1 thick).

    The maximum norm takes the place of the Euclidean one, so that the image of space is the cube that the
    grid fills.
    """
    norm = x.abs().amax(-1, keepdim=True)
    safe = norm.clamp_min(1.0)
    return torch.where(norm <= 1, x, (1 + shell - shell / safe) * x / safe)


def uncontract(y: Tensor, shell: float = 1.0) -> Tensor:
    """Return the inverse of `contract` for points (..., 3) of maximum norm below 1 + shell."""
    norm = y.abs().amax(-1, keepdim=True)
    safe = norm.clamp(1.0, 1 + shell - 1e-6)
    return torch.where(norm <= 1, y, y / safe * shell / (1 + shell - safe))


@dataclass(frozen=True)
class ContractedSpace:
    """All of space, contracted around an inner box into a shell of `shell` half sides around it: a thin one
    leaves most of the grid to the box (checkpoints that do not say have 1).

    Rays are marched from `near` to `far`: the first half of t is linear in depth up to the far side of the
    inner box, the second linear in disparity beyond it.
    """

    aabb: tuple[Corner, Corner]
    near: float
    far: float
    shell: float = 1.0

    @property
    def unit(self) -> float:
        """World length of one field unit: half the longest side of the inner box."""
        return max(h - lo for lo, h in zip(*self.aabb, strict=True)) / 2

    def march(self, origins: Tensor, directions: Tensor) -> March:
        """Return world rays (ray, 3) with start at `near`, and as `end` the depth where disparity takes
        over.
        """
        _, leave = _clip_to_box(origins, directions, self.aabb)
        start = torch.full_like(leave, self.near)
        knee = leave.clamp(self.near * 2, max(self.far / 2, self.near * 2))
        valid = torch.ones_like(knee, dtype=torch.bool)
        return March(origins, directions, start, knee, valid, origins[:, 2], directions[:, 2])

    def depth_z(self, march: March, t: Tensor) -> Tensor:
        """Return depth along the optical axis (ray, sample) in world units."""
        start, knee = march.start[:, None], march.end[:, None]
        inner = start + 2 * t * (knee - start)
        outer = 1 / torch.lerp(1 / knee, torch.full_like(knee, 1 / self.far), (2 * t - 1).clamp(0, 1))
        return torch.where(t <= 0.5, inner, outer)

    def locate(self, march: March, t: Tensor) -> Tensor:
        """Return field points (ray, sample, 3) in [-1, 1]^3 at march parameters t (ray, sample)."""
        centre, half = _box(self.aabb, march.origins)
        points = march.origins[:, None] + self.depth_z(march, t)[..., None] * march.directions[:, None]
        return contract((points - centre) / half, self.shell) / (1 + self.shell)

    def lengths(self, march: March, edges: Tensor) -> Tensor:
        """Return contracted lengths (ray, sample) between successive edges, in half the longest inner
        side.
        """
        _, half = _box(self.aabb, march.origins)
        points = self.locate(march, edges) * (1 + self.shell) * half / self.unit
        return points.diff(dim=-2).norm(dim=-1)


Space = NdcSpace | BoxSpace | ContractedSpace
_KINDS = {"ndc": NdcSpace, "box": BoxSpace, "contracted": ContractedSpace}


def space_for(bounds: Bounds, cameras: Sequence[Camera]) -> Space:
    """Return the space of a scene. NDC takes the first camera's intrinsics, in units of its image size."""
    if bounds.near <= 0 or bounds.far <= bounds.near:
        raise FitError(f"bounds: need 0 < near < far, have near {bounds.near}, far {bounds.far}")
    if any(high <= low for low, high in zip(*bounds.aabb, strict=True)):
        raise FitError(f"bounds: the box {bounds.aabb} is empty")
    aabb = corner(bounds.aabb[0]), corner(bounds.aabb[1])
    near, far = float(bounds.near), float(bounds.far)
    if bounds.kind == "box":
        return BoxSpace(aabb, near, far)
    if bounds.kind == "contracted":
        return ContractedSpace(aabb, near, far, SHELL)
    if not cameras:
        raise FitError("bounds: an NDC space needs at least one camera")
    first = cameras[0]
    image_from_camera = first.K[:2] * np.array([[2 / first.width], [2 / first.height]])
    (sx, skew, ox), (_, sy, oy) = ((float(x) for x in row) for row in image_from_camera)
    return NdcSpace(aabb, near, far, (sx, sy), skew, (ox - 1, oy - 1), bounds.rig_from_world)


def space_to_dict(space: Space) -> dict:
    """Return a JSON-able description of a space."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(space, cls))
    tree = {"kind": kind, **asdict(space)}
    if not tree.get("rig_from_world", True):  # absent, as before there was one: digests of checkpoints stay
        del tree["rig_from_world"]
    return tree


def space_from_dict(tree: dict) -> Space:
    """Return the space that `space_to_dict` described."""
    values = {k: v for k, v in tree.items() if k != "kind"}
    values["aabb"] = tuple(corner(point) for point in tree["aabb"])
    for key in ("scale", "offset"):
        if key in values:
            values[key] = tuple(values[key])
    if "rig_from_world" in values:
        values["rig_from_world"] = rigid_rows(values["rig_from_world"])
    return _KINDS[tree["kind"]](**values)


def extents(space: Space) -> Corner:
    """Return the side lengths of the field's cube along x, y, z, to divide voxels by."""
    return corner(high - low for low, high in zip(*space.aabb, strict=True))
