"""Kernels through Triton's interpreter, against double precision; on a GPU: tests/gpu/test_gpu_kernels.py."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import torch
import torch.nn.functional as F
from i4d.editors.instruct_pix2pix.kernels.anchor_attention import Shape, attend, pack
from i4d.editors.instruct_pix2pix.kernels.group_norm import group_norm
from i4d.editors.instruct_pix2pix.kernels import rowwise
from i4d.editors.instruct_pix2pix import ops
from i4d.editors.instruct_pix2pix.ops import plain_group_norm

torch.manual_seed(0)
q, k, v = torch.randn(2, 70, 80).half(), torch.randn(2, 90, 80).half(), torch.randn(2, 90, 80).half()
for scale in (1, 100):  # at 100 scores differ by thousands: what overflows is done again
    heads = [(t.double()).unflatten(-1, (2, 40)).transpose(1, 2) for t in (q * scale, k, v)]
    exact = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    out = attend(q * scale, *pack(k, v, 2), 2, Shape(64, 64, 4, 2), asm=False)
    error = ((out.double() - exact).norm() / exact.norm()).item()
    assert error < 1e-3, (scale, error)
x = (torch.randn(2, 96, 20, 30) + 20 * torch.randn(1, 96, 1, 1)).contiguous(memory_format=torch.channels_last)
weight, bias, add = torch.randn(96), torch.randn(96), torch.randn(2, 96)
for given in (None, add):
    for silu in (True, False):
        given_exact = None if given is None else given.double()
        exact = plain_group_norm(x.double(), 32, weight.double(), bias.double(), 1e-5, given_exact, silu)
        error = ((group_norm(x, 32, weight, bias, 1e-5, given, silu) - exact).norm() / exact.norm()).item()
        assert error < 1e-5, error
def near(out, exact, most=1e-5):
    error = ((out - exact).norm() / exact.norm()).item()
    assert out.shape == exact.shape and error < most, error

rows, pending = torch.randn(2, 37, 96) + 5, torch.randn(96)
for given in (None, pending):
    near(rowwise.layer_norm(rows, weight, bias, 1e-5, given), ops.layer_norm(rows, weight, bias, 1e-5, given))
near(rowwise.gate(rows), ops.gated(rows))
other = torch.randn(2, 96, 20, 30).contiguous(memory_format=torch.channels_last)
near(rowwise.add(x, other, bias), ops.added(x, other, bias))
phases = [torch.randn(2, 96, 4, 6).contiguous(memory_format=torch.channels_last) for _ in range(4)]
near(rowwise.weave(phases, bias), ops.woven(phases, bias))
for keys in (5, 130):
    scores = torch.randn(7, 192) * 30
    near(rowwise.softmax(scores, keys, torch.float32)[:, :keys], torch.softmax(scores[:, :keys], -1))
    assert not rowwise.softmax(scores, keys, torch.float32)[:, keys:].any()
print("kernels agree")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton (pip install triton)")
def test_kernels_agree_with_double_precision():
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "kernels agree" in done.stdout, done.stderr[-2000:]
