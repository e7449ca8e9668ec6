"""What a machine has, asked of the system and not of torch, so that asking costs no import and no device
memory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping


def gpu_cards() -> list[tuple[str, int]]:
    """Return name and memory in bytes of each NVIDIA card; empty where nvidia-smi is not installed or finds
    none.
    """
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return []
    if done.returncode:  # installed without a working driver: there is no card to use
        return []
    return [
        (name.strip(), int(mib) << 20)
        for name, mib in (line.rsplit(",", 1) for line in done.stdout.splitlines())
    ]


def visible_cards(environment: Mapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """Return the cards that this process may use: those that CUDA_VISIBLE_DEVICES leaves."""
    cards = gpu_cards()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return cards
    return cards[: len([v for v in visible.split(",") if v.strip() and v.strip() != "-1"])]
