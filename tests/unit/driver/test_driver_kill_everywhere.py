"""The driver's process killed by SIGKILL at every single event of a run: each resume ends with the same
digests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_a_run_killed_at_any_event_resumes_to_the_same_digests(tmp_path):
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(TESTS / "kill_everywhere.py"), str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    whole, killed = told["whole"], told["killed"]
    assert 25 <= len(killed) == len(whole["kinds"]) <= 44
    for k, run in enumerate(killed, 1):
        assert run["digest"] == whole["digest"] and run["renders"] == whole["renders"], (
            f"killed at event {k}, {run['at']}"
        )
        assert len(run["work"]) == len(set(run["work"])), f"event {k}: what was stored is not done again"
    assert {"WindowStored", "RoundCommitted", "CheckpointSaved", "FitProgress"} <= {
        run["at"] for run in killed
    }
