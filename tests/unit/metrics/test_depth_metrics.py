"""A field's depth against exact depth: edges and matches between cameras, beside loops over pixels."""

import numpy as np
import pytest
import torch

from i4d.geometry.cameras import project, unproject
from i4d.metrics.depth import View, edge_figures, matches, near_edges
from i4d.types import Camera

HEIGHT, WIDTH = 18, 24


def camera(x):
    K = np.array([[20.0, 0, WIDTH / 2], [0, 20.0, HEIGHT / 2], [0, 0, 1.0]])
    pose = np.eye(4)
    pose[0, 3] = x
    return Camera(f"at{x:g}", WIDTH, HEIGHT, K, pose)


def scene_depth(x):
    """A wall at 4 and a board at 2 that spans [-0.4, 0.4] in the world's x and y, seen from (x, 0, 0)."""
    at = unproject(torch.full((HEIGHT, WIDTH), 2.0), camera(x))
    board = (at[..., 0].abs() < 0.4) & (at[..., 1].abs() < 0.4)
    return torch.where(board, 2.0, 4.0)


def test_edges_beside_loops():
    exact = scene_depth(0.0)
    exact[0, 0] = 0.0  # not known
    rough = exact * (1 + 0.1 * torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)))
    jumps = set()
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < HEIGHT and other[1] < WIDTH and exact[y, x] > 0:
                    a, b = float(exact[y, x]), float(exact[other])
                    if abs(a - b) > 0.05 * min(a, b):
                        jumps |= {(y, x), other}
    near = [
        (y, x)
        for y in range(HEIGHT)
        for x in range(WIDTH)
        if exact[y, x] > 0 and any(abs(y - v) <= 3 and abs(x - u) <= 3 for v, u in jumps)
    ]
    assert {tuple(p) for p in near_edges(exact).nonzero().tolist()} == set(near) and len(near) < exact.numel()
    errors = [abs(float(rough[p]) / float(exact[p]) - 1) for p in near]
    found = edge_figures(rough, exact)
    assert found["edges_within_5_percent"] == pytest.approx(np.mean(np.array(errors) < 0.05), abs=1e-6)
    assert found["edges_median_error"] == pytest.approx(sorted(errors)[(len(errors) - 1) // 2], abs=1e-5)
    assert edge_figures(exact, torch.full_like(exact, 3.0)) == {}


def slowly(target, sources, threshold):
    """The same as `matches`, pixel by pixel; a source's point is mixed from its four nearest as warps do."""
    looked_up = matched = right = 0
    points = unproject(target.depth, target.camera)
    for source in sources:
        theirs = unproject(source.depth, source.camera)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                at, z = project(points[y, x], source.camera)
                u, v = at.tolist()
                if not (0 <= u < WIDTH and 0 <= v < HEIGHT and z > 0):
                    continue
                looked_up += 1
                i, j = u - 0.5, v - 0.5
                mixed = torch.zeros(3)
                for b in (int(np.floor(j)), int(np.floor(j)) + 1):
                    for a in (int(np.floor(i)), int(np.floor(i)) + 1):
                        weight = (1 - abs(j - b)) * (1 - abs(i - a))
                        mixed += weight * theirs[min(max(b, 0), HEIGHT - 1), min(max(a, 0), WIDTH - 1)]
                if (points[y, x] - mixed).norm() >= threshold:
                    continue
                matched += 1
                same = abs(float(target.depth[y, x]) / float(target.exact[y, x]) - 1) < 0.05
                if source.exact is not None:
                    same = same and abs(float(z) / float(source.exact[int(v), int(u)]) - 1) < 0.05
                right += same
    return looked_up, matched, right


@pytest.mark.parametrize("known", [True, False])
def test_matches_beside_a_loop(known):
    generator = torch.Generator().manual_seed(1)
    views = []
    for x in (0.0, 0.3, -0.4):
        exact = scene_depth(x)
        rough = exact * (1 + 0.06 * torch.randn(HEIGHT, WIDTH, generator=generator).abs())
        views.append(View(camera(x), rough, exact if known or x == 0 else None))
    found = matches(views[0], views[1:], 0.4)
    assert found == slowly(views[0], views[1:], 0.4)
    assert found[0] > found[1] > found[2] > 0


def test_exact_depth_matches_rightly_and_depth_that_is_wrong_everywhere_never():
    views = [View(camera(x), scene_depth(x), scene_depth(x)) for x in (0.0, 0.3)]
    looked_up, matched, right = matches(views[0], views[1:], 0.05)
    assert looked_up > matched == right > 0.6 * looked_up, "hidden points are looked up and do not match"
    far = [View(v.camera, torch.full_like(v.depth, 8.0), v.exact) for v in views]
    looked_up, matched, right = matches(far[0], far[1:], 0.05)
    assert matched > 0.9 * looked_up and right == 0, "wrong planes agree with each other, and are wrong"
    with pytest.raises(ValueError, match="exact"):
        matches(View(camera(0.0), scene_depth(0.0)), views, 0.05)
