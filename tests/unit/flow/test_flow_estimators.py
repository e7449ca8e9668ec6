"""Every estimator recovers a known translation; on real pairs each stays below what it must."""

import numpy as np
import pytest
import torch
from PIL import Image

from i4d.flow.classical import DisFlow, HornSchunck, LucasKanade
from i4d.flow.find import find_estimator


def textured(height, width, dx, dy, seed=0):
    """Return images a, b with b[y + dy, x + dx] = a[y, x], from band-limited waves: (1, 3, h, w) each."""
    rng = np.random.default_rng(seed)
    waves = np.stack([rng.uniform(-0.06, 0.06, 24), rng.uniform(-0.06, 0.06, 24), rng.uniform(0, 6, 24)], 1)
    y, x = np.mgrid[:height, :width].astype(np.float64)

    def picture(x, y):
        return 0.5 + 0.08 * sum(np.sin(2 * np.pi * (fx * x + fy * y) + phase) for fx, fy, phase in waves)

    pair = [picture(x, y), picture(x - dx, y - dy)]
    return [torch.from_numpy(p).float().clamp(0, 1)[None, None].repeat(1, 3, 1, 1) for p in pair]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("estimator", [LucasKanade(), HornSchunck(), DisFlow()], ids=lambda e: e.name)
def test_a_translation_is_recovered(estimator):
    a, b = textured(72, 93, 4.5, -2.25)
    flow = estimator.estimate(a, b)
    assert flow.shape == (1, 2, 72, 93) and flow.dtype == torch.float32
    centre = flow[0, :, 12:-12, 12:-12]
    error = (centre - torch.tensor([4.5, -2.25])[:, None, None]).norm(dim=0).mean()
    assert error < 0.35


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("estimator", [LucasKanade(), HornSchunck(), DisFlow()], ids=lambda e: e.name)
def test_a_batch_equals_its_pairs(estimator):
    pairs = [textured(48, 64, 2, 1, seed=1), textured(48, 64, -1, 2, seed=2)]
    a, b = (torch.cat([p[i] for p in pairs]) for i in (0, 1))
    each = torch.cat([estimator.estimate(*p) for p in pairs])
    torch.testing.assert_close(estimator.estimate(a, b), each, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("estimator", [LucasKanade(), HornSchunck(), DisFlow()], ids=lambda e: e.name)
@pytest.mark.parametrize("size", [(6, 8), (1, 40), (33, 17)])
def test_any_size_is_taken_and_a_still_image_does_not_move(estimator, size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    flow = estimator.estimate(image, image)
    assert flow.shape == (1, 2, *size) and flow.abs().max() < 1e-3


def read_image(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def motorcycle(shared):
    folder = shared("flow")
    with np.load(folder / "motorcycle_disp.npz") as file:
        disparity = file[file.files[0]]
    known = np.isfinite(disparity)
    flow = np.stack([-np.where(known, disparity, 0), np.zeros_like(disparity)])
    return (
        read_image(folder / "motorcycle_left.png"),
        read_image(folder / "motorcycle_right.png"),
        flow,
        known,
    )


def chairs(shared):
    folder = shared("flow")
    raw = np.fromfile(folder / "0flow.flo", np.float32)
    width, height = raw[1:3].view(np.int32)
    flow = raw[3:].reshape(height, width, 2).transpose(2, 0, 1)
    return (
        read_image(folder / "0img0.ppm"),
        read_image(folder / "0img1.ppm"),
        flow,
        np.ones((height, width), bool),
    )


def end_point_error(estimator, pair):
    a, b, truth, known = pair
    flow = estimator.estimate(a, b)[0].numpy()
    assert flow.shape == truth.shape
    return np.linalg.norm(flow - truth, axis=0)[known].mean()


@pytest.mark.parametrize("pair,limit", [(motorcycle, 1.95), (chairs, 1.36)], ids=["motorcycle", "chairs"])
def test_raft_small_reaches_its_published_accuracy(shared, pair, limit):
    raft, sentence = find_estimator("raft", str(shared("weights/raft-small.pth")), iterations=20)
    assert "raft-small" in sentence
    assert end_point_error(raft, pair(shared)) <= limit


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "pair,limit", [(motorcycle, 34.3 / 4), (chairs, 2.99 * 0.9)], ids=["motorcycle", "chairs"]
)
@pytest.mark.parametrize("method", ["lucas_kanade", "horn_schunck", "dis"])
def test_classical_flow_is_clearly_below_zero_flow(shared, method, pair, limit):
    assert end_point_error(find_estimator(method)[0], pair(shared)) < limit
