"""A local edit as it is shown: the edited field inside its region, the unedited field outside.

Refitting a field to frames that changed in one place moves it a little everywhere, since planes and network
are shared. So outside the region the unedited field is shown, at every camera, known or novel: the region is
found from its depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from i4d.fields.protocol import FieldImage
from i4d.geometry.cameras import unproject
from i4d.geometry.regions import carried, in_box, inside_of, with_soft_edge
from i4d.store.blocks import BlockReader
from i4d.store.tables import FrameTable
from i4d.types import Camera, Region


class Shown(Protocol):
    """Anything that a camera can look at, such as a `RenderableField`."""

    def image(self, camera: Camera, frame: int) -> FieldImage: ...


class LocalScene:
    """Tells a region at any camera and frame of a scene, and mixes renders by it. `unedited` is the field
    before the edit.
    """

    def __init__(
        self, unedited: Shown, region: Region, cameras: Sequence[Camera], reader: BlockReader
    ) -> None:
        self._unedited, self._region, self._cameras, self._reader = unedited, region, cameras, reader
        self._masks = FrameTable.of(region.masks)
        self._masked = self._masks.views()

    def share(self, camera: Camera, frame: int) -> torch.Tensor:
        """Return the region (height, width) in [0, 1] as a camera sees it at a frame."""
        view = next((v for v in self._masked if self._cameras[v].name == camera.name), None)
        if self._region.box is None and view is not None:
            return with_soft_edge(self._mask(view, frame, camera), self._region.feather_px)
        return self._found(camera, frame, self._unedited.image(camera, frame))

    def shown(self, edited: FieldImage, camera: Camera, frame: int) -> FieldImage:
        """Return an edited field's picture with the unedited field's outside the region; depth goes with the
        greater share.
        """
        under = self._unedited.image(camera, frame)
        known = self._region.box is None and any(self._cameras[v].name == camera.name for v in self._masked)
        share = (self.share(camera, frame) if known else self._found(camera, frame, under)).to(
            under.rgb.device
        )
        depth = torch.where(share >= 0.5, edited.depth_z, under.depth_z)
        return FieldImage(
            inside_of(edited.rgb, under.rgb, share[..., None]),
            depth,
            inside_of(edited.opacity, under.opacity, share),
        )

    def _found(self, camera: Camera, frame: int, seen: FieldImage) -> torch.Tensor:
        """Return the region where it must be found from the depth of what is seen of the unedited field."""
        region, points = self._region, unproject(seen.depth_z, camera)
        if region.box is not None:
            return with_soft_edge(in_box(points, region.box), region.feather_px)
        cameras = [other.at(frame) for other in self._cameras]
        views = nearest(camera, cameras, self._masked, region.carriers)
        cameras = [cameras[v] for v in views]
        depths = [self._unedited.image(other, frame).depth_z for other in cameras]
        shares = [
            self._mask(v, frame, other).to(points.device) for v, other in zip(views, cameras, strict=True)
        ]
        return with_soft_edge(
            carried(points, shares, depths, cameras, region.match_threshold), region.feather_px
        )

    def _mask(self, view: int, frame: int, camera: Camera) -> torch.Tensor:
        """Return a view's own mask (height, width) in [0, 1], at a camera's size."""
        row = torch.from_numpy(np.array(self._reader.row(self._masks.lookup(view, frame)))).float() / 255
        if row.shape == (camera.height, camera.width):
            return row
        return F.interpolate(
            row[None, None], (camera.height, camera.width), mode="bilinear", align_corners=False
        )[0, 0]


def nearest(camera: Camera, cameras: Sequence[Camera], views: Sequence[int], count: int) -> list[int]:
    """Return up to `count` of some views, those first whose cameras stand nearest."""
    return sorted(views, key=lambda v: (float(np.linalg.norm(cameras[v].centre - camera.centre)), v))[:count]
