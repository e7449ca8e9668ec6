"""The real editor under the real driver, on threads: the same frames whatever the number of editors."""

import dataclasses

import pytest
from null_rig import NullRig, config, scene

from i4d.driver import events
from i4d.editors.instruct_pix2pix.config import InstructPix2PixConfig
from i4d.exec.local import LocalExecutor
from i4d.exec.protocol import ServiceSpec
from i4d.schedules.cost import predicted_forwards
from i4d.schedules.registry import scheduled_plan
from i4d.types import EditSettings

SHORT = {"rounds": 1, "key_steps": 2, "diffusion_steps": 2, "refine_diffusion_steps": 1}


class EditorRig(NullRig):
    """A null trainer with toy InstructPix2Pix editors."""

    weights = ""

    def specs(self, editors, delay_s=0.0):
        trainer, *others = super().specs(editors, delay_s)
        editor = InstructPix2PixConfig(weights=self.weights)
        kwargs = {"store": self.folder.store.uri, "editor": editor, "device": "cpu", "num_threads": 1}
        path = "i4d.services.editor:EditorService"
        return [trainer, *(ServiceSpec(s.name, path, {**kwargs, "name": s.name}, threads=1) for s in others)]


def digests(folder, weights, editors, method="key_frame"):
    """Return the frame tables of a run by round, what it told of, and the UNet forwards predicted and
    done.
    """
    keys = {**SHORT, "restview_refine_diffusion_steps": 2, "method": method}
    plan = scheduled_plan(scene(), config(**keys), EditSettings("night", 3.0, 1.5))
    rig = EditorRig(folder, plan)
    rig.weights = str(weights)
    rig.go(LocalExecutor(), editors=editors)
    tables = {index: manifest["table"] for index, manifest in rig.folder.manifests().items()}
    done = sum(e.unet_forwards for e in rig.events if isinstance(e, events.WorkDone))
    return tables, rig.kinds(), (predicted_forwards(plan), done)


@pytest.mark.usefixtures("one_thread")
def test_the_frames_do_not_depend_on_the_number_of_editors(tmp_path, tiny_editor_folder):
    one, kinds, _ = digests(tmp_path / "one", tiny_editor_folder, 1)
    two, *_ = digests(tmp_path / "two", tiny_editor_folder, 2)
    assert one and one == two
    assert "RoundCommitted" in kinds and "WindowRetried" not in kinds


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", ["each_frame", "in2n"])
def test_a_baseline_spends_exactly_what_its_plan_says(tmp_path, tiny_editor_folder, method):
    one, _, (predicted, done) = digests(tmp_path / "one", tiny_editor_folder, 1, method)
    two, *_ = digests(tmp_path / "two", tiny_editor_folder, 2, method)
    assert one == two and predicted == done


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["effective", "intended", "reference"])
def test_one_camera_and_a_given_key_frame_spend_what_their_plans_say(tmp_path, tiny_editor_folder, kind):
    """With `anchor_self` the anchor's own keys are recorded once as well; a given key frame costs nothing."""
    several = kind == "reference"
    settings = config(
        rounds=1,
        diffusion_steps=2,
        sequence_length=4,
        refine_diffusion_steps=1,
        restview_refine_diffusion_steps=2,
    )
    settings.schedule.single = "effective" if several else kind
    settings.local.reference = "given.png" if several else ""
    shape = scene() if several else scene(2, 6, 1)
    attention = "anchor" if several else "anchor_self"
    plan = scheduled_plan(shape, settings, EditSettings("night", 3.0, 1.5, attention))
    rig = EditorRig(tmp_path / "run", plan, scene=shape)
    if several:
        rig.plan = dataclasses.replace(plan, reference=rig.originals.lookup(0, 0))
    rig.weights = str(tiny_editor_folder)
    rig.go(LocalExecutor(), editors=1)
    assert predicted_forwards(plan) == sum(
        e.unet_forwards for e in rig.events if isinstance(e, events.WorkDone)
    )
    assert max(rig.folder.manifests()) == (2 if kind == "intended" else 1)
