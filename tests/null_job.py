"""The entrypoint of a submitted job in the tests: joins the cluster it runs in and asks a service there."""

import sys
import time

from i4d.exec.on_ray.executor import RayExecutor
from i4d.exec.on_ray.session import connect
from i4d.exec.protocol import ServiceSpec

session = connect()
executor = RayExecutor()
handle = executor.start(ServiceSpec("echo", "null_services:Echo"), 60)
ticket = executor.call(handle, "count")
executor.wait([ticket], 60)
print(
    f"started here: {session.started}; the service counts {executor.result(ticket)}; told: {sys.argv[1:]}",
    flush=True,
)
executor.shutdown()
while "hang" in sys.argv:
    time.sleep(1)
sys.exit(3 if "fail" in sys.argv else 0)
