"""Kernels on a GPU against their plain twins in double precision, and fp16 edits against fp32."""

import pytest
import torch
import torch.nn.functional as F

from i4d.editors.instruct_pix2pix import ops
from i4d.editors.instruct_pix2pix.load import load_editor
from i4d.editors.instruct_pix2pix.ops import anchor_attention, group_norm, pack_keys, plain_group_norm
from i4d.editors.protocol import EditCost
from i4d.editors.repaint import remember, repaint
from i4d.types import EditSettings, Strength

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("scale", [1, 8, 100])
def test_attention_with_heads_of_40(scale):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n, 320, device="cuda").half() for n in (5000, 2111, 2111))
    out = anchor_attention(q * scale, *pack_keys(k, v, 8), 8)
    heads = [t.double().unflatten(-1, (8, 40)).transpose(1, 2) for t in (q * scale, k, v)]
    exact = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    assert (out.double() - exact).norm() / exact.norm() < 1e-3


@pytest.mark.parametrize("shape", [(3, 320, 127, 169), (1, 128, 300, 200), (2, 2560, 16, 22)])
def test_normalisation(shape):
    torch.manual_seed(0)
    x = (torch.randn(shape, device="cuda") + 3).half().contiguous(memory_format=torch.channels_last)
    weight, bias, add = (torch.randn(s, device="cuda").half() for s in (shape[1], shape[1], shape[:2]))
    out = group_norm(x, 32, weight, bias, 1e-5, add, True)
    exact = plain_group_norm(x.double(), 32, weight.double(), bias.double(), 1e-5, add.double(), True)
    assert (out.double() - exact).norm() / exact.norm() < 1e-3


def test_rowwise_kernels():
    torch.manual_seed(0)

    def half(*shape):
        return torch.randn(*shape, device="cuda").half()

    def near(op, *args):
        def doubled(x):
            if isinstance(x, list):
                return [doubled(part) for part in x]
            return x.double().cpu() if isinstance(x, torch.Tensor) else x

        out, exact = op(*args).double().cpu(), op(*(doubled(x) for x in args))
        assert out.shape == exact.shape and (out - exact).norm() / exact.norm() < 1e-3, op

    rows, weight, bias, pending = half(3, 1001, 320) + 4, half(320), half(320), half(320)
    near(ops.layer_norm, rows, weight, bias, 1e-5, None)
    near(ops.layer_norm, rows, weight, bias, 1e-5, pending)
    near(ops.gated, half(2, 777, 2560))
    x, h = (half(2, 320, 37, 41).contiguous(memory_format=torch.channels_last) for _ in range(2))
    near(ops.added, x, h, bias)
    near(
        ops.woven,
        [half(1, 320, 10, 14).contiguous(memory_format=torch.channels_last) for _ in range(4)],
        bias,
    )
    near(ops.wide_attention, half(2, 5001, 512), half(2, 5001, 512), half(2, 5001, 512))


def test_exact_in_half_precision_is_as_near_to_single_precision_as_plain_is():
    images = F.interpolate(
        torch.rand(6, 3, 16, 20, generator=torch.Generator().manual_seed(0)), (480, 640), mode="bilinear"
    ).cuda()
    strength, seeds = Strength(600, 4), [7] * 6

    def edit(mode, dtype, fast):
        model, settings = (
            load_editor("tiny-ip2p", "cuda", dtype, fast=fast),
            EditSettings("turn it into night", 1.5, 1.2, mode=mode),
        )
        if mode == "plain":
            return repaint(model, images, images, strength, settings, seeds, EditCost())[1:].double()
        trace = remember(model, images[:1], images[:1], strength, settings, 7, EditCost())
        return repaint(
            model, images[1:], images[1:], strength, settings, seeds[1:], EditCost(), memory=trace
        ).double()

    def psnr_db(a, b):
        return float(-10 * torch.log10(((a - b) ** 2).mean()))

    reference = edit("plain", "float32", False)
    others = ("plain", "float16", False), ("exact", "float16", True), ("exact", "float32", True)
    plain, exact, single = (psnr_db(edit(*how), reference) for how in others)
    print(
        f"against plain float32: plain float16 {plain:.2f} dB, exact float16 {exact:.2f} dB, exact "
        f"float32 {single:.2f} dB"
    )
    assert exact >= plain - 1 and single >= 60
