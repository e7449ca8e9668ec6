"""A fitted field to look at: no optimiser, no loss, no gradient; a third of what a fit holds."""

from __future__ import annotations

from dataclasses import replace

import torch

from i4d.errors import FitError
from i4d.fields.protocol import FieldImage
from i4d.fields.vector_matrix.checkpoint import check_fits, decode
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.exposure import recorded
from i4d.fields.vector_matrix.image import render_image
from i4d.fields.vector_matrix.model import StreamingField
from i4d.fields.vector_matrix.render import RenderSettings
from i4d.fields.vector_matrix.spaces import Space
from i4d.fields.workers import Workers
from i4d.geometry.corrections import corrected
from i4d.types import Camera

GREY = (0.5, 0.5, 0.5)


def render_settings(config: VectorMatrixConfig, grid: tuple[int, int, int]) -> RenderSettings:
    """Return how rays are sampled; `samples: 0` takes a quarter of the grid's longest side, 24 to 96."""
    samples = config.samples or min(96, max(24, max(grid) // 4))
    proposals = config.proposals or min(256, max(48, max(grid) // 2))
    shaded = min(config.shaded, samples) if config.shaded else samples
    background = tuple(config.background) or None
    return RenderSettings(proposals, samples, shaded, max(32, proposals * 3 // 4), background=background)


def settings_of(config: VectorMatrixConfig, field: StreamingField) -> RenderSettings:
    """Return how to sample images of a field as it is; whether it has a background of its own the field
    says.
    """
    settings = render_settings(config, field.cells)
    learned = field.shape.learned_background and settings.background is None
    return replace(settings, background=GREY) if learned else settings


def exposed(field: StreamingField, rgb: torch.Tensor, view: int) -> torch.Tensor:
    """Return neutral colours (..., 3) as a trained view's camera records them; FitError for a view without a
    gain.
    """
    views = field.shape.exposures
    if not views:
        return rgb
    if view not in views:
        raise FitError(f"view {view} has no exposure of its own", f"views that have: {views}")
    at = torch.full((rgb[..., 0].numel(),), views.index(view), device=rgb.device)
    return recorded(rgb.reshape(-1, 3), field.tensors["gains"], at).view(rgb.shape)


def corrected_camera(field: StreamingField, camera: Camera, view: int) -> Camera:
    """Return a trained view's camera, of any picture size, as the field's fit corrected it; as it is where
    nothing was.
    """
    views = field.shape.refined
    return (
        corrected(camera, field.tensors["camera_corrections"][views.index(view)]) if view in views else camera
    )


def network_dtype(config: VectorMatrixConfig) -> torch.dtype:
    """Return the network's compute type: it is a small part of a step, less than float32 saves no time."""
    return torch.float32 if config.dtype == "auto" else getattr(torch, config.dtype)


class FieldView:
    """One field on one device. `config` says how rays are sampled and whether kernels are used."""

    def __init__(
        self,
        field: StreamingField,
        config: VectorMatrixConfig,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> None:
        self.field, self._config, self._workers = field.to(device), config, workers
        self.field.network_dtype = network_dtype(config)

    @staticmethod
    def open(
        data: bytes,
        config: VectorMatrixConfig,
        space: Space,
        num_frames: int,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> FieldView:
        """Return the field of a checkpoint, light or full; FitError if it is of another scene, or none."""
        field, _, _ = decode(data)
        check_fits(field, space, num_frames)
        return FieldView(field, config, device, workers)

    def image(self, camera: Camera, frame: float) -> FieldImage:
        """Return what a camera sees at a frame, which may lie between two frames."""
        kernels = self._config.kernels != "off"
        settings = settings_of(self._config, self.field)
        return render_image(self.field, settings, camera, frame, self._workers, kernels)

    def exposed(self, rgb: torch.Tensor, view: int) -> torch.Tensor:
        """Return neutral colours (..., 3) of `image` as a trained view's camera records them."""
        return exposed(self.field, rgb, view)

    def to(self, device: torch.device | str) -> None:
        """Move the field to a device."""
        self.field.to(device)
