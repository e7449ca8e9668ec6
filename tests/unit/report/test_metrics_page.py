"""docs/metrics.md says of every figure what it is, where it comes from, its unit and range, and which way is
better.
"""

from pathlib import Path

import numpy as np
from reported_run import build, rig, videos

from i4d.metrics.protocol import LOOK
from i4d.metrics.registry import METRICS, all_metrics
from i4d.metrics.table import with_table
from i4d.report.evaluate import PARTS, evaluate

UNITS = ("dB", "pixels", "none", "seconds", "bytes")
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def rows():
    lines = [
        line.strip().strip("|").split(" | ")
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    ]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_figure_has_definition_source_range_and_direction():
    found = rows()
    assert {metric.key for metric in all_metrics()[0] if metric.group == LOOK} <= set(found)
    assert {"reconstruction.psnr_db", "reconstruction.ssim", "reconstruction.lpips"} <= set(found)
    for name, cells in found.items():
        assert len(cells) == 4 and all(cells), name
        assert cells[3] in ("higher", "lower", "near 1", "none"), name
        assert "," in cells[2] and cells[2].split(",")[0] in UNITS, f"{name}: unit, range"


def test_the_page_is_what_the_registry_says():
    page, own = PAGE.read_text(), [METRICS[name] for name in METRICS.built_in]
    assert with_table(page, own) == page, "make docs"
    assert len({metric.key for metric in own}) == len({metric.column for metric in own}) == len(own)
    assert {metric.key for metric in own} <= set(rows())


def test_numbers_of_an_edit_are_all_on_the_page_and_parts_are_told_as_they_come(tmp_path):
    scene = rig(width=24, height=20)
    shown = videos(scene)
    renders = {
        "before/cam00": shown[0],
        "after/cam00": shown[1],
        "key/before": np.stack([v[1] for v in shown[1:]]),
    }
    depths = [np.full(v.shape[1:3], 2.0) for v in shown[1:]]
    run = build(tmp_path / "run", scene, shown, renders, {v: shown[v] for v in scene.train_views}, depths)
    told = []
    edit = evaluate(run, lambda done, total, part: told.append((done, total, part)))["edit"]
    assert told == [(i, len(PARTS), part) for i, part in enumerate(PARTS)]
    numbers = [key for key, value in edit.items() if isinstance(value, float)]
    assert len(numbers) >= 4
    for key in numbers:
        assert f"edit.{key.removesuffix('_unedited')}" in rows(), key
    for part in (edit["temporal"]["edited"], edit["look"]["long_range"]):
        low, high = part["interval"]
        assert low <= part.get("relative", part.get("value")) <= high
