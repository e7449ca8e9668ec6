"""What a window takes from other frames: the value beside a plain listing of the same, and who reads it."""

import itertools

import pytest
from null_rig import SETTINGS, config, scene

from i4d.driver.ahead import flow_pairs
from i4d.driver.stages import Look, window_jobs
from i4d.schedules.key_frame import make_plan
from i4d.schedules.windows import sources_along
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, TableRun

HOW = [*itertools.product(("none", "last", "both"), (0, 1, 2, 9))]


def listed(frames, reference, key, references, blend):
    """Return the pairs of frames that a window lays over each other, written out."""
    pairs = set()
    for frame in frames:
        if references in ("last", "both"):
            pairs.add((reference, frame))
        if references == "both":
            pairs.add((key, frame))
    order = [reference, *frames]
    for first, second in itertools.combinations(range(len(order)), 2):
        if second - first <= blend:
            pairs.add((order[first], order[second]))
    return pairs


@pytest.mark.parametrize("references, blend", HOW)
@pytest.mark.parametrize("frames, reference", [((4, 5, 6), 3), ((2,), 3), ((1, 0), 2), ((9, 10), 8)])
def test_flows_are_those_of_a_plain_listing_each_once(frames, reference, references, blend):
    sources = sources_along(1, frames, reference, 3, references, blend)
    flows = sources.flows(frames, reference)
    assert len(set(flows)) == len(flows)
    assert set(flows) == listed(frames, reference, 3, references, blend)


@pytest.mark.parametrize("references, blend", HOW)
def test_a_plans_windows_its_tasks_and_the_flow_ahead_say_the_same(references, blend):
    settings = SETTINGS.__class__("x", 7.5, 1.5, blend=blend)
    plan = make_plan(scene(), config(rounds=1, references=references, sequence_length=3), settings)
    originals = FrameTable.of([TableRun(view, 0, 8, f"block{view}") for view in range(4)])
    keys = {view: FrameAddress("edited", view) for view in plan.views}
    jobs = window_jobs(plan, plan.rounds[0], originals, Look("", {}, ()), keys)
    taken, first = set(), [job for job in jobs if not job.after]
    for task in (job.make({}) for job in first):
        for i, j in task.sources.flows(task.frames, task.reference_frame):
            taken.add((originals.lookup(task.view, i), originals.lookup(task.view, j)))
    ahead = flow_pairs(plan, originals)
    assert set(ahead[: len(taken)]) == taken
    wanted = {
        (originals.lookup(chain.view, i), originals.lookup(chain.view, j))
        for chain in plan.rounds[0].chains
        for w in chain.windows
        for i, j in listed(w.frames, w.reference_frame, plan.key_frame, references, blend)
    }
    assert set(ahead) == wanted and len(ahead) == len(wanted)
