"""Run by test_field_kernels: prints the largest differences between kernels and plain twins as one line of
JSON.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parent))

from test_field_fit import BOUNDS, FRAMES, PERCEPTUAL, cameras, contrast, scene_bank  # noqa: E402

from i4d.fields.vector_matrix.channels import Gradients, frame_channels  # noqa: E402
from i4d.fields.vector_matrix.fit import Fitter  # noqa: E402
from i4d.fields.vector_matrix.fused import FusedMoment, propose_fused, render_fused  # noqa: E402
from i4d.fields.vector_matrix.fused_fit import share_lines, start_gradients  # noqa: E402
from i4d.fields.vector_matrix.model import FieldShape, StreamingField  # noqa: E402
from i4d.fields.vector_matrix.render import RenderSettings, coarse_map, propose, render_rays  # noqa: E402
from i4d.fields.vector_matrix.spaces import BoxSpace, space_for  # noqa: E402

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
SHAPE = FieldShape(5, (4, 2, 2), (6, 3, 3), 0.5, 0.5, 7, 16, 2, 25.0, "softplus", -1.0, frame_lines=True)


def one_frame(frame, background):
    """Differences of map, edges, colours, opacity and all gradients of one frame, relative where scale is
    free.
    """
    g = torch.Generator().manual_seed(1)
    field = StreamingField.random(SHAPE, BoxSpace(((-1.0, -1.0, -1.0), (1.0, 1.2, 0.9)), 0.1, 10.0), 12**3, g)
    for name, tensor in field.tensors.items():
        if name.endswith(".own"):
            tensor.normal_(0, 0.3, generator=g)
        elif "." in name:
            tensor.mul_(5)
    field.to(DEVICE)
    rays = 10
    origins = (torch.rand(rays, 3, generator=g) * 0.4 - torch.tensor([0, 0, 3.0])).to(DEVICE)
    directions = torch.cat([torch.rand(rays, 2, generator=g) * 0.5 - 0.25, torch.ones(rays, 1)], 1).to(DEVICE)
    directions[0] = torch.tensor([3.0, 3.0, 1.0])  # misses
    settings = RenderSettings(20, 11, 5, 8, background=background)
    offsets, target = (
        torch.rand(rays, 10, generator=g).to(DEVICE),
        torch.rand(rays, 3, generator=g).to(DEVICE),
    )
    channels = frame_channels(field, frame)
    plain, fused = field.at(frame, grad=True), FusedMoment(field, channels, Gradients(field, channels))
    start_gradients(fused, 0.0)
    cells, same_cells = coarse_map(plain, field.cells, 8), coarse_map(fused, field.cells, 8)
    march = field.space.march(origins, directions)
    edges = propose(field.space, march, cells, settings, offsets)
    found = {
        "map": (cells - same_cells).abs().max(),
        "edges": (edges - propose_fused(field.space, march, cells, settings, offsets)).abs().max(),
    }
    seen = [
        render(moment, field.space, cells, origins, directions, settings, offsets)[0]
        for render, moment in ((render_rays, plain), (render_fused, fused))
    ]
    found["colour"] = (seen[0].rgb - seen[1].rgb).abs().max()
    found["opacity"] = (seen[0].opacity - seen[1].opacity).abs().max()
    for one in seen:
        ((one.rgb - target).square().mean() * 100 + one.opacity.square().sum() * 0.01).backward()
    share_lines(fused, 0.0)
    full = {name: torch.zeros_like(t) for name, t in field.tensors.items()}
    for leaf in plain.leaves:
        full[leaf.name][leaf.start : leaf.stop] += leaf.tensor.grad
    found["gradients"] = torch.zeros(())
    for name in full:
        kind, pair = name.split(".")[0][:-1], name.split(".")[0][-1]
        if name.endswith(".own"):
            if frame != int(frame):
                continue  # between frames nothing is fitted
            ours, theirs = fused.gradients.of[name], full[name][int(frame)]
        elif "." in name:
            index = channels[kind].host[int(pair)]
            ours, theirs = fused.gradients.of[name][: len(index)], full[name][index]
        else:
            ours, theirs = fused.mlp[name].grad, full[name]
        off = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-9)
        found["gradients"] = torch.maximum(found["gradients"], off.cpu())
    return {name: float(value) for name, value in found.items()}


def whole_fit():
    """Largest difference of any parameter after a few steps, growth, total variation and a perceptual refit
    among them.
    """
    config = replace(
        PERCEPTUAL,
        rays=16,
        samples=8,
        proposals=12,
        shaded=4,
        grid_start=1000,
        grid_end=2000,
        growth_at=[0.6],
        refit_patch=4,
        exposure="camera",
        distortion=0.01,
        learn_background=True,
    )
    if DEVICE.type == "cuda":
        config = replace(config, kernels="eager")
    fits, bank = [], scene_bank()
    for kernels in (False, True):
        with mock.patch("i4d.fields.vector_matrix.fit.kernels_run_on", lambda _device, found=kernels: found):
            fitter = Fitter(
                config, space_for(BOUNDS, cameras()), FRAMES, 0, DEVICE, distance=contrast, views=bank.views
            )
            fitter.begin("fit", 5)
            fitter.advance(bank, 3)
            fitter.begin("refit", 2)
            fitter.advance(bank, 2)
            fits.append(fitter.field.tensors)
    # Adam divides by the gradient's size: where that is all rounding, steps differ; few entries may
    return max(
        float((a - b).abs().double().quantile(0.99)) for a, b in zip(*(f.values() for f in fits), strict=True)
    )


def main():
    parts = [one_frame(frame, background) for frame, background in ((1, None), (3.3, (0.2, 0.3, 0.4)))]
    print(json.dumps({**{name: max(p[name] for p in parts) for name in parts[0]}, "fit": whole_fit()}))


if __name__ == "__main__":
    main()
