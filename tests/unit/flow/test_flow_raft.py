"""RAFT's parts against slow twins; the large network by the shapes of the public checkpoint; refusal of wrong
files.
"""

import pickle

import pytest
import torch

from i4d.errors import WeightsError
from i4d.flow.find import find_estimator, load_raft
from i4d.flow.raft import Raft, RaftFlow, correlation_pyramid, look_up, upsample_convex


@pytest.fixture
def no_places(monkeypatch, tmp_path):
    """No RAFT anywhere: environment, data root and torch's cache are empty."""
    monkeypatch.delenv("I4D_RAFT", raising=False)
    monkeypatch.setenv("I4D_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path
    torch.hub._hub_dir = None


def test_lookup_equals_its_slow_twin():
    gen = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, 4, 8, 16, generator=gen), torch.randn(1, 4, 8, 16, generator=gen)
    levels = correlation_pyramid(a, b)
    where = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(8.0), indexing="xy"))[None]
    found = look_up(levels, where, radius=1)
    assert found.shape == (1, 4 * 9, 8, 16)
    y, x = 3, 5
    for i, dx in enumerate((-1, 0, 1)):  # level 0: plain dot products, column offset outside
        for j, dy in enumerate((-1, 0, 1)):
            product = (a[0, :, y, x] * b[0, :, y + dy, x + dx]).sum() / 4**0.5
            torch.testing.assert_close(found[0, 3 * i + j, y, x], product, atol=1e-5, rtol=1e-5)
    level1 = levels[1].reshape(8, 16, 4, 8)[4, 6]  # even indices, so that the division by 2 lands on cells
    torch.testing.assert_close(found[0, 9 + 4, 4, 6], level1[2, 3], atol=1e-5, rtol=1e-5)
    assert (found[0, 0, :, 0] == 0).all()  # left of the image: zero


def test_convex_upsampling_with_one_hot_weights_copies_the_coarse_vector():
    flow = torch.randn(1, 2, 3, 4)
    mask = torch.full((1, 9, 64, 3, 4), -1e4)
    mask[:, 4] = 1e4  # the centre of the 3x3 neighbourhood
    up = upsample_convex(flow, mask.reshape(1, 576, 3, 4))
    torch.testing.assert_close(up, 8 * flow.repeat_interleave(8, 2).repeat_interleave(8, 3))


def test_large_has_the_public_checkpoints_keys_and_runs(tmp_path):
    network = Raft(large=True)
    state = network.state_dict()
    shapes = {
        "fnet.conv1.weight": (64, 3, 7, 7),
        "fnet.layer3.0.downsample.0.weight": (128, 96, 1, 1),
        "cnet.layer2.0.norm3.running_mean": (96,),
        "cnet.layer2.0.downsample.1.weight": (96,),
        "cnet.conv2.weight": (256, 128, 1, 1),
        "update_block.encoder.convc1.weight": (256, 324, 1, 1),
        "update_block.encoder.conv.weight": (126, 256, 3, 3),
        "update_block.gru.convq2.weight": (128, 384, 5, 1),
        "update_block.flow_head.conv1.weight": (256, 128, 3, 3),
        "update_block.mask.2.weight": (576, 256, 1, 1),
    }
    assert {k: tuple(state[k].shape) for k in shapes} == shapes
    assert sum(p.numel() for p in network.parameters()) == 5_257_536
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "raft-things.pth")
    flow = RaftFlow(load_raft(tmp_path / "raft-things.pth"), iterations=1)
    assert flow.name == "raft-large"
    assert flow.estimate(torch.rand(2, 3, 61, 75), torch.rand(2, 3, 61, 75)).shape == (2, 2, 61, 75)


def test_a_wrong_file_names_the_keys_or_the_reason(tmp_path):
    torch.save({"module.conv.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="conv.weight|cnet"):
        load_raft(tmp_path / "a.pth")
    state = Raft(large=False).state_dict()
    state["fnet.conv2.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="fnet.conv2.bias"):
        load_raft(tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="c.pth"):
        load_raft(tmp_path / "c.pth")
    (tmp_path / "d.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(WeightsError):
        load_raft(tmp_path / "d.pth")


def test_auto_takes_dis_without_a_checkpoint_and_raft_refuses(no_places):
    flow, sentence = find_estimator("auto")
    assert flow.name == "dis" and "no RAFT checkpoint" in sentence
    with pytest.raises(WeightsError, match="RAFT"):
        find_estimator("raft")
    with pytest.raises(WeightsError, match="nowhere.pth"):
        find_estimator("auto", str(no_places / "nowhere.pth"))


def test_auto_finds_a_checkpoint_in_the_data_root(no_places):
    folder = no_places / "data" / "weights"
    folder.mkdir(parents=True)
    torch.save(Raft(large=False).state_dict(), folder / "raft-small.pth")
    flow, sentence = find_estimator("auto", iterations=3)
    assert flow.name == "raft-small" and "raft-small.pth" in sentence and flow.iterations == 3
