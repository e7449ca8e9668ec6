"""RAFT (Teed & Deng, ECCV 2020): all-pairs correlation, looked up and refined by a recurrent unit.

Two sizes. `small`: bottleneck encoders, lookup radius 3, one 3x3 GRU, bilinear upsampling. `large`: residual
encoders (batch norm in the context encoder), radius 4, a separable GRU, learned convex upsampling. Module
names are those of the public checkpoints, so their keys load strictly. Everything happens at 1/8 of the image
size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from i4d.flow.warp import sample_at

LEVELS = 4
VOLUME_BYTES = 2 << 30  # pairs are taken in groups whose correlation volume stays below this


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}[kind](channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip (large encoder)."""

    def __init__(self, channels_in: int, channels: int, norm: str, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.norm1, self.norm2 = _norm(norm, channels), _norm(norm, channels)
        if stride != 1:
            self.norm3 = _norm(
                norm, channels
            )  # named twice in the public checkpoints: norm3 and downsample.1
            self.downsample: nn.Module = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride), self.norm3
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.downsample(x) + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 around a skip, a quarter of the channels inside (small encoder)."""

    def __init__(self, channels_in: int, channels: int, norm: str, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels // 4, 1)
        self.conv2 = nn.Conv2d(channels // 4, channels // 4, 3, stride, 1)
        self.conv3 = nn.Conv2d(channels // 4, channels, 1)
        self.norm1, self.norm2 = _norm(norm, channels // 4), _norm(norm, channels // 4)
        self.norm3 = _norm(norm, channels)
        if stride != 1:
            self.norm4 = _norm(norm, channels)
            self.downsample: nn.Module = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride), self.norm4
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        y = F.relu(self.norm3(self.conv3(y)))
        return F.relu(self.downsample(x) + y)


class Encoder(nn.Module):
    """Image (n, 3, h, w) in [-1, 1] to features (n, channels, h/8, w/8)."""

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module

    def __init__(self, block: type, widths: tuple[int, int, int], channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3)
        self.norm1 = _norm(norm, widths[0])
        before = (widths[0], *widths)
        for i, width in enumerate(widths):
            stride = 1 if i == 0 else 2
            layer = nn.Sequential(block(before[i], width, norm, stride), block(width, width, norm, 1))
            setattr(self, f"layer{i + 1}", layer)
        self.conv2 = nn.Conv2d(widths[2], channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class MotionEncoder(nn.Module):
    """Looked-up correlation and current flow to motion features."""

    def __init__(self, lookups: int, large: bool) -> None:
        super().__init__()
        c1, c2, f1, f2, out = (256, 192, 128, 64, 126) if large else (96, 96, 64, 32, 80)
        self.convc1 = nn.Conv2d(lookups, c1, 1)
        if large:
            self.convc2 = nn.Conv2d(c1, c2, 3, 1, 1)
        self.convf1 = nn.Conv2d(2, f1, 7, 1, 3)
        self.convf2 = nn.Conv2d(f1, f2, 3, 1, 1)
        self.conv = nn.Conv2d(c2 + f2, out, 3, 1, 1)
        self.large = large

    def forward(self, flow: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
        c = F.relu(self.convc1(correlation))
        if self.large:
            c = F.relu(self.convc2(c))
        f = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([c, f], 1))), flow], 1)


class GRU(nn.Module):
    """Convolutional GRU: one 3x3 pass (small), or a 1x5 and then a 5x1 pass (large)."""

    def __init__(self, hidden: int, inputs: int, separable: bool) -> None:
        super().__init__()
        self.passes = (("1", (1, 5)), ("2", (5, 1))) if separable else (("", (3, 3)),)
        for suffix, kernel in self.passes:
            padding = (kernel[0] // 2, kernel[1] // 2)
            for gate in ("z", "r", "q"):
                setattr(
                    self, f"conv{gate}{suffix}", nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
                )

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        for suffix, _ in self.passes:
            convz, convr, convq = (getattr(self, f"conv{gate}{suffix}") for gate in ("z", "r", "q"))
            hx = torch.cat([h, x], 1)
            z, r = torch.sigmoid(convz(hx)), torch.sigmoid(convr(hx))
            q = torch.tanh(convq(torch.cat([r * h, x], 1)))
            h = (1 - z) * h + z * q
        return h


class FlowHead(nn.Module):
    """Hidden state to a flow update."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, width, 3, 1, 1)
        self.conv2 = nn.Conv2d(width, 2, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class UpdateBlock(nn.Module):
    """Motion encoder, GRU and heads; `mask` (large only) weighs the 3x3 coarse neighbours of each fine
    pixel.
    """

    def __init__(self, lookups: int, hidden: int, context: int, large: bool) -> None:
        super().__init__()
        self.encoder = MotionEncoder(lookups, large)
        self.gru = GRU(hidden, context + (128 if large else 82), large)
        self.flow_head = FlowHead(hidden, 256 if large else 128)
        if large:
            self.mask = nn.Sequential(nn.Conv2d(hidden, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 64 * 9, 1))


def correlation_pyramid(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    """Return the all-pairs products of features (n, c, h, w), b's side pooled: LEVELS of (n*h*w, 1, h/2^l,
    w/2^l).
    """
    n, c, h, w = a.shape
    volume = torch.einsum("ncp,ncq->npq", a.flatten(2), b.flatten(2)) / c**0.5
    levels = [volume.reshape(n * h * w, 1, h, w)]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def look_up(levels: list[torch.Tensor], where: torch.Tensor, radius: int) -> torch.Tensor:
    """Return correlation around `where` (n, 2, h, w; column, row): (n, LEVELS * (2 radius + 1)^2, h, w).

    Neighbours run with the column offset outside and the row offset inside: the order the public weights
    expect.
    """
    n, _, h, w = where.shape
    steps = torch.arange(-radius, radius + 1, device=where.device, dtype=where.dtype)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), 0)  # (2, column offset, row offset)
    centres = where.permute(0, 2, 3, 1).reshape(n * h * w, 2, 1, 1)
    found = []
    for level, volume in enumerate(levels):
        # RAFT divides indices (not pixel positions) by the pooling factor; sampled with zeros outside
        values = sample_at(volume, centres / 2**level + offsets, padding="zeros")
        found.append(values.reshape(n, h, w, -1))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def upsample_convex(flow: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return flow (n, 2, h, w) at 8 times the size, each fine vector a convex mixture of 3x3 coarse ones
    (sec. 3.3).
    """
    n, _, h, w = flow.shape
    weights = mask.view(n, 1, 9, 8, 8, h, w).softmax(2)
    coarse = F.unfold(8 * flow, 3, padding=1).view(n, 2, 9, 1, 1, h, w)
    return (weights * coarse).sum(2).permute(0, 1, 4, 2, 5, 3).reshape(n, 2, 8 * h, 8 * w)


class Raft(nn.Module):
    """The network. `forward(a, b)` takes float [0, 1] images (n, 3, h, w), h and w multiples of 8, and
    returns flow.
    """

    def __init__(self, large: bool) -> None:
        super().__init__()
        self.large = large
        self.radius = 4 if large else 3
        self.hidden, self.context = (128, 128) if large else (96, 64)
        block, widths = (ResidualBlock, (64, 96, 128)) if large else (BottleneckBlock, (32, 64, 96))
        self.fnet = Encoder(block, widths, 256 if large else 128, "instance")
        self.cnet = Encoder(block, widths, self.hidden + self.context, "batch" if large else "none")
        self.update_block = UpdateBlock(LEVELS * (2 * self.radius + 1) ** 2, self.hidden, self.context, large)

    def forward(self, a: torch.Tensor, b: torch.Tensor, iterations: int) -> torch.Tensor:
        a, b = 2 * a - 1, 2 * b - 1
        features = self.fnet(torch.cat([a, b]))
        levels = correlation_pyramid(*features.float().chunk(2))
        state, context = self.cnet(a).split([self.hidden, self.context], 1)
        state, context = torch.tanh(state), F.relu(context)
        n, _, h, w = state.shape
        flow = state.new_zeros(n, 2, h, w)
        rows = torch.arange(h, device=flow.device, dtype=flow.dtype)
        columns = torch.arange(w, device=flow.device, dtype=flow.dtype)
        start = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
        for _ in range(iterations):
            motion = self.update_block.encoder(flow, look_up(levels, start + flow, self.radius))
            state = self.update_block.gru(state, torch.cat([context, motion], 1))
            flow = flow + self.update_block.flow_head(state)
        if self.large:
            return upsample_convex(flow, 0.25 * self.update_block.mask(state))
        return 8 * F.interpolate(flow, scale_factor=8, mode="bilinear", align_corners=True)


class RaftFlow:
    """RAFT as a FlowEstimator: images of any size are padded to a multiple of 8 by their border and cropped
    back.
    """

    on_host = False

    def __init__(
        self, network: Raft, iterations: int = 20, device: torch.device | str = "cpu", digest: str = ""
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.iterations = iterations
        self.device = torch.device(device)
        self.name = "raft-large" if network.large else "raft-small"
        self.identity = f"{self.name}-{digest}-{iterations}"

    def to(self, device: torch.device | str) -> None:
        """Move the network."""
        self.network.to(device)
        self.device = torch.device(device)

    @torch.inference_mode()
    def estimate(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pull flow from `a` to `b`; see FlowEstimator."""
        height, width = a.shape[-2:]
        # 4 levels of pooling need 8 coarse cells a side; smaller images are padded up to that
        rows, columns = max(64, -(-height // 8) * 8) - height, max(64, -(-width // 8) * 8) - width
        pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        cells = ((height + rows) // 8) * ((width + columns) // 8)
        group = max(1, VOLUME_BYTES // (4 * cells * cells))
        flows = []
        for i in range(0, len(a), group):
            pair = [
                F.pad(x[i : i + group].to(self.device, torch.float32), pad, mode="replicate") for x in (a, b)
            ]
            flow = self.network(*pair, self.iterations)
            flows.append(flow[..., pad[2] : pad[2] + height, pad[0] : pad[0] + width])
        return torch.cat(flows).to(a.device)
