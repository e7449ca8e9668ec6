"""The ray caster against geometry, its own exact answers against its pictures, and object edits against their
masks.
"""

import numpy as np
import pytest
import torch

from i4d.geometry.cameras import camera_tensors, project
from i4d.scenes.procedural import shapes
from i4d.scenes.procedural.demo import demo_cameras, exact_answers, frame_time, render_frames, write_demo
from i4d.scenes.procedural.render import exact, render
from i4d.scenes.procedural.world import FIRST_SOLID_ID, demo_world
from i4d.scenes.repertoire.objects import OBJECTS, edited_world, solid_of

pytestmark = pytest.mark.usefixtures("one_thread")
CAMERAS = demo_cameras(80, 60)
ON_SURFACE = {
    "ball": lambda p: p.norm(dim=0) - 1,
    "box": lambda p: p.abs().amax(0) - 1,
    "pillar": lambda p: torch.maximum((p[0] ** 2 + p[2] ** 2).sqrt(), p[1].abs()) - 1,
    "cone": lambda p: torch.maximum((p[0] ** 2 + p[2] ** 2).sqrt() - (p[1] + 1) / 2, p[1] - 1),
}


@pytest.mark.parametrize("kind", shapes.SOLIDS)
def test_hits_lie_on_the_surface_and_normals_point_out(kind):
    generator = torch.Generator().manual_seed(1)
    o = torch.nn.functional.normalize(torch.randn(3, 4000, generator=generator), dim=0) * 4
    d = 2.5 * (torch.rand(3, 4000, generator=generator) - 0.5) - o
    t, normal = shapes.SOLIDS[kind](o, d)
    hit = t < shapes.INF
    assert 0.2 < hit.float().mean() < 0.98
    point = (o + t * d)[:, hit]
    assert ON_SURFACE[kind](point).abs().max() < 2e-3
    assert (shapes.dot(normal[:, hit], d[:, hit]) < 1e-4).all(), "seen from outside, a normal faces the ray"


@pytest.mark.parametrize("kind", shapes.SOLIDS)
def test_a_ray_that_misses_hits_nothing_nearer(kind):
    """Slow twin: march along each ray in small steps and look whether it ever enters the solid."""
    generator = torch.Generator().manual_seed(2)
    o = torch.nn.functional.normalize(torch.randn(3, 300, generator=generator), dim=0) * 3
    d = 3 * (torch.rand(3, 300, generator=generator) - 0.5) - o
    t, _ = shapes.SOLIDS[kind](o, d)
    steps = torch.linspace(0, 2, 1000)
    inside = torch.stack([ON_SURFACE[kind](o + s * d) < -5e-3 for s in steps])
    first = torch.where(inside.any(0), steps[inside.float().argmax(0)], torch.full_like(t, shapes.INF))
    entered = first < shapes.INF
    assert (t[entered] <= first[entered] + 1e-3).all() and (first[entered] - t[entered]).abs().median() < 0.05


def test_depth_points_agree_between_cameras():
    world = demo_world(torch.tensor([0.4]))
    a, b = CAMERAS[1], CAMERAS[5]
    ka, kb = (tuple(x[None] for x in camera_tensors(c)) for c in (a, b))
    seen_a, seen_b = exact(world, *ka, 80, 60), exact(world, *kb, 80, 60)
    xy, z = project(seen_a.point[0], b)
    col, row = xy[..., 0].floor().long(), xy[..., 1].floor().long()
    inside = (col >= 0) & (col < 80) & (row >= 0) & (row < 60) & (z > 0)
    there = seen_b.depth[0][row.clamp(0, 59), col.clamp(0, 79)]
    agree = ((there - z).abs() < 0.05 * z)[inside]
    assert inside.float().mean() > 0.6 and agree.float().mean() > 0.85  # the rest is occluded


def test_flow_carries_one_frame_onto_the_next():
    camera, n = CAMERAS[2], 24
    frames = np.stack(list(render_frames(camera, range(n), n))).astype(np.float32) / 255
    answers = exact_answers(camera, n)
    flow, ids = (
        torch.from_numpy(answers["flow"].astype(np.float32)),
        torch.from_numpy(answers["id"].astype(np.float32)),
    )
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    still, moved = [], []
    for i in range(0, n - 1, 4):
        at = (torch.stack([(x + flow[i, ..., 0]) / 80, (y + flow[i, ..., 1]) / 60], -1) * 2 - 1)[None]
        pull = lambda image, mode: torch.nn.functional.grid_sample(
            image[None], at, mode=mode, align_corners=False
        )[0]
        seen = (ids[i] >= FIRST_SOLID_ID) & (
            pull(ids[i + 1][None], "nearest")[0] == ids[i]
        )  # not hidden in the next frame
        pulled = pull(torch.from_numpy(frames[i + 1]).permute(2, 0, 1), "bilinear").permute(1, 2, 0)
        still.append((torch.from_numpy(frames[i + 1] - frames[i])[seen] ** 2).mean())
        moved.append(((pulled - torch.from_numpy(frames[i]))[seen] ** 2).mean())
    gain = torch.stack(still) / torch.stack(moved)
    assert gain.median() > 3, gain  # what is left is shading that changes while a solid turns


def test_the_demo_is_deterministic_and_moves():
    camera = CAMERAS[0]
    first, again = (list(render_frames(camera, (0, 7), 24)) for _ in range(2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert (first[0] != first[1]).mean() > 0.05
    assert frame_time(23, 24) == 1.0


@pytest.mark.parametrize("edit", OBJECTS)
def test_an_object_edit_changes_its_object_and_nothing_else(edit):
    world = demo_world(torch.tensor([0.6]))
    K, pose = (x[None] for x in camera_tensors(CAMERAS[4]))
    before, after = (render(w, K, pose, 80, 60, samples=1)[0, 0] for w in (world, edited_world(world, edit)))
    mask = exact(world, K, pose, 80, 60).id[0] == FIRST_SOLID_ID + solid_of(edit)
    changed = (before != after).any(-1)
    assert mask.sum() > 20 and changed[mask].float().mean() > 0.9 and not changed[~mask].any()


def test_write_demo_leaves_nothing_half_written(tmp_path):
    calls = []
    write_demo(tmp_path / "demo", 48, 36, 3, 9, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (27, 27)
    names = sorted(p.name for p in (tmp_path / "demo").iterdir())
    assert names == [*(f"cam{i:02d}.mp4" for i in range(9)), "exact", "poses_bounds.npy", "scene.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_render_the_same_scene():
    cpu, gpu = (next(render_frames(CAMERAS[0], (5,), 24, device)).astype(int) for device in ("cpu", "cuda"))
    assert (abs(cpu - gpu) > 2).mean() < 0.01
