"""Triton kernels of the field: lookups, marching, optimiser. Triton is optional; only `fused` and
`fused_fit` import the modules in here.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch


@lru_cache(1)
def _triton_found() -> bool:
    return importlib.util.find_spec("triton") is not None


def kernels_run_on(device: torch.device) -> bool:
    """Return whether the kernels can run on a device: a CUDA device, with Triton installed."""
    return device.type == "cuda" and _triton_found()
