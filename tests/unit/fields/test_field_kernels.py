"""Kernels against their plain twins. On a GPU as they are; without one through Triton's interpreter, where
Triton is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_equal_their_plain_twins():
    """In a process of its own: whether kernels are compiled or interpreted is settled when they are first
    imported.
    """
    env = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    )
    if not torch.cuda.is_available():
        env["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, str(HERE / "kernel_twins.py")], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (
        found["edges"] < 1e-5 and found["colour"] < 1e-5 and found["opacity"] < 1e-5 and found["map"] < 1e-4
    ), found
    assert found["gradients"] < 1e-3, found
    assert found["fit"] < 1e-3, found
