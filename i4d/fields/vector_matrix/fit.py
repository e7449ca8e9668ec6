"""Fitting a streaming field to frames, one frame a step, coarse to fine (method page, section 6).

What a step does follows from the seed, the phase and the step's index alone: frame order, pixels, offsets
along the rays, rates and growth. So it makes no difference into how many calls of `advance` the steps are
split, and a fit that was saved and loaded goes on as if it never stopped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from i4d.errors import FitError
from i4d.fields.base import settings_digest
from i4d.fields.frames import FrameBank, Pixels
from i4d.fields.group import Group
from i4d.fields.protocol import Distance, FieldImage, FitReport, Phase
from i4d.fields.vector_matrix import camera_refinement
from i4d.fields.vector_matrix.checkpoint import encode, restore
from i4d.fields.vector_matrix.config import VectorMatrixConfig
from i4d.fields.vector_matrix.exposure import recorded
from i4d.fields.vector_matrix.factors import add_line_variation_grad, add_plane_variation_grad
from i4d.fields.vector_matrix.from_config import check_goes_on, check_views, shape_from, voxel_levels
from i4d.fields.vector_matrix.fused_fit import FusedStep
from i4d.fields.vector_matrix.image import render_image
from i4d.fields.vector_matrix.kernels import kernels_run_on
from i4d.fields.vector_matrix.losses import SQUARED, Loss, refit_loss
from i4d.fields.vector_matrix.model import Leaf, StreamingField
from i4d.fields.vector_matrix.optim import SliceAdam, grad_of
from i4d.fields.vector_matrix.render import RenderSettings, coarse_map, render_rays
from i4d.fields.vector_matrix.spaces import Space
from i4d.fields.vector_matrix.view import GREY, corrected_camera, exposed, network_dtype, settings_of
from i4d.fields.workers import Workers
from i4d.seeds import seed_for
from i4d.types import Camera

LARGEST_RATE = 0.2  # of planes and lines; groups lengthen their steps up to here
DRAW_AHEAD = 4  # threads that draw pixels for coming steps
EXPLORE_SHARE = 0.2  # share of a fit's steps over which even sampling gives way to the map


def identity_with(config: VectorMatrixConfig, kernels: str) -> str:
    """Return all settings, as a digest, and the kernels of a fit."""
    return f"settings {settings_digest(config, kernels=kernels)}, kernels {kernels}"


class Fitter:
    """Owns a field under optimisation: `begin` a phase, then `advance`."""

    def __init__(
        self,
        config: VectorMatrixConfig,
        space: Space,
        num_frames: int,
        seed: int,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
        group: Group | None = None,
        distance: Distance | None = None,
        views: Sequence[int] = (),
    ) -> None:
        """`group`: the other processes that fit the same field, each with `config.rays` rays of its own a
        step.

        `distance` (of images, on `device`) is what a refit by perceptual error needs; `views` (the trained
        ones) what `field.exposure` needs.
        """
        self.group = group
        self._refit_loss = refit_loss(
            config.refit_loss, config.refit_patch, config.refit_perceptual, distance
        )
        self.workers = workers or Workers()
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.levels = voxel_levels(config)
        generator = torch.Generator().manual_seed(seed_for(seed, 0, None, None, "field"))
        self.field = StreamingField.random(
            shape_from(config, num_frames, views), space, self.levels[0], generator
        ).to(device)
        if config.learn_background:
            start = torch.tensor(config.background or GREY).clamp(0.01, 0.99)
            self.field.tensors["behind"] = start.logit().to(device)
        self.adopt(self.field)
        self.phase: Phase = "fit"
        self.phase_index = 0
        self.step = 0
        self.total_steps = 0
        self.level = 0

    def adopt(self, field: StreamingField) -> None:
        """Take over a field, with fresh moments, in the compute type that the configuration asks for on this
        device.
        """
        self.field = field.to(self.device)
        self.field.network_dtype = network_dtype(self.config)
        self._fresh_moments()

    def _fresh_moments(self) -> None:
        self.fused = self.config.kernels != "off" and kernels_run_on(self.device)
        self.adam = SliceAdam(self.field.tensors, counts_on="cpu" if self.fused else None)
        self._step_fused = (
            FusedStep(self.field, self.adam, self.config.kernels != "eager") if self.fused else None
        )
        if self._step_fused and self.group:
            self._step_fused.reduce = self.group.average

    def begin(self, phase: Phase, steps: int) -> None:
        """Start a phase of `steps` steps: rates and moments start afresh. A refit keeps the grid it finds."""
        self.phase, self.step, self.total_steps = phase, 0, steps
        self.phase_index += 1
        if self.config.rays % self.loss.patch**2:
            raise FitError(
                f"field.rays = {self.config.rays}",
                f"a refit by {self.config.refit_loss} error needs a multiple of 4",
            )
        check_goes_on(self.config, self.field.shape, phase)
        self._fresh_moments()

    def to(self, device: torch.device | str) -> None:
        """Move the field and its optimiser to a device."""
        self.device = torch.device(device)
        if self._step_fused:
            self._step_fused.release()
        self.field.to(device)
        self.adam.to(device)

    @property
    def kernels(self) -> str:
        """Which kernels this process fits with; "off": plain torch."""
        return self.config.kernels if self.fused else "off"

    @property
    def identity(self) -> str:
        """What results follow from: all settings, and the kernels that are really used."""
        return identity_with(self.config, self.kernels)

    @property
    def loss(self) -> Loss:
        """What the steps of this phase lessen."""
        return SQUARED if self.phase == "fit" else self._refit_loss

    @property
    def num_rays(self) -> int:
        """Rays of a step of this phase."""
        return self.config.rays + self.loss.side**2

    @property
    def variation(self) -> float:
        """Weight of total variation in this phase: what a fit has settled need not be smoothed again under an
        edit's strokes.
        """
        return self.config.tv_weight * (1.0 if self.phase == "fit" else self.config.refit_variation)

    def image(self, camera: Camera, frame: float) -> FieldImage:
        """Return what a camera sees at a frame, which may lie between two frames."""
        kernels = self.config.kernels != "off"
        return render_image(self.field, self.render_settings(), camera, frame, self.workers, kernels)

    def exposed(self, rgb: torch.Tensor, view: int) -> torch.Tensor:
        """Return neutral colours (..., 3) as a trained view's camera records them; FitError for a view
        without a gain.
        """
        return exposed(self.field, rgb, view)

    def corrected(self, camera: Camera, view: int) -> Camera:
        """Return a trained view's camera, of any picture size, as the fit corrected it."""
        return corrected_camera(self.field, camera, view)

    def save(self, light: bool = False) -> bytes:
        """Return the checkpoint of this fit; `light` leaves out the optimiser."""
        return encode(self, light)

    def load(self, data: bytes) -> None:
        """Take over a checkpoint: the field, and with a full one the exact place in its fit."""
        restore(self, data)

    def summary(self) -> str:
        """Return one line: the grid, the kernels, the loss of refits."""
        cells, how = " x ".join(map(str, self.field.cells)), "fused kernels" if self.fused else "plain torch"
        return (
            f"{cells} now, {self.config.grid_end:,} voxels at the end, {how}, refits by "
            f"{self.config.refit_loss} error"
        )

    def render_settings(self) -> RenderSettings:
        """Return how to sample images of the field as it is now; whether it has a background of its own the
        field says.
        """
        return settings_of(self.config, self.field)

    @property
    def growth_steps(self) -> list[int]:
        """Steps of a fit before which the grid grows."""
        return [round(share * self.total_steps) for share in self.config.growth_at]

    def _rates(self) -> dict[str, float]:
        config = self.config
        decay = config.lr_decay ** (self.step / max(1, self.total_steps))
        start = 1.0 if self.phase == "fit" else config.refit_rate
        if (
            self.group
        ):  # with so many more rays a step, longer steps lose nothing: as much is learned from a ray
            start *= min(self.group.size, max(1.0, LARGEST_RATE / config.lr_grid))
        grid, network = config.lr_grid * decay * start, config.lr_mlp * decay * start
        # an edit's disagreements must not bend the geometry that the originals agreed on: that blurs every
        # other view
        density = grid * (1.0 if self.phase == "fit" else config.refit_geometry)
        kinds = {"density": density, "colour": grid}
        rates = {
            name: kinds[name.split(".")[0][:-1]] if "." in name else network for name in self.field.tensors
        }
        if "gains" in rates and self.phase == "refit":
            rates["gains"] = 0.0  # an edit's colours are no property of the camera
        return rates

    def _frame(self, num_frames: int, step: int) -> int:
        """Return the place, among so many frames, of the one that a step draws from."""
        epoch, place = divmod(step, num_frames)
        generator = torch.Generator().manual_seed(
            seed_for(self.seed, self.phase_index, None, epoch, "frame order")
        )
        return int(torch.randperm(num_frames, generator=generator)[place])

    def _grow_if_due(self) -> None:
        if self.phase != "fit":
            return
        due = sum(self.step >= at for at in self.growth_steps)
        while self.level < due:
            self.level += 1
            voxels = self.levels[self.level]
            moments = (self.adam.first, self.adam.second)
            for values in moments:
                for name, tensor in values.items():
                    values[name] = self.field.grown(name, tensor, voxels)
            self.field.grow(voxels)

    def _align_if_due(self, bank: FrameBank) -> None:
        """Align the trained cameras to the field where it is time, by what `field.cameras` says."""
        if self.phase != "fit" or not self.field.shape.refined:
            return
        if camera_refinement.due(self.step, self.total_steps):
            corrections = self.field.tensors["camera_corrections"]
            found = camera_refinement.align_cameras(self, bank, corrections)
            if self.group:
                self.group.average(found)
            bank.correct(corrections.copy_(found))

    def draw(self, bank: FrameBank, step: int) -> tuple[int, Pixels]:
        """Return frame and pixels of a step of this phase."""
        frame = int(bank.drawn[self._frame(len(bank.drawn), step)])
        generator = torch.Generator().manual_seed(
            seed_for(self.seed, self.phase_index, None, step, self._mine("rays"))
        )
        watch_motion = self.phase == "fit" or 2 * step < self.total_steps
        share = self.config.motion_share if watch_motion else 0.0
        return frame, bank.draw_pixels(
            frame, self.config.rays, generator, share, self.loss.patch, self.loss.side
        )

    def _mine(self, purpose: str) -> str:
        """Return a purpose of random numbers that no other member of the group has."""
        return f"{purpose} {self.group.rank}" if self.group and self.group.rank else purpose

    def offsets(self, samples: int) -> torch.Tensor:
        """Return where in their strata this step's edges lie: (ray, samples - 1) in [0, 1)."""
        generator = torch.Generator(self.device).manual_seed(
            seed_for(self.seed, self.phase_index, None, self.step, self._mine("offsets"))
        )
        return torch.rand(self.num_rays, samples - 1, generator=generator, device=self.device)

    def _fused_steps(self, take: FusedStep, bank: FrameBank, count: int) -> list[float]:
        """Take steps through kernels: pixels are drawn ahead by a thread, and the device is waited for once,
        at the end.
        """
        losses = []
        with ThreadPoolExecutor(DRAW_AHEAD) as pool:
            ahead = deque(
                pool.submit(self.draw, bank, self.step + i) for i in range(min(count, 2 * DRAW_AHEAD))
            )
            for i in range(count):
                self._grow_if_due()
                self._align_if_due(bank)
                frame, pixels = ahead.popleft().result()
                if i + 2 * DRAW_AHEAD < count:
                    ahead.append(pool.submit(self.draw, bank, self.step + 2 * DRAW_AHEAD))
                settings = self._settings()
                offsets, lenses = self.offsets(settings.samples), bank.lenses(self.device)
                losses.append(
                    take(frame, pixels, lenses, settings, offsets, self._rates(), self.variation, self.loss)
                )
                self.step += 1
        values = torch.stack(losses).tolist() if losses else []
        for i, value in enumerate(values):
            self._check(value, self.step - count + i)
        return values

    def _check(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise FitError(f"step {step}: the loss is not finite", "lower field.lr_grid or field.lr_mlp")

    def _one_step(self, bank: FrameBank) -> float:
        self._grow_if_due()
        self._align_if_due(bank)
        settings, pieces = self._settings(), self._pieces()
        frame, pixels = self.draw(bank, self.step)
        batch = bank.rays(pixels, self.device)
        rays = [batch.origins, batch.directions, batch.rgb, batch.view, self.offsets(settings.samples)]
        moments = [self.field.at(frame, grad=True) for _ in pieces]
        cells = coarse_map(moments[0], self.field.cells, settings.map_cells)

        def part(index: int) -> tuple[list[Leaf], float]:
            moment, piece = moments[index], pieces[index]
            origins, directions, target, view, jitter = (t[piece] for t in rays)
            seen, _ = render_rays(moment, self.field.space, cells, origins, directions, settings, jitter)
            shown = recorded(seen.rgb, moment.mlp.get("gains"), view)
            loss, squared = self.loss.of_colours(shown, target)
            if seen.distortion is not None:
                loss = loss + settings.distortion * seen.distortion.mean()
            share = len(target) / self.num_rays
            value = squared.item() * share
            self._check(
                value, self.step
            )  # it must not reach the factors: lookups at points that are no numbers crash
            loss = loss * share
            if piece.start >= self.config.rays:
                loss = loss + self.loss.of_patch(shown, target)
            loss.backward()
            return moment.leaves, value

        done = self.workers.map(part, range(len(pieces)))
        self.update([leaves for leaves, _ in done])
        self.step += 1
        return sum(value for _, value in done)

    def _pieces(self) -> list[slice]:
        """Return which of a step's rays go together: whole patches for every worker, the large patch of the
        loss by itself.
        """
        area, rays = self.loss.patch**2, self.config.rays
        pieces = [slice(p.start * area, p.stop * area) for p in self.workers.parts(rays // area)]
        return [*pieces, slice(rays, self.num_rays)] if self.loss.side else pieces

    def _settings(self) -> RenderSettings:
        """Return how this step samples. A fit starts with even intervals: at first the map knows nothing."""
        settings = self.render_settings()
        if self.phase == "refit":
            return settings
        done = self.step / max(1.0, EXPLORE_SHARE * self.total_steps)
        return replace(settings, uniform=max(settings.uniform, 1 - done), distortion=self.config.distortion)

    def update(self, parts: list[list[Leaf]]) -> None:
        """Add up the gradients of all parts of the rays and move the parameters, each worker its share of
        them.
        """
        rates, weight = self._rates(), self.variation

        def gather(first: int) -> None:
            for leaf, *others in list(zip(*parts, strict=True))[first :: self.workers.count]:
                for other in others:
                    grad_of(leaf).add_(grad_of(other))

        def share(first: int) -> None:
            mine = slice(first, None, self.workers.count)  # big and small leaves take turns in the list
            for leaf in parts[0][mine]:
                if weight and leaf.name.endswith(".plane"):
                    add_plane_variation_grad(grad_of(leaf), leaf.tensor.detach(), 1e-2 * weight)
                elif weight and leaf.name.endswith(".line"):
                    add_line_variation_grad(grad_of(leaf), leaf.tensor.detach(), 1e-3 * weight)
                elif weight and leaf.name.endswith(".own"):
                    add_line_variation_grad(grad_of(leaf)[0], leaf.tensor.detach()[0], 1e-3 * weight)
            self.adam.step(parts[0][mine], rates)

        if len(parts) > 1:
            self.workers.map(gather, range(self.workers.count))
        if self.group:
            self.group.average_all([grad_of(leaf) for leaf in parts[0]])
        self.workers.map(share, range(self.workers.count))

    def advance(self, bank: FrameBank, num_steps: int) -> FitReport:
        """Take up to `num_steps` steps, not beyond the phase's end; FitError names the step of a loss not
        finite.
        """
        count = min(num_steps, self.total_steps - self.step)
        if self.loss.side > bank.smallest_side:
            what = f"field.refit_patch = {self.loss.side}: images have {bank.smallest_side} pixels"
            raise FitError(what, "set it lower, or refit_loss=squared")
        check_views(self.field.shape, bank.views)
        if self.field.shape.refined:
            bank.correct(self.field.tensors["camera_corrections"])
        losses = (
            self._fused_steps(self._step_fused, bank, count)
            if self._step_fused is not None
            else self.workers.lead(lambda: [self._one_step(bank) for _ in range(count)])
        )
        if not losses:
            return FitReport(self.step, self.total_steps, float("nan"), 0)
        psnr = -10 * math.log10(max(sum(losses) / len(losses), 1e-12))
        return FitReport(
            self.step,
            self.total_steps,
            psnr,
            len(losses) * self.num_rays * (self.group.size if self.group else 1),
        )
