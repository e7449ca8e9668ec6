"""Anchor attention and joint normalisation against slow twins, and the untouched layers against stock
diffusers.
"""

import copy
import math

import pytest
import torch
from torch import nn

from i4d.editors.instruct_pix2pix.attention import (
    Recording,
    WindowAttention,
    WindowContext,
    WindowGroupNorm,
    install,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Layer(nn.Module):
    """The parts of a diffusers self-attention layer that a processor uses."""

    def __init__(self, channels=12, heads=3):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels), nn.Identity()])


def slow_attention(layer, x, branches, keys_of):
    """One query token, one head, one image at a time; `keys_of(frame)` lists the frames whose tokens are
    looked at.
    """
    frames = len(x) // branches
    q, k, v = layer.to_q(x), layer.to_k(x), layer.to_v(x)
    width = x.shape[-1] // layer.heads
    out = torch.zeros_like(x)
    for b in range(branches):
        for i in range(frames):
            seen_k = torch.cat([k[b * frames + j] for j in keys_of(i)])
            seen_v = torch.cat([v[b * frames + j] for j in keys_of(i)])
            for h in range(layer.heads):
                s = slice(h * width, (h + 1) * width)
                for t in range(x.shape[1]):
                    scores = (seen_k[:, s] @ q[b * frames + i, t, s]) / math.sqrt(width)
                    out[b * frames + i, t, s] = scores.softmax(0) @ seen_v[:, s]
    return layer.to_out[0](out)


KEYS_OF = {
    "own": lambda i: [i],
    "anchor": lambda i: [0],
    "anchor_self": lambda i: [0, i],
    "sparse_causal": lambda i: [0, max(0, i - 1)],
}


@pytest.mark.parametrize("kind", KEYS_OF)
def test_each_kind_equals_its_slow_twin(kind):
    torch.manual_seed(0)
    layer, x, context = Layer(), torch.randn(6, 5, 12), WindowContext()
    with torch.no_grad(), context.call(kind, "frame", branches=2):
        out = WindowAttention(context, 0)(layer, x)
        torch.testing.assert_close(out, slow_attention(layer, x, 2, KEYS_OF[kind]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["anchor", "anchor_self", "sparse_causal"])
def test_a_recorded_anchor_equals_one_in_the_batch(kind):
    torch.manual_seed(1)
    layer, x, context = Layer(), torch.randn(2, 4, 5, 12), WindowContext()  # 2 branches of anchor + 3 frames
    processor, recording = WindowAttention(context, 0), Recording()
    with torch.no_grad():
        with context.call(kind, "frame", 2):
            plain = processor(layer, x.flatten(0, 1)).view(2, 4, 5, 12)
        with context.call("own", "frame", 2, record=recording):
            alone = processor(layer, x[:, :1].flatten(0, 1)).view(2, 1, 5, 12)
        with context.call(kind, "frame", 2, anchor=recording):
            given = processor(layer, x[:, 1:].flatten(0, 1)).view(2, 3, 5, 12)
        with context.call(kind, "frame", 1, anchor=recording, rows=slice(1, 2)):
            second = processor(layer, x[1, 1:])
    torch.testing.assert_close(alone, plain[:, :1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(given, plain[:, 1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second, plain[1, 1:], atol=1e-5, rtol=1e-5)


def test_joint_normalisation_equals_its_slow_twin():
    torch.manual_seed(2)
    stock, context = nn.GroupNorm(2, 6), WindowContext()
    nn.init.normal_(stock.weight)
    nn.init.normal_(stock.bias)
    norm, x = WindowGroupNorm(stock, context), torch.randn(6, 6, 4, 5) * 3 + 1
    with context.call("own", "frame", 2):
        torch.testing.assert_close(norm(x), stock(x))
    with context.call("own", "joint", 2):
        out = norm(x)
    for branch in range(2):
        for group in range(2):
            rows, channels = slice(3 * branch, 3 * branch + 3), slice(3 * group, 3 * group + 3)
            part = x[rows, channels]
            flat = (part - part.mean()) / (part.var(unbiased=False) + stock.eps).sqrt()
            expected = flat * stock.weight[channels, None, None] + stock.bias[channels, None, None]
            torch.testing.assert_close(out[rows, channels], expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def unet(tiny_editor_folder):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(tiny_editor_folder, subfolder="unet").eval()


def test_an_idle_context_leaves_the_stock_unet(unet):
    ours = copy.deepcopy(unet)
    keys = list(ours.state_dict())
    install(ours)
    assert list(ours.state_dict()) == keys
    assert sum(isinstance(m, WindowGroupNorm) for m in ours.modules()) > 8
    assert (
        sum(isinstance(p, WindowAttention) for p in ours.attn_processors.values())
        == len(ours.attn_processors) // 2
    )
    x, text = torch.randn(3, 8, 9, 7), torch.randn(3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(x, 301, encoder_hidden_states=text).sample,
            unet(x, 301, encoder_hidden_states=text).sample,
            atol=1e-5,
            rtol=1e-4,
        )


def test_other_frames_change_a_frame_only_through_the_anchor_or_joint_norm(unet):
    ours = copy.deepcopy(unet)
    context = install(ours)
    x, text = torch.randn(3, 8, 8, 8), torch.randn(1, 16, 16).expand(3, -1, -1)
    other = x.clone()
    other[1] += 1.0

    def last(batch, attention, norm):
        with torch.no_grad(), context.call(attention, norm, 1):
            return ours(batch, 301, encoder_hidden_states=text).sample[2]

    torch.testing.assert_close(
        last(other, "anchor", "frame"), last(x, "anchor", "frame"), atol=1e-5, rtol=1e-4
    )
    assert (last(other, "anchor", "joint") - last(x, "anchor", "joint")).abs().max() > 1e-3
    assert (last(other, "sparse_causal", "frame") - last(x, "sparse_causal", "frame")).abs().max() > 1e-4
    changed = x.clone()
    changed[0] += 1.0
    assert (last(changed, "anchor", "frame") - last(x, "anchor", "frame")).abs().max() > 1e-4
