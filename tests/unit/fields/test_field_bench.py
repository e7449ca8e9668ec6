"""The bench runs at toy size and writes what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_bench_measures_every_part_at_toy_size(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "bench_fit.py"),
        "--toy",
        "--parts",
        "speed,render,equal,tune,curve,group",
    ]
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "b.json")], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1500:]
    found = json.loads((tmp_path / "b.json").read_text())
    assert {row["way"] for row in found["speed"]} >= {"plain proposals", "dense reference"}
    assert all(row["rays_per_s"] > 0 for row in found["speed"]) and found["render"][0]["pictures_per_s"] > 0
    tricks, dense = (row["held_out_db"] for row in found["equal"])
    assert abs(tricks - dense) < 0.5 and found["curve_summary"][0]["final_db"] > tricks
    assert found["group_psnr"][0]["members"] == 1
