"""Laws of frame tables: lookup after override, canonical digests, delta as the inverse of override."""

import json
import random

import pytest

from i4d.errors import BlockError
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, TableRun


def random_runs(rng, count):
    for _ in range(count):
        start = rng.randrange(10)
        yield TableRun(
            rng.randrange(3), start, start + rng.randrange(1, 6), rng.choice("abcd"), rng.randrange(4)
        )


def as_dict(runs):
    """Slow twin: frame by frame, the later run wins."""
    out = {}
    for run in runs:
        for frame in range(run.start, run.stop):
            out[run.view, frame] = FrameAddress(run.digest, run.row + frame - run.start)
    return out


@pytest.mark.parametrize("seed", range(20))
def test_a_table_says_what_its_runs_say(seed):
    rng = random.Random(seed)
    first, second = list(random_runs(rng, 6)), list(random_runs(rng, 6))
    table = FrameTable.of(first)
    newer = table.override(second)
    for version, runs in ((table, first), (newer, first + second)):
        expected = as_dict(runs)
        for view in range(3):
            for frame in range(16):
                if (view, frame) in expected:
                    assert version.lookup(view, frame) == expected[view, frame]
                else:
                    assert version.find(view, frame) is None
    assert (newer.version, newer.parent) == (1, table.digest())
    assert table.override(newer.delta(table)).digest() == newer.digest()
    assert newer.delta(newer) == ()
    assert FrameTable.from_json(json.loads(json.dumps(newer.to_json()))) == newer


@pytest.mark.parametrize("seed", range(10))
def test_the_digest_does_not_depend_on_how_the_runs_were_cut_or_ordered(seed):
    rng = random.Random(seed)
    table = FrameTable.of(random_runs(rng, 8))
    single = [
        TableRun(r.view, f, f + 1, r.digest, r.row + f - r.start)
        for r in table.runs
        for f in range(r.start, r.stop)
    ]
    rng.shuffle(single)
    assert FrameTable.of(single).digest() == table.digest()
    assert FrameTable.of(single[1:]).digest() != table.digest()


def test_a_frame_that_is_not_there_is_named():
    table = FrameTable.of([TableRun(0, 0, 3, "a"), TableRun(0, 5, 6, "b")])
    assert table.lookup(0, 2) == FrameAddress("a", 2)
    for view, frame in ((0, 3), (0, 4), (0, 6), (1, 0)):
        with pytest.raises(BlockError, match=f"frame {frame} of view {view} is not in version 0"):
            table.lookup(view, frame)


def test_views_select_runs():
    table = FrameTable.of([TableRun(v, 0, 2, "a", 2 * v) for v in range(4)])
    assert [r.view for r in table.of_views([2, 1])] == [1, 2]
    assert table.views() == (0, 1, 2, 3)


def test_a_corrupt_table_is_a_block_error():
    with pytest.raises(BlockError, match="corrupt"):
        FrameTable.from_json({"version": 0, "parent": "", "runs": [[1, 2]]})
