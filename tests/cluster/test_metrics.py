"""What a run publishes through Ray is scraped by a real Prometheus, and the dashboard's queries find it."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from ray_nodes import free_port, ray_nodes

from i4d.exec.measures import METRICS, Measures

TESTS = Path(__file__).parents[1]


def test_the_dashboard_and_prometheus_files_are_what_the_list_of_metrics_gives():
    done = subprocess.run(
        [sys.executable, str(TESTS.parent / "scripts" / "make_monitoring.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    board = json.loads((TESTS.parent / "cluster" / "monitoring" / "grafana.json").read_text())
    drawn = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    assert len(board["panels"]) == len(METRICS) and all(f"ray_{metric.name}" in drawn for metric in METRICS)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and board["uid"] and board["schemaVersion"] >= 36


def test_events_move_the_metrics():
    told = []
    measures = Measures("demo", lambda name, value, tags: told.append((name, value, tags)))
    measures({"event": "WorkerReady", "worker": "trainer"})
    measures({"event": "WorkerReady", "worker": "editor-0"})
    measures({"event": "StageStarted", "at_s": 100.0, "total": 10})
    work = {"seconds": 2.0, "size_bytes": 50, "unet_forwards": 6, "total": 10, "reused": False}
    measures({"event": "WindowStored", "at_s": 104.0, "done": 1, **work})
    measures({"event": "FitProgress", "step": 4, "psnr_db": None, "rays": 4096, "seconds": 0.5})
    last = {name: value for name, value, _ in told}
    assert (
        last["i4d_workers"] == 2
        and last["i4d_work_left"] == 9
        and last["i4d_idle_share"] == pytest.approx(0.5)
    )
    assert last["i4d_rays_per_second"] == 8192 and "i4d_psnr_db" not in last, (
        "a number that is none is not published"
    )
    assert all(tags["run"] == "demo" for _, _, tags in told)
    before = len(told)
    measures({"event": "WindowStored", "at_s": 105.0, "done": 2, **work, "reused": True})
    measures({"event": "SomethingElse"})
    assert len(told) == before


def ask(port, query):
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        told = json.load(answer)
    assert told["status"] == "success"
    return told["data"]["result"]


@pytest.mark.slow
def test_a_real_prometheus_answers_the_dashboards_queries(tmp_path):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    metrics, web = free_port(), free_port()
    head = ("--num-cpus=4", f"--metrics-export-port={metrics}")
    with ray_nodes(tmp_path / "nodes", workers=0, namespaces=False, head=head) as nodes:
        scrape = {"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{metrics}"]}]}
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        command = [
            prometheus,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--web.listen-address=127.0.0.1:{web}",
        ]
        command += [f"--storage.tsdb.path={tmp_path}/tsdb"]
        with open(tmp_path / "prometheus.log", "w") as log:
            server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        drive = [sys.executable, str(TESTS / "drive_null.py"), str(tmp_path / "watched"), nodes.address]
        drive += ["--editors", "2", "--delay", "0.3", "--linger", "25"]
        driver = subprocess.Popen(
            drive, env=nodes.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            until = time.monotonic() + 150
            wanted = {
                m.name: m.queries
                for m in METRICS
                if m.name not in ("i4d_work_retried", "i4d_run_failed", "i4d_worker_restarts")
            }
            missing = dict(wanted)
            while missing:
                assert time.monotonic() < until, (
                    sorted(missing),
                    (tmp_path / "prometheus.log").read_text()[-500:],
                )
                time.sleep(1.0)  # between two looks at another process
                try:
                    missing = {
                        n: q
                        for n, q in missing.items()
                        if not all(ask(web, text.replace("$run", ".*")) for text in q)
                    }
                except urllib.error.URLError:
                    assert server.poll() is None, (tmp_path / "prometheus.log").read_text()
            stored = ask(web, 'sum by (kind) (ray_i4d_work_stored_total{run="watched"})')
            assert {r["metric"]["kind"]: float(r["value"][1]) for r in stored}["window"] >= 1
            out, err = driver.communicate(timeout=120)
            assert driver.returncode == 0, err
        finally:
            driver.kill()
            server.terminate()
            server.wait(20)
