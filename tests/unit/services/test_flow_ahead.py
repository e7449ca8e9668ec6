"""Flow computed ahead of the windows: to the same bits, of the right pairs, and nobody's loss when it
fails.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from null_rig import SETTINGS, NullRig, config, scene

from i4d.config import FlowConfig
from i4d.driver import events
from i4d.driver.ahead import flow_pairs
from i4d.driver.stages import Look, window_jobs
from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.errors import EditError
from i4d.exec.local import LocalExecutor
from i4d.flow.find import find_estimator
from i4d.schedules.key_frame import make_plan
from i4d.schedules.values import Chain, RoundPlan, WindowPlan
from i4d.schedules.windows import sources_along
from i4d.services.editor import EditorService
from i4d.services.flow_ahead import FlowAhead
from i4d.services.flow_store import FlowStore
from i4d.services.null import NullEditor
from i4d.store.blocks import BlockReader, write_block
from i4d.store.objects import open_store
from i4d.store.tables import FrameTable
from i4d.types import FrameAddress, TableRun

pytestmark = pytest.mark.usefixtures("one_thread")


def frames_in(place, count=4):
    store = open_store(place)
    wide = np.random.default_rng(0).integers(0, 256, (24, 40 + count, 3), dtype=np.uint8)
    block = write_block(store, np.stack([wide[:, f : f + 40] for f in range(count)]))
    return store, [FrameAddress(block.digest, f) for f in range(count)]


def flow_store(store):
    return FlowStore(store, BlockReader(store), *find_estimator("dis"))


def test_threads_fill_the_store_with_what_a_window_would_compute(tmp_path):
    store, at = frames_in(tmp_path / "ahead")
    other, _ = frames_in(tmp_path / "inline")
    pairs = [(at[0], frame) for frame in at[1:]]
    ahead = FlowAhead(lambda: flow_store(store), 2)
    ahead.begin(pairs)
    ahead.wait(30)
    assert ahead.told() == ()
    late = flow_store(store)
    for pair in pairs:
        for found, expected in zip(late.between(*pair), flow_store(other).between(*pair), strict=True):
            assert torch.equal(found, expected)
    assert late.passes == 0  # all of it lay there


def test_what_fails_ahead_is_told_once(tmp_path):
    store, at = frames_in(tmp_path / "store")
    ahead = FlowAhead(lambda: flow_store(store), 1)
    ahead.begin([(at[0], FrameAddress("0" * 32, 0))])
    ahead.wait(30)
    (said,) = ahead.told()
    assert "flow ahead" in said and "missing" in said and ahead.told() == ()


def test_an_editor_on_a_cpu_has_no_cores_to_spare(tmp_path, tiny_editor_folder):
    store, at = frames_in(tmp_path / "store")
    editor, flow = InstructPix2PixConfig(weights=str(tiny_editor_folder)), FlowConfig(method="dis")
    service = EditorService(store.uri, editor=editor, flow=flow, device="cpu")
    assert service.foresee("dis", [(at[0], at[1])]) is False


def test_the_pairs_are_those_of_the_windows_the_first_windows_first():
    plan = make_plan(scene(3, 9, 0), config(key_frame=4, sequence_length=2, rounds=1), SETTINGS)
    originals = FrameTable.of([TableRun(view, 0, 9, f"block{view}") for view in range(3)])
    part = plan.rounds[0]
    jobs = window_jobs(
        plan, part, originals, Look("", {}, ()), {view: FrameAddress("edited", view) for view in plan.views}
    )
    wanted = set()
    for job in jobs:
        if not job.after:
            task = job.make({})
            wanted |= {(task.reference_original, frame) for frame in task.originals}
    pairs = flow_pairs(plan, originals)
    assert set(pairs[: len(wanted)]) == wanted and len(set(pairs)) == len(pairs) == 3 * 8


@pytest.mark.parametrize(
    ("references", "blend", "wanted"),
    [("last", 0, 3), ("none", 0, 0), ("none", 1, 3), ("none", 2, 5), ("last", 2, 6)],
)
def test_the_pairs_of_a_window_are_those_that_it_pulls_and_blends(references, blend, wanted):
    """A window of three frames after its reference: 3 pulls; neighbours one apart: 3; two apart: 2 more."""
    window = WindowPlan(0, (4, 5, 6), 3, sources_along(1, (4, 5, 6), 3, 3, references, blend))
    chain = Chain(1, "forward", (window,))
    plan = replace(make_plan(scene(), config(), SETTINGS), rounds=(RoundPlan(1, (), (), (chain,)),))
    originals = FrameTable.of([TableRun(1, 0, 8, "0" * 32)])
    assert len(flow_pairs(plan, originals)) == wanted


def test_an_editor_beside_a_gpu_begins_at_once_and_the_flows_are_there_for_its_windows(
    tmp_path, tiny_editor_folder
):
    store, at = frames_in(tmp_path / "store")
    editor, flow = InstructPix2PixConfig(weights=str(tiny_editor_folder)), FlowConfig(method="dis")
    service = EditorService(store.uri, editor=editor, flow=flow, device="cpu", num_threads=3)
    service._device = torch.device("cuda", 0)  # nothing of foresight itself touches it
    assert service.foresee("dis", [(at[0], frame) for frame in at[1:]]) is True
    service._ahead.wait(30)
    assert service._ahead.told() == ()
    assert all(flow_store(store).holds(at[0], frame) for frame in at[1:])


class SeeingEditor(NullEditor):
    """Notes its share; an editor whose name ends with 1 fails at it."""

    shares: list = []

    def foresee(self, flow, pairs):
        self.shares.append(list(pairs))
        if self._name.endswith("1"):
            raise EditError("no eyes")
        return True


def test_editors_share_the_pairs_and_a_run_does_not_mind_a_failure(tmp_path):
    SeeingEditor.shares.clear()
    executor, rig = LocalExecutor(), NullRig(tmp_path / "run")
    plain = rig.specs

    def specs(editors, delay_s=0.0):
        trainer, *others = plain(editors, delay_s)
        return [trainer, *(replace(spec, import_path=f"{__name__}:SeeingEditor") for spec in others)]

    rig.specs = specs
    try:
        rig.go(executor, editors=2)
    finally:
        executor.shutdown()
    wanted = flow_pairs(rig.plan, rig.originals)
    assert sorted(map(str, wanted)) == sorted(str(pair) for share in SeeingEditor.shares for pair in share)
    told = [event.text for event in rig.events if isinstance(event, events.Warned)]
    assert any("not ahead of them" in text and "no eyes" in text for text in told)
    assert rig.kinds()[-1] == "RunFinished"
