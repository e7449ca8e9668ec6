"""Write cluster/monitoring/{grafana.json,prometheus.yml} from the list of metrics; `--check` says whether
they are up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml

from i4d.exec.measures import METRICS

FOLDER = Path(__file__).resolve().parents[1] / "cluster" / "monitoring"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number: int) -> dict:
    """Return the panel of the metric at a place in the list, two panels to a row."""
    metric = METRICS[number]
    targets = [
        {"refId": chr(65 + i), "expr": query, "datasource": SOURCE, "legendFormat": "__auto"}
        for i, query in enumerate(metric.queries)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": metric.title,
        "description": metric.help,
        "datasource": SOURCE,
        "gridPos": {"h": 7, "w": 12, "x": 12 * (number % 2), "y": 7 * (number // 2)},
        "fieldConfig": {
            "defaults": {"unit": metric.unit, "min": None if metric.unit == "dB" else 0},
            "overrides": [],
        },
        "targets": targets,
    }


def dashboard() -> dict:
    """Return the Grafana dashboard."""
    runs = "label_values(ray_i4d_round, run)"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "run",
            "type": "query",
            "label": "Run",
            "datasource": SOURCE,
            "query": {"query": runs, "refId": "runs"},
            "definition": runs,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "refresh": 2,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    return {
        "uid": "i4d-runs",
        "title": "i4d runs",
        "tags": ["i4d", "ray"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": [panel(number) for number in range(len(METRICS))],
    }


def prometheus() -> dict:
    """Return the Prometheus configuration: Ray keeps a file with the addresses of all nodes' metrics."""
    found = {"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}
    return {
        "global": {"scrape_interval": "10s", "evaluation_interval": "10s"},
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": [found]}],
    }


def files() -> dict[Path, str]:
    """Return what is written where."""
    note = "# Made by scripts/make_monitoring.py from i4d/exec/measures.py.\n"
    return {
        FOLDER / "grafana.json": json.dumps(dashboard(), indent=1) + "\n",
        FOLDER / "prometheus.yml": note + yaml.safe_dump(prometheus(), sort_keys=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where a file is not what it would be"
    )
    check = parser.parse_args().check
    old = [path.name for path, text in files().items() if not path.exists() or path.read_text() != text]
    if check:
        sys.exit(f"out of date: {', '.join(old)}; run scripts/make_monitoring.py" if old else 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
