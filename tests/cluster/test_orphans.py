"""However a driver that started its own Ray ends, nothing of it stays: after the end, after Ctrl-C, after
kill -9.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS.parent / "scripts"))
from many_windows import orphans  # noqa: E402

DRIVER = """
import sys, time
from i4d.exec.on_ray.executor import RayExecutor
from i4d.exec.on_ray.session import connect
from i4d.exec.protocol import ServiceSpec
session = connect(dashboard=False, num_cpus=3)
executor = RayExecutor()
try:
    handles = executor.start_all([ServiceSpec(f"echo-{i}", "null_services:Echo") for i in range(2)], 90)
    print("up", flush=True)
    while "end" not in sys.argv:
        time.sleep(0.1)
finally:
    executor.shutdown()
    session.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end", "ctrl-c", "kill -9"])
def test_nothing_is_left_behind(how, tmp_path):
    mark = uuid.uuid4().hex
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "I4D_MARK": mark, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, how],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert driver.stdout.readline().strip() == "up"
        if how != "end":
            assert len(orphans(mark)) > 3, "Ray's processes carry the mark"
            os.kill(driver.pid, signal.SIGINT if how == "ctrl-c" else signal.SIGKILL)
        driver.wait(60)
        until = time.monotonic() + 60
        while (left := orphans(mark)) and time.monotonic() < until:
            time.sleep(0.5)  # processes take a moment to end
        assert not left
    finally:
        for line in orphans(mark):
            os.kill(int(line.split()[0]), signal.SIGKILL)
